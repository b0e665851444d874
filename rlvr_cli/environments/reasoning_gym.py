"""Puzzles of `reasoning_gym:<task>` sources in several turns: a wrong answer may be followed by another."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr_cli import gym
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.environments.environment import Environment, Step, Task, Turn
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.reasoning_gym import ReasoningGym as Scorer


@dataclass(kw_only=True)
class ReasoningGym(Environment):
    name: str = "reasoning_gym"
    max_turns: int = 4
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands in a turn; null: the whole turn is the answer."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` has no answer."""
    strict: bool = True
    """Only a right answer earns anything; false: the last turn earns the task's partial credit."""
    wrong: str = "That is not right. Try again."
    """What is said to a wrong answer."""
    tell_score: bool = True
    """Say the score too, where the task gives partial credit."""
    discount: float = 1.0
    """The reward of an answer that is right at turn k is this to the power k - 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount is {self.discount}; it must be above 0 and at most 1")

    def warm(self) -> None:
        gym.library()

    def reset(self, task: Task) -> None:
        self._judge = Scorer(extraction=self.extraction, thinking=self.thinking, strict=False)
        if (fault := self._judge.check_gold(task.answer, task.row)) is not None:
            raise UserError(f"reasoning_gym: row {task.id}: {fault}; take a source reasoning_gym:<task>")
        self._task = task

    def step(self, turn: Turn) -> Step:
        verdict = self._judge.verify(turn.text, self._task.answer, self._task.row)
        if verdict.reason is Reason.correct:
            reward = self.discount ** (turn.number - 1)
            return Step(done=True, reward=reward, measures={"solved": 1.0, "unanswered": 0.0})
        said = self.wrong
        if verdict.reason is Reason.no_answer:
            said = f"There is no answer to be found: {verdict.detail}. {self.wrong}"
        if self.tell_score and verdict.score > 0:
            said += f" (score {verdict.score:.2g})"
        earned = 0.0 if self.strict else verdict.score
        return Step(
            messages=[{"role": "user", "content": said}],
            done=turn.last,
            reward=earned if turn.last else None,
            measures={"solved": 0.0, "unanswered": float(verdict.reason is Reason.no_answer)},
        )

    def script(self, task: Task) -> list[str] | None:
        """The row's gold answer; None where the task names none."""
        golds = self._judge.gold_responses(task.answer, task.row)
        return golds[:1] or None
