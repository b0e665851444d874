"""Fixture F1 (one prompt, four responses of 2, 4, 3 and 1 tokens) and the losses computed on it by hand."""

from typing import Any

import pytest
import torch
from f1 import (
    AGGREGATIONS,
    ALL,
    ENTROPY,
    LENGTHS,
    NEW,
    OLD,
    REF,
    ROLL,
    ZSCORED,
    advantages,
    aggregation,
    algorithm,
    flat,
    make,
    near,
    per_sample,
    total,
)

from rlvr_cli.algorithms.kl import Estimator, kl_estimate


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (make("advantage", "group_zscore"), 0.866024),
        (make("advantage", "group_zscore", eps=1e-4), 0.865875),
        (make("advantage", "group_zscore", ddof=0, eps=1e-8), 1.0),
        (make("advantage", "group_centered"), 0.5),
        (make("advantage", "leave_one_out"), 0.666667),
    ],
)
def test_group_advantages(option: Any, expected: float) -> None:
    values = [expected, -expected, -expected, expected]
    assert per_sample(advantages(option)) == pytest.approx(values, abs=1e-6)  # tells eps 1e-6 from 0


@pytest.mark.parametrize(
    ("high", "expected", "clipped"),
    [
        (0.2, [0.340702, -0.022465, 0.851754, 0.212939], 0.4),
        (0.28, [0.331920, -0.033442, 0.829800, 0.207450], 0.3),
    ],
)
def test_clipped_loss_in_each_aggregation(high: float, expected: list[float], clipped: float) -> None:
    loss = make("loss", "clipped", clip_ratio_high=high)
    values = [float(total(algorithm(loss=loss, aggregation=aggregation(a)), ZSCORED)) for a in AGGREGATIONS]
    assert values == near(expected)
    _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    assert float((metrics["clip_ratio_low"] | metrics["clip_ratio_high"]).double().mean()) == near(clipped)


def test_ratio_one_in_each_aggregation() -> None:
    values = [float(total(algorithm(aggregation=aggregation(a)), ZSCORED, new_N=OLD)) for a in AGGREGATIONS]
    assert values == near([0.346410, 0.0, 0.866024, 0.216506])


def test_grpo_with_kl() -> None:
    kl = make("kl", "loss", coef=0.04, estimator=Estimator.k3)
    recipe = algorithm(aggregation="seq_mean_token_mean", kl=kl)
    assert float(total(recipe, ZSCORED, ref_N=REF)) == near(-0.021278)


def test_dr_grpo_scales_with_its_constant() -> None:
    centred = advantages(make("advantage", "group_centered"))
    values = {n: float(total(algorithm(aggregation=aggregation("constant", n)), centred)) for n in (4, 10)}
    assert values[4] == near(0.122940)
    assert values[10] == pytest.approx(0.0491762, abs=5e-8)
    assert values[10] == pytest.approx(values[4] * 4 / 10, rel=1e-6)
    assert float(total(algorithm(aggregation="seq_mean_token_mean"), centred)) == near(-0.012970)


def test_dapo_token_loss() -> None:
    loss_N, metrics = make("loss", "clipped", clip_ratio_high=0.28)(NEW, OLD, ZSCORED, LENGTHS)
    assert float(loss_N[1]) == near(-1.108511)
    assert metrics["clip_ratio_high"].tolist() == [False, True, *[False] * 8]
    assert metrics["clip_ratio_low"].nonzero().flatten().tolist() == [3, 8]
    assert metrics["ratio"].tolist() == near(
        [1.221403, 1.349859, 0.951229, 0.670320, 1.349859, 1.0, 1.491825, 0.951229, 0.670320, 1.010050]
    )
    assert metrics["ppo_kl"].tolist() == near((OLD - NEW).tolist())


def test_dual_clip() -> None:
    new, old, advantage = flat([5.0]).log(), flat([0.0]), flat([-1.0])
    for dual_clip, expected in ((None, 5.0), (3.0, 3.0)):
        loss = make("loss", "clipped", clip_ratio_high=0.28, dual_clip=dual_clip)
        assert float(loss(new, old, advantage, torch.tensor([1]))[0]) == near(expected)
    # It concerns negative advantages only, and ratios above it only.
    capped, plain = (make("loss", "clipped", dual_clip=c)(NEW, OLD, ZSCORED, LENGTHS)[0] for c in (3.0, None))
    assert torch.equal(capped, plain)


def test_gspo_clips_everything_on_f1() -> None:
    new = NEW.clone().requires_grad_()
    loss_N, metrics = make("loss", "sequence_ratio")(new, OLD, ZSCORED, LENGTHS)
    firsts = [0, 2, 6, 9]
    assert metrics["ratio"][firsts].tolist() == near([1.284025, 0.963194, 0.983471, 1.010050])
    assert loss_N[firsts].tolist() == near([-0.866370, 0.865764, 0.865764, -0.866370])
    value = total(algorithm(loss="sequence_ratio", aggregation="seq_mean_token_mean"), ZSCORED, new_N=new)
    assert value.item() == pytest.approx(-0.000303108, abs=1e-8)
    value.backward()
    assert (new.grad == 0).all()
    assert (metrics["clip_ratio_low"] | metrics["clip_ratio_high"]).all()


@pytest.mark.parametrize(("cap", "expected"), [(1.2, -0.351947), (1.28, -0.365940), (5.0, -0.398317)])
def test_cispo_values_and_gradient(cap: float, expected: float) -> None:
    new = NEW.clone().requires_grad_()
    loss = make("loss", "clipped_weight", clip_ratio_high=cap - 1)
    value = total(algorithm(loss=loss), ZSCORED, new_N=new)
    assert value.item() == near(expected)
    value.backward()
    assert new.grad.tolist() == near((-(NEW - OLD).exp().clamp(max=cap) * ZSCORED / 10).tolist())


@pytest.mark.parametrize(
    ("estimator", "token_mean", "seq_mean"),
    [("k1", 0.081, 0.088958), ("k2", 0.037755, 0.032382), ("k3", 0.034813, 0.029655)],
)
def test_kl_estimates(estimator: str, token_mean: float, seq_mean: float) -> None:
    k_N = kl_estimate(NEW, REF, Estimator[estimator])
    assert float((k_N * aggregation("token_mean")(ALL, LENGTHS)).sum()) == near(token_mean)
    assert float((k_N * aggregation("seq_mean_token_mean")(ALL, LENGTHS)).sum()) == near(seq_mean)
    if estimator == "k3":
        assert float(k_N[0]) == near(0.0408182)


def test_high_entropy_tokens() -> None:
    keep_N = make("token_weights", "top_entropy")(ENTROPY, None, LENGTHS, torch.zeros(4, dtype=torch.bool))
    assert keep_N.nonzero().flatten().tolist() == [1, 4]  # threshold 0.96
    recipe = algorithm(loss=make("loss", "clipped", clip_ratio_high=0.28))
    assert float(total(recipe, ZSCORED, keep_N)) == near(0.0302497)
    # TRL's variant, normalised by all tokens
    loss_N, _ = recipe.loss(NEW, OLD, ZSCORED, LENGTHS)
    assert float((loss_N * keep_N).sum() / 10) == pytest.approx(0.00604994, abs=1e-8)


def test_truncated_importance_sampling() -> None:
    recipe = algorithm(mismatch=make("mismatch", "truncate", cap=2.0))
    assert float(total(recipe, ZSCORED, rollout_N=ROLL)) == near(0.261224)
