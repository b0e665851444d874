"""Steps that train on groups begun before them: what is begun, waited for, taken, dropped and kept."""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from f1 import algorithm
from small_parts import recipe, small_parts
from thread_ranks import on_ranks
from ticking import Heard, Ticking, grown, parts_ahead

from rlvr_cli.core import tensor_files
from rlvr_cli.core.types import Elsewhere, Group, Problem
from rlvr_cli.schema import OnUpdate, Overlap, Stage, TooOld
from rlvr_cli.training.ahead import Ahead, demand_ahead
from rlvr_cli.training.dynamic_sampling import Rollouts, sample_groups
from rlvr_cli.training.flights import Flight
from rlvr_cli.training.loop import train_step
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.sample_ahead import TooOldToTrain, choose, deal, sample_ahead
from rlvr_cli.training.stage_changes import enter_stage
from rlvr_cli.training.stop import Interrupted


def long_tail(number: int) -> int:
    """Most responses are short, one in five is ten times as long."""
    return 40 if number % 5 == 0 else 4


def lognormal(number: int) -> int:
    return 1 + int(Random(number).lognormvariate(1.5, 1.0))


def step_of(parts: Parts) -> Rollouts:
    """Sampling of a step, as the loop does it between two versions."""
    assert parts.ahead is not None
    rollouts = sample_ahead(parts, parts.ahead, parts.step)
    parts.step += 1
    parts.ahead.pause(updating=True)
    parts.engine.load((), version=parts.step)
    return rollouts


def indices(groups: list[Group]) -> list[int]:
    return [group.index for group in groups]


def flying(parts: Parts) -> list[int]:
    assert parts.ahead is not None
    return [flight.index for flight in parts.ahead.flights]


def dropped(parts: Parts) -> list[int]:
    assert isinstance(parts.tracker, Heard)
    return [i for kind, _, fields in parts.tracker.events if kind == "dropped" for i in fields["indices"]]


@pytest.mark.parametrize("overlap", list(Overlap))
@pytest.mark.parametrize("too_old", list(TooOld))
@pytest.mark.parametrize("staleness", [1, 2, 4])
def test_nothing_too_old_trains_and_no_prompt_is_lost_or_doubled(
    staleness: int, too_old: TooOld, overlap: Overlap
) -> None:
    parts = parts_ahead(Ticking(lognormal), staleness, too_old=too_old, overlap=overlap, sleep=False)
    trained: list[int] = []
    for step in range(25):
        rollouts = step_of(parts)
        assert len(rollouts.kept) == 4 and indices(rollouts.kept) == sorted(indices(rollouts.kept))
        trained += indices(rollouts.kept)
        for completion in (c for g in rollouts.mine for c in g.completions):
            versions = completion.versions.tolist()
            assert len(versions) == len(completion.tokens) and versions == sorted(versions)
            assert step - versions[0] <= staleness and versions[-1] <= step
        assert len(flying(parts)) <= staleness * 4
    assert Counter(trained + dropped(parts) + flying(parts)) == Counter(range(parts.sampler.position))
    if too_old is TooOld.wait:
        assert not dropped(parts)


def test_samples_go_on_where_they_were() -> None:
    """A response of 40 tokens takes several steps; what one has sampled the next has, unchanged."""
    parts = parts_ahead(Ticking(long_tail), 3)
    seen: dict[int, list[int]] = {}
    spanning = 0
    for _ in range(12):
        rollouts = step_of(parts)
        for group in rollouts.kept:
            versions = group.completions[0].versions.tolist()
            assert versions[: len(seen.get(group.index, []))] == seen.get(group.index, [])
            spanning += len({*versions}) > 1
        assert parts.ahead is not None
        for flight in parts.ahead.flights:
            assert not flight.begun or len(flight.begun[0].tokens) < 40 or flight.finished
            seen[flight.index] = flight.begun[0].versions.tolist() if flight.begun else []
    assert spanning, "no response was carried over a step"


