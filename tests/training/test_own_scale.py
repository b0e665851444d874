"""Values of a user's reward function on their way to a reward: as they are, or refused."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from f1 import algorithm

from rlvr_cli.algorithms.shaping import Identity, SoftOverlong, StopProperly
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.sampling.collect import OffScale, score
from rlvr_cli.schema import Unscored
from rlvr_cli.training.dynamic_sampling import judge
from rlvr_cli.training.metrics import reward_metrics
from rlvr_cli.training.sample_metrics import sample_metrics

WEIGHTS = {"mine": 1.0, "form": 0.5, "gate": 1.0}


def own(value: float | None, **more: Any) -> Verdict:
    if value is None:
        return Verdict(score=0.0, reason=Reason.no_say, raw=True)
    reason = Reason.correct if value >= 0.5 else Reason.wrong
    return Verdict(score=value, reason=reason, raw=True, **more)


def ours(value: float) -> Verdict:
    return Verdict(score=value, reason=Reason.correct if value >= 1 else Reason.wrong)


def group(*verdicts: dict[str, Verdict], unscored: Unscored = Unscored.drop) -> Group:
    problem = Problem(
        id="1", prompt="", tokens=[], answer="", source="s", verifiers=list(verdicts[0]), extra={}
    )
    completions = [
        Completion(tokens=np.zeros(2, np.int32), logprobs=np.zeros(2), text="", finished=n > 0)
        for n, _ in enumerate(verdicts)
    ]
    found = Group(problem=problem, index=0, completions=completions, verdicts=list(verdicts))
    score(found, WEIGHTS, unscored, gates=["gate"])
    return found


def rewards(shaping: Any, *groups: Group, **parts: Any) -> list[list[float]]:
    chosen = SimpleNamespace(**vars(algorithm()) | {"shaping": shaping} | parts)
    judge(list(groups), chosen, 0)
    return [each.rewards for each in groups]


def test_a_value_is_the_reward_whatever_correct_and_wrong_map_scores_to() -> None:
    mine = group(*({"mine": own(value)} for value in (-1.0, 0.1, 10.0)))
    other = group(*({"form": ours(value)} for value in (0.0, 0.5, 1.0)))
    shaping = Identity(wrong=-1.0, correct=3.0)
    assert rewards(shaping, mine, other) == [[-1.0, 0.1, 10.0], [-1.0, 0.0, 1.0]]
    both = group({"mine": own(-2.0), "form": ours(1.0)}, {"mine": own(0.0), "form": ours(0.0)})
    assert rewards(shaping, both) == [[-2.0 + (-1.0 + 4.0 * 0.5), -1.0]]
    overlong = SoftOverlong(wrong=-1.0, max_length=2, buffer=1)
    assert rewards(overlong, mine) == [[-2.0, -0.9, 9.0]], "its penalty is added nevertheless"


def test_who_has_no_say_leaves_the_sample_to_the_others() -> None:
    found = group(
        {"mine": own(None), "form": ours(1.0)},
        {"mine": own(2.0), "form": ours(0.0)},
        {"mine": own(None), "form": own(None)},
    )
    assert found.scores[:2] == [0.5, 2.0] and math.isnan(found.scores[2])
    assert found.correct[:2] == [1.0, 1.0] and math.isnan(found.correct[2])
    assert found.first_scores[:2] == [1.0, 2.0]
    [shaped] = rewards(Identity(), found)
    assert shaped[:2] == [0.5, 2.0] and math.isnan(shaped[2])
    metrics = reward_metrics([found], []) | sample_metrics([found], {})
    assert metrics["reward/no_say_fraction"] == pytest.approx(0.5)
    assert metrics["reward/unscored_fraction"] == 0.0, "nothing is missing"
    assert metrics["reward/mean"] == 1.25
    lost = group({"mine": Verdict(score=0.0, reason=Reason.crash), "form": ours(1.0)})
    metrics = reward_metrics([lost], []) | sample_metrics([lost], {})
    assert metrics["reward/unscored_fraction"] == 1.0 and "reward/no_say_fraction" not in metrics


def test_what_a_function_returns_besides_is_a_metric() -> None:
    found = group(
        {"mine": own(1.0, more={"acc": 1.0, "mean": 3.0, "who": "x"})}, {"mine": own(-1.0, more={"acc": 0.0})}
    )
    metrics = sample_metrics([found], {})
    assert metrics["reward/mine/acc"] == 0.5 and metrics["reward/mine/mean_"] == 3.0
    assert metrics["reward/mine/mean"] == 0.0 and "reward/mine/who" not in metrics


def test_a_gate_takes_values_from_0_to_1() -> None:
    assert group({"mine": own(4.0), "gate": own(0.5)}).scores == [2.0]
    for value in (-0.1, 1.5):
        with pytest.raises(OffScale, match=rf"verifiers.gate is a gate and gave {value:g} .* set gate=false"):
            group({"mine": own(4.0), "gate": own(value)})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"filter": SimpleNamespace(name="difficulty_band")}, "difficulty_band goes by scores from 0 to 1"),
        ({"reweight": SimpleNamespace(name="history_difficulty", needs_group=True)}, "reweight=history_diff"),
        ({"advantage": SimpleNamespace(name="maxrl")}, "needs rewards of 0 and more; one is -1"),
        ({"shaping": StopProperly(coef=0.5)}, "shaping.coef=0.5 makes a truncated response"),
    ],
)
def test_values_that_a_part_of_the_algorithm_cannot_compute_with_are_refused(
    parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(OffScale, match=message):
        rewards(parts.pop("shaping", Identity()), group({"mine": own(-1.0)}, {"mine": own(1.0)}), **parts)


def test_what_says_how_right_a_response_is_goes_to_filters() -> None:
    found = group({"mine": own(-1.0, judged=0.0)}, {"mine": own(1.0, judged=1.0)})
    assert found.first_scores == [0.0, 1.0]
