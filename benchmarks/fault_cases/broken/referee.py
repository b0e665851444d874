"""Plugin: an environment that reads an answer and ends the episode, and fails at a third of the problems in
the way that `fails` says: its server is gone (`gone`), it answers late (`late`), or its process
dies (`dies`)."""

import os
import time
from dataclasses import dataclass
from zlib import crc32

from rlvr_cli.environments.environment import Environment, Step, Turn


@dataclass(kw_only=True)
class Referee(Environment):
    """One turn, and no reward: the verifiers of the source judge it."""

    name: str = "referee"
    fails: str = "gone"

    def reset(self, task: object) -> None:
        self._failing = crc32(task.question.encode()) % 3 == 0  # type: ignore[attr-defined]

    def step(self, turn: Turn) -> Step:
        if self._failing and self.fails == "gone":
            raise ConnectionError("[Errno 111] Connection refused: http://127.0.0.1:9999/step")
        if self._failing and self.fails == "late":
            time.sleep(2)
        if self._failing and self.fails == "dies":
            os._exit(1)
        return Step(done=True)