def test_partial_rollouts_save_a_fifth_of_the_engines_steps_where_lengths_have_a_tail() -> None:
    waits, ahead = Ticking(long_tail), Ticking(long_tail)
    plain, parts = small_parts(recipe(), engine=waits), parts_ahead(ahead, 2)
    sampled = [0, 0]
    for step in range(30):
        sampled[0] += sum(len(c.tokens) for g in sample_groups(plain, step).kept for c in g.completions)
        sampled[1] += sum(len(c.tokens) for g in step_of(parts).kept for c in g.completions)
    assert waits.steps / sampled[0] > 1.25 * ahead.steps / sampled[1]


def test_rejected_groups_make_room_and_leave_at_once() -> None:
    """Every other problem has only right answers, which the filter rejects; each is recorded once."""

    class Easy(Ticking):
        def generate(self, *arguments: Any, **more: Any) -> Any:
            for key, found in super().generate(*arguments, **more):
                for c in found if key % 2 and not found[0].partial else ():
                    c.text = "0"
                yield key, found

    parts = parts_ahead(Easy(lognormal), 1, algorithm=algorithm(filter="zero_signal"))
    left: list[int] = []
    for _ in range(10):
        rollouts = step_of(parts)
        assert len(rollouts.kept) == 4 and all(index % 2 == 0 for index in indices(rollouts.kept))
        assert {*indices(rollouts.kept)} <= {*indices(rollouts.sampled)}
        assert indices(rollouts.mine) == indices(rollouts.sampled)
        assert all(g.rewards for g in rollouts.mine)
        left += indices(rollouts.sampled)
    assert Counter(left + flying(parts)) == Counter(range(parts.sampler.position))


def test_two_ranks_train_on_the_same_groups_each_sampled_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> tuple[list[list[int]], list[list[int]], list[int]]:
        parts = parts_ahead(Ticking(lognormal), 2)
        found = [step_of(parts) for _ in range(8)]
        for rollouts in found:
            for owner, c in zip(
                rollouts.owners or [], (c for g in rollouts.kept for c in g.completions), strict=True
            ):
                assert isinstance(c.versions, Elsewhere) == isinstance(c.tokens, Elsewhere) == (owner != rank)
        return [indices(r.kept) for r in found], [indices(r.mine) for r in found], flying(parts)

    (kept, mine, left), (others, theirs, rest) = on_ranks(monkeypatch, 2, work)
    assert kept == others
    for both, own, other in zip(kept, mine, theirs, strict=True):
        assert sorted(own + other) == both and len(both) == 4
    trained = [index for step in kept for index in step]
    assert Counter(trained + left + rest) == Counter(range(len(trained) + len(left) + len(rest)))


def test_new_prompts_go_where_least_is_running() -> None:
    assert deal(list("abcde"), [3, 0, 1]) == [[], ["a", "b", "d"], ["c", "e"]]


def test_a_stop_in_the_middle_keeps_all_that_was_begun() -> None:
    stop = SimpleNamespace(asked=False, agreed=lambda: stop.asked)

    def check() -> None:
        if stop.asked:
            raise Interrupted

    stop.check = check

    def ask() -> None:
        stop.asked = engine.steps >= 9

    engine = Ticking(long_tail, ask)
    parts = parts_ahead(engine, 1)
    parts.stop = stop  # type: ignore[assignment]
    trained: list[int] = []
    with pytest.raises(Interrupted):
        for _ in range(9):
            trained += indices(step_of(parts).kept)
    assert sorted(trained + flying(parts)) == list(range(parts.sampler.position))
    assert parts.ahead is not None and sum(flight.tokens for flight in parts.ahead.flights) > 9


