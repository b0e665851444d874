"""Episodes without an engine: an environment says which turns earn all there is, and they are played."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Problem, Reason, Verdict
from rlvr_cli.environments.environment import Environment, Step, Turn
from rlvr_cli.environments.workers import Said, Workers
from rlvr_cli.episodes.play import WAIT_S
from rlvr_cli.episodes.player import task_of
from rlvr_cli.episodes.table import Table

SEED = 0
AT_ONCE = 8


@dataclass(slots=True, kw_only=True)
class _Part:
    """What is played of a problem."""

    problem: Problem
    number: int
    began: float = field(default_factory=monotonic)
    begun: bool = False
    script: list[str] | None = None
    turns: list[TurnNote] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    ended: Ended = Ended.turns
    failure: Verdict | None = None

    def completion(self) -> Completion:
        rewards = [turn.reward for turn in self.turns if turn.reward is not None]
        return Completion(
            tokens=np.zeros(0, np.int32),
            logprobs=np.zeros(0, np.float32),
            text=self.turns[-1].text if self.turns else "",
            finished=True,
            episode=Episode(
                environment=str(self.problem.environment),
                ended=self.ended,
                turns=self.turns,
                reward=sum(rewards) if rewards else None,
                measures=self.measures,
                failure=self.failure,
                seconds=monotonic() - self.began,
            ),
        )


def scripted(table: Table, problems: list[Problem]) -> list[Completion | None]:
    """Problems of one environment, played by its scripts; None where it has none for a problem."""
    environment = table.environments[str(problems[0].environment)]
    if type(environment).script is Environment.script:  # nothing is begun for it
        return [None] * len(problems)
    found: list[Completion | None] = []
    at_once = min(AT_ONCE, environment.concurrency or AT_ONCE)
    for start in range(0, len(problems), at_once):
        found += _together(table, problems[start : start + at_once])
    return found


def _together(table: Table, problems: list[Problem]) -> list[Completion | None]:
    workers = table.workers
    parts = [
        _Part(problem=each, number=workers.open(str(each.environment), task_of(each, SEED)))
        for each in problems
    ]
    waiting = {part.number: part for part in parts}
    try:
        while waiting:
            for said in workers.heard(WAIT_S):
                part = waiting.get(said.episode)
                if part is not None and not _goes_on(table, workers, part, said):
                    workers.close(said.episode)
                    del waiting[said.episode]
    finally:
        for number in waiting:
            workers.close(number)
    unscripted = [part.script is None and part.failure is None for part in parts]
    return [None if none else part.completion() for none, part in zip(unscripted, parts, strict=True)]


def _goes_on(table: Table, workers: Workers, part: _Part, said: Said) -> bool:
    """Ask for what comes next: the script, or the answer to its next turn; False where nothing does."""
    if said.reason is not None:
        return _failed(part, said.reason, said.detail)
    if not part.begun:
        part.begun = True
        workers.script(part.number, task_of(part.problem, SEED))
        return True
    if part.script is None:
        if said.value is None:
            return False
        part.script = list(said.value)
    elif not isinstance(said.value, Step):
        return _failed(part, Reason.crash, "step returned no Step")
    elif not _answered(part, said):
        return False
    return _next(table, workers, part)


def _answered(part: _Part, said: Said) -> bool:
    step: Step = said.value
    note = part.turns[-1]
    note.reward, note.seconds, note.notes = step.reward, said.seconds, step.notes
    note.said = step.text or "\n".join(str(message.get("content")) for message in step.messages)
    for name, value in step.measures.items():
        part.measures[name] = part.measures.get(name, 0.0) + value
    if step.over:
        part.ended = Ended.done
    return not step.over


def _next(table: Table, workers: Workers, part: _Part) -> bool:
    environment, number = table.environments[str(part.problem.environment)], len(part.turns)
    assert part.script is not None
    if number >= min(environment.max_turns, len(part.script)):
        return False
    text = part.script[number]
    stops = [string for string in environment.stop if text.endswith(string)]
    part.turns.append(TurnNote(begin=0, end=0, text=text))
    turn = Turn(
        text=text,
        number=number + 1,
        last=number + 1 >= environment.max_turns,
        finished=True,
        stopped_by=stops[0] if stops else None,
    )
    workers.step(part.number, turn)
    return True


def _failed(part: _Part, reason: Reason, detail: str) -> bool:
    text = f"environment {part.problem.environment}: {detail}"
    part.ended, part.failure = Ended.failed, Verdict(score=0.0, reason=reason, detail=text)
    return False
