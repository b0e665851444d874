"""What gpu_check.py runs: one file for each group of checks, and what they share."""