def test_what_is_in_flight_comes_back_from_a_checkpoint_on_any_number_of_ranks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def facts(parts: Parts) -> dict[int, Any]:
        assert parts.ahead is not None
        return {
            flight.index: (
                flight.problem.id,
                [(c.tokens.tolist(), c.logprobs.tolist(), c.versions.tolist()) for c in flight.begun],
                [(c.finished, c.partial, c.text) for c in flight.begun],
            )
            for flight in parts.ahead.flights
        }

    def work(rank: int) -> tuple[Any, dict[int, Any]]:
        parts = parts_ahead(Ticking(long_tail), 2)
        for _ in range(3):
            step_of(parts)
        assert parts.ahead is not None
        torch.save(parts.ahead.state(), tmp_path / f"{rank}.pt")
        return parts.sampler.state(), facts(parts)

    (position, first), (_, second) = on_ranks(monkeypatch, 2, work)
    saved = [tensor_files.read(tmp_path / f"{rank}.pt") for rank in range(2)]
    parts = parts_ahead(Ticking(long_tail), 2)
    assert parts.ahead is not None
    parts.sampler.load(position)
    parts.ahead.load(saved, parts.sampler, parts.engine)
    assert facts(parts) == first | second and not {*first} & {*second}
    parts.step = 3
    parts.engine.load((), version=3)
    assert len(step_of(parts).kept) == 4
    with pytest.raises(Exception, match=r"holds \d+ prompts in flight, which rollout.max_staleness=0"):
        demand_ahead(saved, 3)


