"""What works on this machine: checks that run in processes of their own."""
