"""An environment for episodes.py: a tool that takes its time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rlvr_cli.environments.environment import Environment, Step, Turn


@dataclass(kw_only=True)
class Waiting(Environment):
    """Waits after each turn but the last, and says some words."""

    name: str = "waiting"
    wait_s: float = 0.0
    says: str = "0123456789"

    async def step(self, turn: Turn) -> Step:
        if turn.last:
            return Step(done=True)
        await asyncio.sleep(self.wait_s)
        return Step(text=self.says)
