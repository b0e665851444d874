"""A hidden number, found by halving: the smallest game that nobody wins in one turn.

After tinker-cookbook's number guessing (0 to 1024 in ten turns). With `most: 9` and short words a model that
reads characters can play it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Step, Task, Turn

NUMBER = re.compile(r"-?\d+")


@dataclass(kw_only=True)
class Guess(Environment):
    name: str = "guess"
    max_turns: int = 10
    turn_tokens: int | None = 16
    least: int = 0
    """Smallest number there may be."""
    most: int = 1024
    """Largest."""
    too_low: str = "Too low"
    """What is said where the number is larger."""
    too_high: str = "Too high"
    """What is said where it is smaller."""
    no_number: str = "Say a number"
    """What is said to a turn without one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least >= self.most:
            raise ValueError(f"least is {self.least} and most {self.most}: there is nothing to guess")

    def reset(self, task: Task) -> None:
        """The row's answer is the number."""
        try:
            self._hidden = int(task.answer)
        except ValueError:
            raise UserError(
                f"guess: the answer of row {task.id} is no number: {task.answer[:40]!r}"
            ) from None
        self._low, self._high = self.least, self.most
        if not self.least <= self._hidden <= self.most:
            raise UserError(
                f"guess: the answer of row {task.id}, {self._hidden}, is not from {self.least} to {self.most}"
            )

    def step(self, turn: Turn) -> Step:
        """1 for the number itself; the last number of a turn counts."""
        self._turn = turn.number
        found = NUMBER.findall(turn.text)
        if not found:
            return self._said(self.no_number, missing=1)
        guess = int(found[-1])
        if guess == self._hidden:
            return Step(done=True, reward=1.0, measures={"found": 1})
        if guess < self._hidden:
            self._low = max(self._low, guess + 1)
        else:
            self._high = min(self._high, guess - 1)
        return self._said(self.too_low if guess < self._hidden else self.too_high)

    def script(self, task: Task) -> list[str]:
        """Halving."""
        least, most = self.least, self.most
        guesses: list[str] = []
        while not guesses or int(guesses[-1]) != self._hidden:
            guess = (least + most) // 2
            guesses.append(str(guess))
            least, most = (guess + 1, most) if guess < self._hidden else (least, guess - 1)
        return guesses

    def _said(self, text: str, missing: int = 0) -> Step:
        return Step(
            messages=[{"role": "user", "content": text}],
            reward=0.0,
            measures={"without_a_number": missing, "found": 0},
            state=f"{self._turn} {self._low} to {self._high}",
        )
