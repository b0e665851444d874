"""The preflight plays an environment's own script, in its workers and without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rlvr_cli.core.episode import Ended
from rlvr_cli.core.types import Group, Problem, Reason
from rlvr_cli.environments import find
from rlvr_cli.environments.environment import Environment
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.scripted import scripted
from rlvr_cli.episodes.table import Table
from rlvr_cli.preflight.advice import _of_environments
from rlvr_cli.preflight.rehearsal import Rehearsal, _rehearsal
from rlvr_cli.sampling.collect import score, verdict_of
from rlvr_cli.schema import Unscored
from rlvr_cli.verifiers.environment import Environment as Given

GUESS = find("guess")(most=9, max_turns=4)
Tables = Callable[..., Table]


def problems(*answers: str) -> list[Problem]:
    return [
        Problem(
            id=f"n{answer}",
            prompt="?",
            tokens=[1],
            answer=answer,
            source="s",
            verifiers=["won"],
            messages=[{"role": "user", "content": "?"}],
            environment="game",
        )
        for answer in answers
    ]


@pytest.fixture
def table() -> Iterator[Tables]:
    made: list[Table] = []

    def of(environment: Environment) -> Table:
        named: dict[str, Any] = {"game": environment}
        made.append(
            Table(
                environments=named,
                workers=Workers(named),
                renderings={},
                text=None,  # type: ignore[arg-type]  # nothing is sampled
                eos=[],
                most_prompt=9,
            )
        )
        return made[-1]

    yield of
    for each in made:
        each.workers.end()


def judged(asked: list[Problem], samples: list[Any]) -> Rehearsal:
    groups = []
    for problem, sample in zip(asked, samples, strict=True):
        group = Group(problem=problem, index=0, completions=[sample])
        group.verdicts = [{"won": verdict_of(sample, Given().of_sample(sample))}]
        score(group, {"won": 1.0}, Unscored.drop)
        groups.append(group)
    return _rehearsal(groups, 0.1)


@pytest.mark.slow
def test_halving_wins_every_game(table: Tables) -> None:
    asked = problems(*map(str, range(10)))
    samples = scripted(table(GUESS), asked)
    assert all(each is not None and each.episode is not None for each in samples)
    assert [turn.text for turn in samples[3].episode.turns] == ["4", "1", "2", "3"]  # type: ignore[union-attr]
    assert [turn.said for turn in samples[3].episode.turns][:2] == ["Too high", "Too low"]  # type: ignore[union-attr]
    found = judged(asked, samples)
    assert (found.right, found.problems, found.score) == (10, 10, 1.0)
    assert str(found) == "scripted turns earn 1, and are correct on 10 of 10 problems, in 0.1 s"


@pytest.mark.slow
def test_what_is_not_won_is_told(table: Tables) -> None:
    """Too few turns; a row that the environment cannot use; an environment without a script."""
    asked = problems("4", "3", "77")
    samples = scripted(table(replace(GUESS, max_turns=2)), asked)
    ends = [each.episode.ended for each in samples]  # type: ignore[union-attr]
    assert ends == [Ended.done, Ended.turns, Ended.failed]
    assert samples[2].episode.failure.reason is Reason.crash  # type: ignore[union-attr]
    assert "is not from 0 to 9" in samples[2].episode.failure.detail  # type: ignore[union-attr]
    found = judged(asked, samples)
    assert (found.right, found.problems, found.score) == (1, 3, 0.5)
    assert found.wrong == "problem n3: wrong after 2 turns (turns)"

    @dataclass
    class Facts:
        environments: dict[str, Rehearsal]

    [warned] = _of_environments(Facts({"game": found}))  # type: ignore[arg-type]
    assert warned.startswith("environments.game: its scripted turns, which should earn all there is, are")
    assert "correct on 1 of 3 problems (problem n3: wrong after 2 turns (turns))" in warned
    assert list(_of_environments(Facts({"game": replace(found, right=3)}))) == []  # type: ignore[arg-type]
    assert scripted(table(Environment()), problems("1")) == [None]
