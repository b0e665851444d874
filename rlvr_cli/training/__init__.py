"""Reinforcement learning and supervised fine-tuning: `loop.py`, `sft.py`, and what their lines call."""
