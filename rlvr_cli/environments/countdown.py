"""Countdown as a game: a wrong equation is answered with what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.questions import opening
from rlvr_cli.gym import countdown
from rlvr_cli.verifiers.countdown import MISSING
from rlvr_cli.verifiers.countdown import Countdown as Scorer


@dataclass(kw_only=True)
class Countdown(Environment):
    name: str = "countdown"
    max_turns: int = 4
    prompt: str | None = None
    """What the policy sees first; {nums} and {target} are put in. null: the problem's own prompt."""
    again: str = "Try again."
    """What is said behind a fault."""
    format_score: float = 0.1
    """Reward of a last turn whose answer is wrong; one without an answer earns 0."""
    last_line: bool = True
    """Only the last line of a turn is looked at."""
    strict: bool = False
    """Take only + - * / between the numbers themselves, and not `2**3`, `7//2` or `2.5*4` for 2, 5 and 4."""
    discount: float = 1.0
    """The reward of an answer that is right at turn k is this to the power k - 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._scorer()
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}; it must be above 0 and at most 1")
        for key in ("{nums}", "{target}"):
            if self.prompt is not None and key not in self.prompt:
                raise ValueError(f"prompt lacks {key}: the policy would not see it")

    def reset(self, task: Task) -> list[Message] | None:
        wanted = countdown.puzzle(task.answer, task.row)
        if wanted is None:
            raise UserError(f"countdown: row {task.id}: {MISSING}")
        self._wanted, self._judge = wanted, self._scorer()
        if self.prompt is None:
            return None
        values = {"nums": str(list(wanted.nums)), "target": str(wanted.target)}
        return opening(task, self.prompt, values)

    def step(self, turn: Turn) -> Step:
        verdict = self._judge.judged(turn.text, self._wanted)
        if verdict.reason is Reason.correct:
            reward = self.discount ** (turn.number - 1)
            return Step(done=True, reward=reward, measures={"solved": 1.0, "unanswered": 0.0})
        said = f"{verdict.detail[0].upper()}{verdict.detail[1:]}. {self.again}"
        return Step(
            messages=[{"role": "user", "content": said}],
            done=turn.last,
            reward=verdict.score if turn.last else None,
            measures={"solved": 0.0, "unanswered": float(verdict.reason is Reason.no_answer)},
        )

    def script(self, task: Task) -> list[str] | None:
        """The row's equation, or one that is found; None where there are too many numbers to look for one."""
        solved = self._judge.solved(task.answer, task.row)
        return None if solved is None else [f"<answer>{solved}</answer>"]

    def _scorer(self) -> Scorer:
        return Scorer(format_score=self.format_score, last_line=self.last_line, strict=self.strict)
