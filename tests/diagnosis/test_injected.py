"""Failures injected into a long healthy run, from the texts and logprobs up: each is found as what it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from healthy_rows import CONTEXT, Row, healthy

from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.inspect.gap import gap
from rlvr_cli.sampling.wording import Text, means, sums_of
from rlvr_cli.schema import Diagnosis

STEPS = 500
SENTENCE = "so then we add them and get what is asked for since both sides of it are the same as before"
Change = Callable[[int, np.random.Generator], dict[str, float]]


def mismatch(shift: float, spread: float, random: np.random.Generator) -> dict[str, float]:
    """k3 of tokens whose logprobs differ by a normal amount."""
    theirs = np.full(2000, -1.0)
    return {"mismatch/k3": gap([theirs + random.normal(shift, spread, 2000)], [theirs]).k3}


def said(loops: float, random: Random) -> dict[str, float]:
    """Of 32 responses, that share of which says one phrase again and again."""
    texts = []
    for number in range(32):
        text = " ".join(random.choices(SENTENCE.split(), k=60))
        if number < 32 * loops:
            text += " wait let me see" * 40
        texts.append(Text(response=text, tokens=100, correct=1.0, source="train"))
    return means(sums_of([("what is it", texts)]))


def truncation_ramp(step: int, random: np.random.Generator) -> dict[str, float]:
    return {"response_length/truncated_fraction": min(0.9, max(0.02, 0.004 * (step - 300)))}


def repetition_loop(step: int, random: np.random.Generator) -> dict[str, float]:
    return said(0.0 if step < 300 else 0.75, Random(step))


def engine_noise(step: int, random: np.random.Generator) -> dict[str, float]:
    return mismatch(0.0, 0.02 if step < 300 else 0.2, random)


def stale_weights(step: int, random: np.random.Generator) -> dict[str, float]:
    """From step 300 on the engine gets none: every update takes the trainer further away."""
    return mismatch(-0.002 * max(0, step - 300), 0.02, random)


FAILURES: dict[str, tuple[Change, str]] = {
    "nothing": (lambda step, random: {}, ""),
    "truncation ramp": (truncation_ramp, "truncation"),
    "repetition loop": (repetition_loop, "repetition_loops"),
    "engine noise": (engine_noise, "mismatch_growth"),
    "stale weights": (stale_weights, "mismatch_growth"),
}


def test_each_injected_failure_trips_its_alert_and_no_other() -> None:
    for name, (change, rule) in FAILURES.items():
        random, noise = Random(7), np.random.default_rng(7)
        watch = Watch(Diagnosis(), [CONTEXT])
        found: list[Any] = []
        for step in range(1, STEPS + 1):
            settled = {"actor/entropy": 0.2 + 0.2 * 0.99**step, "response_length/mean": 300.0 + step % 30}
            row: Row = healthy(step, random) | settled | change(step, noise)
            found += watch.add(row)
        begun = [(finding.rule, finding.step) for finding in found if finding.begins]
        assert [each for each, _ in begun] == ([rule] if rule else []), (name, begun)
        assert all(step >= 300 for _, step in begun), (name, begun)


def test_a_leaked_canary_is_told_and_a_quiet_one_is_not() -> None:
    """Of 60 problems with false golds one in 20 is right by chance; after the leak every third is."""

    def sung(leak: int | None) -> list[str]:
        random, watch = Random(3), Watch(Diagnosis(canary="song"), [CONTEXT])
        found: list[Any] = []
        for step in range(0, 200, 20):
            share = 0.05 if leak is None or step < leak else 0.35
            problems = {f"p{n}": float(random.random() < share) for n in range(60)}
            mean = sum(problems.values()) / len(problems)
            row: Row = {"step": step, "event": "eval", "bench": "song", "eval/song/avg@1": mean}
            found += watch.add(row, problems)
        return [finding.rule for finding in found if finding.begins]

    assert sung(None) == []
    assert sung(100) == ["canary"]


def test_noise_has_the_k3_it_must() -> None:
    """d ~ N(m, s^2): exp(m + s^2 / 2) - m - 1."""
    random = np.random.default_rng(0)
    for shift, spread in ((0.0, 0.2), (-0.4, 0.02)):
        measured = np.mean([mismatch(shift, spread, random)["mismatch/k3"] for _ in range(50)])
        assert measured == pytest.approx(math.exp(shift + spread**2 / 2) - shift - 1, rel=0.03)
