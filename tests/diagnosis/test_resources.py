"""A disk that a run waits for and memory that only grows, told from noise, caches that fill and jumps."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest
from healthy_rows import CONTEXT, Row, healthy

from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.schema import Diagnosis


def begun(change: Callable[[int, Random], Row], steps: int = 100, seed: int = 0) -> list[tuple[str, int]]:
    random, noise = Random(seed), Random(seed + 1)
    watch, found = Watch(Diagnosis(), [CONTEXT]), []
    for step in range(1, steps + 1):
        found += watch.add(healthy(step, random) | change(step, noise))
    return [(finding.rule, finding.step) for finding in found if finding.begins]


def memory(course: Callable[[int], float], spread: float = 0.02) -> Callable[[int, Random], Row]:
    """GiB by step, with the noise of batches of different length."""
    return lambda step, noise: {"perf/host_memory_gb": course(step) + noise.gauss(0, spread)}


@pytest.mark.parametrize("gib_a_step", [0.01, 0.05, 0.5])
def test_a_leak_is_found_the_sooner_the_larger_it_is(gib_a_step: float) -> None:
    [(rule, step)] = begun(memory(lambda step: 2.0 + gib_a_step * step))
    assert rule == "growing_memory"
    assert 32 <= step <= 32 + 0.4 / gib_a_step


def test_a_leak_of_a_process_with_much_memory_must_be_a_twentieth_of_it() -> None:
    assert begun(memory(lambda step: 40 + 0.01 * step, 0.0)) == []
    assert begun(memory(lambda step: 40 + 0.05 * step, 0.0))[0][0] == "growing_memory"


HEALTHY: dict[str, Callable[[int], float]] = {
    "still": lambda step: 2.0,
    "a cache that fills": lambda step: 2.0 + 1.5 * (1 - math.exp(-step / 15)),
    "a root": lambda step: 1.0 + 0.05 * math.log(step),
    "an evaluation that loads something": lambda step: 2.0 + 1.0 * (step > 30),
    "two of them": lambda step: 2.0 + 0.4 * (step > 30) + 0.4 * (step > 60),
    "waves": lambda step: 2.0 + 0.5 * math.sin(step / 4),
    "less and less": lambda step: 4.0 - 0.02 * step,
}


@pytest.mark.parametrize("name", HEALTHY)
def test_memory_that_levels_off_jumps_or_swings_is_no_leak(name: str) -> None:
    for seed in range(20):
        assert begun(memory(HEALTHY[name]), seed=seed) == [], seed


def writing(record: float, checkpoint: float = 0.0, every: int = 20) -> Callable[[int, Random], Row]:
    """Seconds of a step that takes about two besides."""

    def changed(step: int, noise: Random) -> Row:
        spent = {
            "timing_s/record": record * math.exp(noise.gauss(0, 0.3)),
            "timing_s/checkpoint": checkpoint if step % every == 1 else 0.0,
        }
        return spent | {"timing_s/step": 2.0 * math.exp(noise.gauss(0, 0.2)) + sum(spent.values())}

    return changed


def test_a_disk_that_takes_a_third_of_the_time_is_found_after_a_window() -> None:
    assert begun(writing(1.3))[0] == ("slow_disk", 8)
    assert begun(writing(0.0, checkpoint=10.0, every=8))[0] == ("slow_disk", 8)


@pytest.mark.parametrize(
    "healthy_writing",
    [writing(0.05), writing(0.4), writing(0.02, checkpoint=4.0), writing(0.0, 0.5, every=1)],
)
def test_a_disk_that_takes_less_is_not(healthy_writing: Callable[[int, Random], Row]) -> None:
    for seed in range(20):
        assert begun(healthy_writing, seed=seed) == [], seed


def test_tiny_steps_may_write_for_most_of_their_time() -> None:
    tiny = {"timing_s/record": 0.1, "timing_s/checkpoint": 0.3, "timing_s/step": 0.6}
    assert begun(lambda step, noise: tiny) == []
