"""rlvr: reinforcement learning from verifiable rewards, driven by YAML recipes."""

__version__ = "0.1.0"
