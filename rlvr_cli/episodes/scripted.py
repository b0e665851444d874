"""Episodes without an engine: an environment says which turns earn all there is, and they are played."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from rlvr_cli.core.episode import Ended, TurnNote
from rlvr_cli.core.types import Completion, Problem, Reason, Verdict
from rlvr_cli.environments.environment import Environment, Step
from rlvr_cli.environments.workers import Said, Workers
from rlvr_cli.episodes.play import WAIT_S
from rlvr_cli.episodes.player import Player, task_of
from rlvr_cli.episodes.table import Table
from rlvr_cli.rollout.engine import Request

SEED = 0
AT_ONCE = 8


@dataclass(slots=True, kw_only=True)
class _Part:
    """What is played of a problem; its player samples nothing."""

    player: Player
    begun: bool = False
    script: list[str] | None = None
    ended: Ended = Ended.turns
    failure: Verdict | None = None

    def completion(self) -> Completion:
        return self.player.completion(self.ended, logprobs=False, failure=self.failure)


def _part(table: Table, problem: Problem) -> _Part:
    name = str(problem.environment)
    player = Player(
        request=Request(key=0, tokens=[], samples=1, seed=SEED, problem=problem),
        sample=0,
        name=name,
        environment=table.environments[name],
        limit=0,
        seed=SEED,
        began=monotonic(),
    )
    player.number = table.workers.open(name, task_of(problem, SEED))
    return _Part(player=player)


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
    parts = [_part(table, problem) for problem in problems]
    waiting = {part.player.number: part for part in parts}
    try:
        while waiting:
            for said in workers.heard(WAIT_S):
                part = waiting.get(said.episode)
                if part is not None and not _goes_on(workers, part, said):
                    workers.close(said.episode)
                    del waiting[said.episode]
    finally:
        for number in waiting:
            workers.close(number)
    unscripted = [part.script is None and part.failure is None for part in parts]
    return [None if none else part.completion() for none, part in zip(unscripted, parts, strict=True)]


def _goes_on(workers: Workers, part: _Part, said: Said) -> bool:
    """Ask for what comes next: the script, or the answer to its next turn; False where nothing does."""
    player = part.player
    if said.reason is not None:
        return _failed(part, said.reason, said.detail)
    if not part.begun:
        part.begun = True
        workers.script(player.number, task_of(player.problem, SEED))
        return True
    if part.script is None:
        if said.value is None:
            return False
        part.script = list(said.value)
    elif not isinstance(said.value, Step):
        return _failed(part, Reason.crash, "step returned no Step")
    else:
        player.answered(said.value, said.seconds)
        player.turns[-1].said = said.value.spoken
        if said.value.over:
            part.ended = Ended.done
            return False
    return _next(workers, player, part.script)


def _next(workers: Workers, player: Player, script: list[str]) -> bool:
    number, most = len(player.turns), player.environment.max_turns
    if number >= min(most, len(script)):
        return False
    player.turns.append(TurnNote(begin=0, end=0, text=script[number]))
    workers.step(player.number, player.turn(script[number], last=number + 1 >= most, finished=True))
    return True


def _failed(part: _Part, reason: Reason, detail: str) -> bool:
    text = f"environment {part.player.name}: {detail}"
    part.ended, part.failure = Ended.failed, Verdict(score=0.0, reason=reason, detail=text)
    return False
