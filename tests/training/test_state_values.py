"""Values of states within a response: which are measured, from what, and on any number of ranks."""

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from f1 import algorithm, make
from run_helpers import RECIPE, comparable, rlvr, steps_of

from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import OnOneRank
from rlvr_cli.schema import Unscored
from rlvr_cli.tracking import Timer
from rlvr_cli.training.dynamic_sampling import judge
from rlvr_cli.training.state_values import measure_states

LOW, HIGH = np.log(0.5), np.log(0.99)


class Continues(OnOneRank):
    """An engine whose s-th sample goes on with token s and ends; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def text(self, tokens: list[int]) -> str:
        return " ".join(map(str, tokens))

    def generate(self, requests: list[Request], sampling: Sampling) -> Any:
        self.asked = requests
        for r in reversed(requests):
            yield r.key, [completion([s], [LOW], finished=s < 2) for s in range(r.samples)]


class Sums:
    """Right where the response's tokens add up to an even number; no verdict on `broken`."""

    broken = ""

    def submit_group(
        self, verifier: str, responses: list[str], answer: str, extra: dict[str, Any], group: Any = None
    ) -> list[Future[Verdict]]:
        futures: list[Future[Verdict]] = [Future() for _ in responses]
        for response, future in zip(responses, futures, strict=True):
            right = sum(map(int, response.split())) % 2 == 0
            reason = Reason.timeout if response == self.broken else Reason.correct if right else Reason.wrong
            future.set_result(Verdict(score=float(right), reason=reason))
        return futures


def completion(tokens: list[int], logprobs: list[float], finished: bool = True) -> Completion:
    text = " ".join(map(str, tokens))
    return Completion(
        tokens=np.array(tokens, np.int32),
        logprobs=np.array(logprobs, np.float32),
        text=text,
        finished=finished,
    )


def group(*completions: Completion) -> Group:
    problem = Problem(id="1", prompt="p", tokens=[90, 91], answer="", source="s", verifiers=["v"])
    return Group(problem=problem, index=5, completions=list(completions), rewards=[1.0] * len(completions))


def measure(found: Group, pool: Any, **shaping: Any) -> tuple[Any, int]:
    chosen = algorithm(
        advantage=make("advantage", "segment", interval=2, samples=3),
        shaping=make("shaping", "identity", **shaping),
    )
    parts = SimpleNamespace(
        recipe=SimpleNamespace(
            algorithm=chosen,
            rollout=SimpleNamespace(max_tokens=6, seeded=True),
            seed=0,
            verifiers={},
            verification=SimpleNamespace(unscored=Unscored.drop),
        ),
        engine=Continues(),
        pool=pool,
        sampling=Sampling(temperature=1.0, top_p=1.0, max_tokens=6),
        verifier_weights={"v": 1.0},
        timer=Timer(),
        stop=SimpleNamespace(asked=False, agreed=lambda: False),
    )
    tokens = measure_states(parts, [found], [found], partial(judge, algorithm=chosen, step=0))  # type: ignore[arg-type]
    return parts, tokens


def test_states_are_measured_by_whole_responses_and_equal_prefixes_once() -> None:
    found = group(
        completion([3, 4, 5, 6], [LOW, LOW, LOW, HIGH]),  # segments begin before tokens 0 and 2
        completion([3, 4, 7], [HIGH, HIGH, LOW]),  # before token 2: the same prefix as above
        completion([8], [HIGH]),
    )
    parts, tokens = measure(found, Sums())
    assert [(r.tokens, r.samples, r.max_tokens) for r in parts.engine.asked] == [
        ([90, 91], 3, 6),
        ([90, 91, 3, 4], 3, 4),
    ]
    assert len({r.seed for r in parts.engine.asked}) == 2
    # From the prompt: 0, 1, 2 of which two are even. After 3 4: 7, 8, 9 of which one is.
    expected = [[2 / 3, np.nan, 1 / 3, np.nan], [np.nan, np.nan, 1 / 3], [np.nan]]
    for values, wanted in zip(found.state_values, expected, strict=True):
        np.testing.assert_allclose(values, wanted)
    assert tokens == 6
    assert "timing_s/states" in parts.timer.take()


def test_values_are_shaped_rewards_and_samples_without_a_verdict_stay_out() -> None:
    pool = Sums()
    pool.broken = "3 1"
    found = group(completion([3, 4], [HIGH, LOW]))
    measure(found, pool, correct=1.0, wrong=-1.0)
    # After 3: 3 (wrong), 4 (no verdict), 5 (wrong).
    np.testing.assert_allclose(found.state_values[0], [np.nan, -1.0])


@pytest.mark.long
def test_spo_gives_the_same_numbers_on_two_ranks(tmp_path: Path) -> None:
    path = tmp_path / "exact.yaml"
    path.write_text(
        RECIPE.replace("algorithm: grpo", "algorithm: spo").replace(
            "algorithm: {kl: {coef: 0.05}, reference: {}}",
            "algorithm: {kl: {coef: 0.05}, advantage: {interval: 2, samples: 3}}",
        )
    )
    rows = []
    for name, ours in (("one", []), ("two", ["trainer.ranks=2", "trainer.zero_stage=2"])):
        done = rlvr("train", str(path), f"out={tmp_path / name}", "trainer.steps=2", *ours)
        assert done.returncode == 0, done.stdout + done.stderr
        rows.append(steps_of(tmp_path / name))
    for got, wanted in zip(*rows, strict=True):
        assert wanted["actor/advantage_std"] > 0.1 and wanted["perf/state_tokens"] > 100
        assert got["perf/state_tokens"] == wanted["perf/state_tokens"]
        for key, value in comparable(wanted).items():
            assert got[key] == pytest.approx(value, abs=1e-4, rel=1e-4), key