def test_ranks_that_are_as_many_as_before_go_on_as_if_nothing_had_happened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Dealt anew, an engine has other groups than it had, and the next step others to choose from."""

    def whole(rank: int) -> list[Any]:
        parts = parts_ahead(Ticking(long_tail), 2)
        for _ in range(3):
            step_of(parts)
        assert parts.ahead is not None
        torch.save((parts.sampler.state(), parts.ahead.state()), tmp_path / f"{rank}.pt")
        return chosen(parts)

    def cut(rank: int) -> list[Any]:
        parts = parts_ahead(Ticking(long_tail), 2)
        saved = [torch.load(tmp_path / f"{each}.pt", weights_only=False) for each in range(2)]
        assert parts.ahead is not None
        parts.sampler.load(saved[0][0])
        parts.ahead.load([flights for _, flights in saved], parts.sampler, parts.engine)
        parts.step = 3
        parts.engine.load((), version=3)
        return chosen(parts)

    def chosen(parts: Parts) -> list[Any]:
        first = flying(parts)
        steps = [step_of(parts) for _ in range(3)]
        return [first, *([indices(out.kept), [group.index for group in out.mine]] for out in steps)]

    undisturbed = on_ranks(monkeypatch, 2, whole)
    assert on_ranks(monkeypatch, 2, cut) == undisturbed


def test_prompts_whose_problems_are_gone_are_dropped_and_told() -> None:
    parts = parts_ahead(Ticking(long_tail), 1)
    step_of(parts)
    assert parts.ahead is not None
    saved = parts.ahead.state()
    saved[0]["problem"] = "gone"
    parts.ahead.load([saved], parts.sampler, parts.engine)
    assert dropped(parts) == [saved[0]["index"]] and saved[0]["index"] not in flying(parts)


def test_the_loop_tells_how_old_its_tokens_were_and_hands_over_versions() -> None:
    parts = parts_ahead(Ticking(long_tail), 2)
    for _ in range(6):
        train_step(parts)
    assert isinstance(parts.tracker, Heard) and isinstance(parts.engine, Ticking)
    rows = parts.tracker.rows
    assert parts.engine.version == parts.step == 6
    assert rows[0]["staleness/mean"] == rows[0]["staleness/max"] == 0
    mean, oldest, most = (rows[-1][f"staleness/{name}"] for name in ("mean", "sample_mean", "max"))
    assert 0 < mean <= oldest <= most <= 2
    assert rows[-1]["staleness/in_flight"] == len(flying(parts)) == 8
    assert sum(row["perf/engine_steps"] for row in rows) >= parts.engine.steps


def test_without_staleness_there_is_no_metric_of_it() -> None:
    tracker = Heard()
    parts = small_parts(recipe(), tracker=tracker)
    train_step(parts)
    assert not [name for name in tracker.rows[0] if name.startswith("staleness/")]


def test_a_group_that_is_too_old_ends_the_run() -> None:
    parts = parts_ahead(Ticking(lognormal), 1)
    out = step_of(parts)
    none = Rollouts(kept=[], sampled=[], mine=[], refills=0)
    with pytest.raises(TooOldToTrain, match="tokens of step 0 and would train in step 2"):
        choose(parts, none, [(0, group) for group in out.kept], step=2)


def test_a_stage_that_samples_otherwise_begins_anew_what_is_in_flight() -> None:
    stages = {"longer": Stage(after=2, max_tokens=120), "slower": Stage(after=3, lr=1e-7)}
    parts = parts_ahead(Ticking(long_tail), 2, stages=stages)
    for _ in range(2):
        train_step(parts)
    before = flying(parts)
    enter_stage(parts)
    assert parts.ahead is not None and before == flying(parts)
    assert not any(flight.begun for flight in parts.ahead.flights)
    train_step(parts)
    began = sum(flight.tokens for flight in parts.ahead.flights)
    enter_stage(parts)  # changes nothing of the sampling
    assert sum(flight.tokens for flight in parts.ahead.flights) == began > 0


def test_beside_the_trainer_the_engine_goes_on_while_it_updates() -> None:
    """The engine stands still until the update has begun: its steps are counted as made beside it."""
    parts = parts_ahead(Ticking(lognormal), 1, overlap=Overlap.beside, sleep=False)
    for _ in range(5):
        train_step(parts)
    assert isinstance(parts.tracker, Heard)
    assert all(0 <= row["perf/beside_fraction"] <= 1 for row in parts.tracker.rows)
    assert parts.ahead is not None and parts.ahead.beside is not None
    assert not parts.ahead.beside.running, "paused for the new weights until the next step"


def test_an_update_may_wait_for_what_runs() -> None:
    parts = parts_ahead(Ticking(long_tail), 1, overlap=Overlap.beside, on_update=OnUpdate.finish, sleep=False)
    for _ in range(4):
        train_step(parts)
        assert parts.ahead is not None and all(flight.finished for flight in parts.ahead.flights)


@pytest.mark.parametrize("too_old", list(TooOld))
def test_what_runs_goes_on_across_updates_and_nothing_is_lost(too_old: TooOld) -> None:
    """The thread is never stopped but for a checkpoint; what it has begun counts as old as it may be."""
    slow = Ticking(lognormal, lambda: time.sleep(0.0005))
    parts = parts_ahead(
        slow, 2, overlap=Overlap.beside, on_update=OnUpdate.keep, sleep=False, too_old=too_old
    )
    assert parts.ahead is not None and parts.ahead.beside is not None
    trained: list[int] = []
    mixed = 0
    for step in range(20):
        rollouts = step_of(parts)
        trained += indices(rollouts.kept)
        for completion in (c for g in rollouts.kept for c in g.completions):
            versions = completion.versions.tolist()
            assert versions == sorted(versions) and step - versions[0] <= 2 and versions[-1] <= step
            mixed += versions[0] < versions[-1]
        if not dropped(parts):
            assert parts.ahead.beside.running
        if step == 10:
            assert [row["index"] for row in parts.ahead.state()] == flying(parts)
            assert not parts.ahead.beside.running
    parts.ahead.pause()
    assert mixed and Counter(trained + dropped(parts) + flying(parts)) == Counter(
        range(parts.sampler.position)
    )
    asked = Counter(request.key for request in slow.asked)
    assert max(asked.values()) <= 3, "asked for anew though it ran"


def test_what_goes_on_across_updates_counts_from_where_it_was_begun() -> None:
    """Nobody has seen a token of it yet: some may be as old as that."""
    flight = Flight(
        index=0, problem=Problem(id="0", prompt="", tokens=[], answer="", source="s", verifiers=[])
    )
    assert flight.oldest(5) == 5
    flight.since = 3
    assert flight.oldest(5) == 3
    begun = grown(grown(None, 0, 0), 4, 0)
    flight.came([begun])
    assert flight.oldest(5) == 4 and flight.since is None


def test_an_error_beside_the_trainer_ends_the_run() -> None:
    def fail() -> None:
        raise RuntimeError("the engine broke")

    parts = parts_ahead(Ticking(lognormal, fail), 1, overlap=Overlap.beside, sleep=False)
    with pytest.raises(RuntimeError, match="the engine broke"):
        train_step(parts)
    assert isinstance(parts.ahead, Ahead)
    parts.ahead.close()
