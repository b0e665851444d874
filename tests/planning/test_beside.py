"""`rlvr plan` of a step that samples beside its training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plans import PLAIN, changed

from rlvr_cli.planning.advice import advise
from rlvr_cli.planning.beside import assumption, at_best, step_time
from rlvr_cli.planning.gpus import GPUS, cpu
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.speed import times_of
from rlvr_cli.schema import Overlap, Placement, Servers

PHASES = {"rollout": 10.0, "ref_logprobs": 2.0, "update": 5.0, "sync": 1.0, "checkpoint": 0.5}


def ahead(**more: Any) -> Job:
    return changed(PLAIN(), "rollout", max_staleness=1, overlap=Overlap.beside, sleep=False, **more)


def test_a_step_takes_the_longer_of_sampling_and_training_where_devices_differ() -> None:
    servers = ahead(placement=Placement.servers, servers=Servers(count=2))
    assert step_time(servers, PHASES) == 11.5
    assert step_time(servers, PHASES | {"rollout": 4.0}) == 8.5
    assert "the longer of the two" in (assumption(servers, PHASES) or "")


def test_on_one_device_nothing_is_gained_and_the_page_says_what_might_be() -> None:
    for job in (ahead(), replace(ahead(placement=Placement.servers), device=cpu(), ranks=2)):
        assert step_time(job, PHASES) == 18.5 and at_best(PHASES) == 11.5
        assert "11.5 s a step if neither" in (assumption(job, PHASES) or "")
    elsewhere = replace(
        ahead(placement=Placement.servers, servers=Servers(urls=["http://a:1"])), device=cpu()
    )
    assert step_time(elsewhere, PHASES) == 11.5


def test_without_a_thread_beside_the_trainer_phases_follow_each_other() -> None:
    inside = PLAIN()
    between = changed(inside, "rollout", max_staleness=1)
    assert step_time(inside, PHASES) == step_time(between, PHASES) == 18.5
    assert assumption(between, PHASES) is None


def test_what_does_not_go_with_sampling_ahead_is_not_advised() -> None:
    """Neither an engine over several ranks, nor sleep."""
    for job in (ahead(), changed(PLAIN(), "rollout", max_staleness=1, sleep=False)):
        small = replace(job, device=GPUS["l4"])
        assert not memory_of(small).fits
        told = [setting for advice in advise(small) for setting in advice.settings]
        assert not any(setting.startswith("rollout.tensor_parallel") for setting in told)
        if job.rl.rollout.overlap is Overlap.beside:
            assert not any(".sleep=" in setting for setting in told)


def test_what_is_sampled_ahead_does_not_wait_for_the_longest() -> None:
    inside = PLAIN()
    waits = (times_of(inside) or {})["rollout"]
    assert (times_of(changed(inside, "rollout", max_staleness=1)) or {})["rollout"] < waits
