"""Gradients, invariances and limiting cases of the policy loss, and how tokens add up."""

import math
from typing import Any

import pytest
import torch
from f1 import (
    ALL,
    LENGTHS,
    NEW,
    OLD,
    REF,
    ROLL,
    ZSCORED,
    aggregation,
    algorithm,
    flat,
    make,
    near,
    total,
)
from gradients import WIDE, differences, gradient, updates
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms import segments
from rlvr_cli.algorithms.kl import Estimator
from rlvr_cli.algorithms.mismatch import Level
from rlvr_cli.algorithms.objective import policy_loss


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        ("clipped", {}),
        ("clipped", {"clip_ratio_high": 0.28, "dual_clip": 1.3}),
        ("sequence_ratio", WIDE),
        ("sequence_ratio", {"clip_ratio_low": 0.02, "clip_ratio_high": 0.02}),
        ("reinforce", {}),
    ],
)
@pytest.mark.parametrize("mode", ["seq_mean_token_mean", "constant"])
def test_gradients_by_finite_differences(loss: str, values: dict[str, Any], mode: str) -> None:
    recipe = algorithm(loss=make("loss", loss, **values), aggregation=aggregation(mode), mismatch="truncate")
    if loss == "sequence_ratio":
        # A weight of its own for each token is not GSPO's objective: with it the difference
        # quotient of the value would mix tokens, which the GSPO-token gradient leaves apart.
        recipe.mismatch = make("mismatch", "none")

    def value_of(new: Tensor) -> Tensor:
        return total(recipe, ZSCORED, new_N=new, rollout_N=ROLL)

    assert gradient(value_of).tolist() == pytest.approx(differences(value_of).tolist(), abs=1e-7)


def test_cispo_gradient_by_finite_differences_of_the_frozen_weight() -> None:
    loss = make("loss", "clipped_weight", clip_ratio_low=0.1, clip_ratio_high=0.2)
    weight_N = (NEW - OLD).exp().clamp(0.9, 1.2)
    numeric = differences(lambda new: -(weight_N * ZSCORED * new).mean())
    exact = gradient(lambda new: total(algorithm(loss=loss), ZSCORED, new_N=new))
    assert exact.tolist() == pytest.approx(numeric.tolist(), abs=1e-7)
    _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    assert metrics["clip_ratio_high"].nonzero().flatten().tolist() == [0, 1, 4, 6]
    assert metrics["clip_ratio_low"].nonzero().flatten().tolist() == [3, 8]


@pytest.mark.parametrize("estimator", list(Estimator))
def test_kl_and_entropy_gradients_by_finite_differences(estimator: Estimator) -> None:
    kl = make("kl", "loss", coef=0.3, estimator=estimator)
    recipe = algorithm(kl=kl, entropy=make("entropy", "bonus", coef=0.2))

    def value_of(new: Tensor) -> Tensor:
        return total(recipe, ZSCORED, new_N=new, ref_N=REF + 0.013, entropy_N=new.square())

    assert gradient(value_of).tolist() == pytest.approx(differences(value_of).tolist(), abs=1e-7)


@pytest.mark.parametrize("loss", ["clipped", "sequence_ratio", "clipped_weight", "reinforce"])
def test_on_policy_every_loss_is_the_plain_policy_gradient(loss: str) -> None:
    recipe = algorithm(loss=loss, aggregation="seq_mean_token_mean")
    plain = -ZSCORED / (4 * segments.spread(LENGTHS, LENGTHS))
    for old in (None, NEW):
        on_policy = gradient(lambda new, old=old: total(recipe, ZSCORED, new_N=new, old_N=old, rollout_N=NEW))
        assert on_policy.tolist() == near(plain.tolist())


def test_clip_takes_the_gradient_away_on_the_right_side_only() -> None:
    def slope(ratio: float, advantage: float, **values: Any) -> float:
        loss, new = make("loss", "clipped", **values), flat([math.log(ratio)])
        return gradient(
            lambda x: loss(x, flat([0.0]), flat([advantage]), torch.tensor([1]))[0].sum(), new
        ).item()

    assert slope(1.1, 1.0) == near(-1.1)
    assert slope(1.3, 1.0) == 0
    assert slope(0.5, 1.0) == near(-0.5)
    assert slope(0.5, -1.0) == 0
    assert slope(5.0, -1.0) == near(5.0)
    assert slope(5.0, -1.0, dual_clip=3.0) == 0


def test_dapo_with_equal_clips_is_grpo() -> None:
    dapo = algorithm(
        loss=make("loss", "clipped", clip_ratio_low=0.2, clip_ratio_high=0.2),
        aggregation="seq_mean_token_mean",
    )
    # GRPO written out: mean over responses of the mean over tokens of -min(w A, clip(w) A)
    w = (NEW - OLD).exp()
    tokens = -torch.minimum(w * ZSCORED, w.clamp(0.8, 1.2) * ZSCORED)
    grpo = torch.stack([part.mean() for part in tokens.split(LENGTHS.tolist())]).mean()
    assert float(total(dapo, ZSCORED)) == near(float(grpo))


