"""Recipe to running ranks: run directory, processes, watchdog, restarts. No torch."""
