"""How a rollout server and a run that samples from it know each other."""

from __future__ import annotations

TOKEN = "RLVR_SERVER_TOKEN"
"""Environment variable with what every request to a rollout server must bring; unset: none."""