def test_gspo_on_single_tokens_is_the_clipped_loss() -> None:
    values, ones = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.3}, torch.ones(10, dtype=torch.long)
    pair = [make("loss", name, **values) for name in ("sequence_ratio", "clipped")]
    (a, metrics_a), (b, metrics_b) = (loss(NEW, OLD, ZSCORED, ones) for loss in pair)
    assert a.tolist() == near(b.tolist())
    for name in metrics_a:
        assert metrics_a[name].tolist() == near(metrics_b[name].tolist())
    slopes = [gradient(lambda new, loss=loss: loss(new, OLD, ZSCORED, ones)[0].sum()) for loss in pair]
    assert slopes[0].tolist() == near(slopes[1].tolist())


def test_length_bias() -> None:
    lengths, keep = torch.tensor([10, 100]), torch.ones(110, dtype=torch.bool)
    grpo = aggregation("seq_mean_token_mean")(keep, lengths)
    assert float(grpo[0] / grpo[-1]) == near(10.0)
    for mode in ("token_mean", "seq_mean_token_sum", "constant"):
        weights = aggregation(mode)(keep, lengths)
        assert (weights == weights[0]).all()


def test_fully_masked_sequences_leave_numerator_and_count() -> None:
    keep = segments.spread(torch.tensor([True, False, True, False]), LENGTHS)
    expected = {
        "token_mean": 1 / 5,
        "seq_mean_token_mean": [1 / 4, 1 / 6],
        "seq_mean_token_sum": 1 / 2,
        "constant": 1 / 8,
    }
    for mode, value in expected.items():
        weights = aggregation(mode)(keep, LENGTHS)
        first, third = value if isinstance(value, list) else (value, value)
        assert weights.tolist() == near([first] * 2 + [0] * 4 + [third] * 3 + [0])


def test_a_sequence_mean_is_over_its_kept_tokens() -> None:
    keep = ALL.clone()
    keep[[0, 3, 4]] = False  # leaves 1, 2, 3 and 1 tokens
    weights = aggregation("seq_mean_token_mean")(keep, LENGTHS)
    assert weights.tolist() == near([0, 1 / 4, 1 / 8, 0, 0, 1 / 8, *[1 / 12] * 3, 1 / 4])


@pytest.mark.parametrize("mode", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "constant"])
def test_nothing_kept_gives_a_loss_of_zero(mode: str) -> None:
    recipe = algorithm(aggregation=aggregation(mode))
    assert float(total(recipe, ZSCORED, ~ALL)) == 0
    assert (gradient(lambda new: total(recipe, ZSCORED, ~ALL, new_N=new)) == 0).all()
    empty = torch.tensor([0, 2, 0])
    assert aggregation(mode)(ALL[:2], empty).isfinite().all()
    assert aggregation(mode)(ALL[:0], empty[:1]).shape == (0,)


# -- invariance under how an update is cut up and what stands beside it ----------------------------

RECIPES = {
    "grpo": {"aggregation": "seq_mean_token_mean", "kl": make("kl", "loss", coef=0.1)},
    "dapo": {"loss": make("loss", "clipped", clip_ratio_high=0.28, dual_clip=10.0), "mismatch": "truncate"},
    "gspo": {"loss": make("loss", "sequence_ratio", **WIDE), "aggregation": "seq_mean_token_mean"},
    "cispo": {"loss": "clipped_weight", "mismatch": make("mismatch", "mask", level=Level.geometric)},
    "dr_grpo": {"aggregation": aggregation("constant"), "entropy": make("entropy", "bonus", coef=0.1)},
    "rloo": {"loss": "reinforce", "aggregation": "seq_mean_token_sum"},
}


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=25, deadline=None)
@given(updates(), st.integers(1, 3))
def test_any_split_into_micro_batches_sums_to_the_same(
    name: str, update: tuple[Tensor, dict[str, Tensor], Tensor], size: int
) -> None:
    recipe = algorithm(**RECIPES[name])
    lengths, tensors, keep_N = update
    tensors["weights_N"] = recipe.aggregation(keep_N, lengths).double()
    tensors["new_N"].requires_grad_()
    whole, _ = policy_loss(recipe, lengths_B=lengths, **tensors)
    (slope,) = torch.autograd.grad(whole, tensors["new_N"])
    groups = lengths.split(size)
    cuts = {key: x_N.split([int(g.sum()) for g in groups]) for key, x_N in tensors.items()}
    parts = [
        policy_loss(recipe, lengths_B=g, **{key: pieces[i] for key, pieces in cuts.items()})[0]
        for i, g in enumerate(groups)
    ]
    (summed,) = torch.autograd.grad(sum(parts), tensors["new_N"])
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-9)
    assert torch.allclose(summed, slope, atol=1e-9)


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=15, deadline=None)
@given(updates(), updates())
def test_masked_sequences_change_nothing(name: str, update: Any, other: Any) -> None:
    recipe = algorithm(**RECIPES[name])
    (lengths, tensors, keep_N), (more_lengths, more_tensors, more_keep_N) = update, other
    alone, _ = policy_loss(
        recipe, lengths_B=lengths, weights_N=recipe.aggregation(keep_N, lengths).double(), **tensors
    )
    joined_lengths = torch.cat([lengths, more_lengths])
    joined_keep = torch.cat([keep_N, torch.zeros_like(more_keep_N)])
    joined = {key: torch.cat([tensors[key], more_tensors[key]]) for key in tensors}
    weights_N = recipe.aggregation(joined_keep, joined_lengths).double()
    together, _ = policy_loss(recipe, lengths_B=joined_lengths, weights_N=weights_N, **joined)
    assert float(together) == pytest.approx(float(alone), abs=1e-9)
