"""Checkpoints: their files, what makes them whole, and what may change between two starts of a run."""
