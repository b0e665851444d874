"""Sweeps: one recipe, several values of some keys, a run for each combination. No torch."""
