"""Reinforcement learning (`loop.py`), training on data that is there (`offline.py`), and what they call."""
