"""Trainer-sampler mismatch, KL, reference resets, entropy bonus."""

import math
from typing import Any

import pytest
import torch
from f1 import LENGTHS, NEW, OLD, REF, ROLL, ZSCORED, algorithm, flat, make, near, total
from presets import preset

from rlvr_cli.algorithms.kl import Estimator, kl_estimate
from rlvr_cli.algorithms.mismatch import Level, mismatch_weights
from rlvr_cli.algorithms.mismatch_metrics import mismatch_metrics
from rlvr_cli.algorithms.mismatch_rejection import Weight
from rlvr_cli.algorithms.objective import policy_loss

RHO = flat([0.3, 0.9, 1.5, 6.0])
ONE = torch.tensor([4])


def corrected(name: str, **values: Any) -> list[float]:
    """The weights of the toy ratios .3, .9, 1.5, 6 in one sequence."""
    return make("mismatch", name, **values)(RHO.log(), torch.zeros_like(RHO), ONE).tolist()


def test_mismatch_weights_of_tokens() -> None:
    assert corrected("truncate", cap=2.0) == near([0.3, 0.9, 1.5, 2])
    assert corrected("truncate", cap=5.0, floor=0.5) == near([0.5, 0.9, 1.5, 5])
    assert corrected("truncate", cap=math.inf) == near(RHO.tolist())
    assert corrected("mask") == near([0, 0.9, 1.5, 0])
    assert corrected("mask", weight=Weight.none) == [0, 1, 1, 0]
    assert corrected("none") == [1, 1, 1, 1]


def test_mismatch_weights_of_sequences() -> None:
    geometric = mismatch_weights(RHO.log(), torch.zeros_like(RHO), ONE, Level.geometric)
    assert geometric.tolist() == near([1.248537] * 4)
    assert corrected("mask", level=Level.geometric, low=0.8, high=1.25) == near(RHO.tolist())
    assert corrected("mask", level=Level.geometric, low=0.8, high=1.24) == [0] * 4
    assert corrected("truncate", level=Level.sequence, cap=2.0) == near([2.0] * 4)
    assert corrected("truncate", level=Level.sequence, cap=3.0) == near([2.43] * 4)
    product = mismatch_weights(
        torch.zeros(1000), torch.full((1000,), -1.0), torch.tensor([1000]), Level.sequence
    )
    assert product.tolist() == pytest.approx(
        [math.exp(20)] * 1000
    )  # held at the bound instead of overflowing


def test_mismatch_weights_on_f1() -> None:
    token = [1, 1.105171, 1.105171, 1, 0.406570, 1, 1, 0.904837, 1, 1]
    assert mismatch_weights(OLD, ROLL, LENGTHS, Level.token).tolist() == near(token)
    firsts = [0, 2, 6, 9]
    product = mismatch_weights(OLD, ROLL, LENGTHS, Level.sequence)[firsts].tolist()
    assert product == near([1.105171, 0.449329, 0.904837, 1])
    geometric = mismatch_weights(OLD, ROLL, LENGTHS, Level.geometric)[firsts].tolist()
    assert geometric == near([1.051271, 0.818731, 0.967216, 1])
    icepop = make("mismatch", "mask", low=0.9, high=1.1)(OLD, ROLL, LENGTHS).tolist()
    assert icepop == near([1, 0, 0, 1, 0, 1, 1, 0.904837, 1, 1])


@pytest.mark.parametrize("level", list(Level))
def test_agreement_is_an_exact_no_op(level: Level) -> None:
    options = [
        make("mismatch", "mask", level=level),
        make("mismatch", "mask", level=level, weight=Weight.none),
    ]
    options += [make("mismatch", "mask", level=level, low=1.0, high=1.0), make("mismatch", "none")]
    if level is not Level.geometric:
        options.append(make("mismatch", "truncate", level=level))
    for option in options:
        assert (option(OLD, OLD, LENGTHS) == 1).all()
        assert total(algorithm(mismatch=option), ZSCORED) == total(algorithm(), ZSCORED)


def test_mismatch_is_detached_and_on_policy_uses_the_new_logprobs() -> None:
    new = NEW.clone().requires_grad_()
    recipe = algorithm(mismatch=make("mismatch", "truncate", cap=math.inf))
    weights_N = recipe.aggregation(torch.ones(10).bool(), LENGTHS)
    tensors = {"entropy_N": None, "ref_N": None, "advantages_N": ZSCORED, "weights_N": weights_N}
    loss, metrics = policy_loss(recipe, new_N=new, old_N=None, rollout_N=ROLL, lengths_B=LENGTHS, **tensors)
    loss.backward()
    # Plain importance sampling: the policy gradient weighted by new / rollout.
    assert new.grad.tolist() == near((-(NEW - ROLL).exp() * ZSCORED / 10).tolist())
    assert metrics["mismatch_weight"].tolist() == near((NEW - ROLL).exp().tolist())
    assert not any(value.requires_grad for value in metrics.values())


def test_mismatch_metrics() -> None:
    metrics = mismatch_metrics(OLD, ROLL, torch.ones(10), LENGTHS)
    d = OLD - ROLL
    assert metrics["mismatch_k1"].tolist() == near((-d).tolist())
    assert metrics["mismatch_k3"].tolist() == near((d.exp() - 1 - d).tolist())
    assert float(metrics["mismatch_abs"].max()) == near(0.9)
    sampled_from, lengths = flat([0.4, 0.4, 0.2]), torch.tensor([3])
    exact = mismatch_metrics(flat([0.5, 0.3, 0.2]).log(), sampled_from.log(), torch.ones(3), lengths)
    kl = float((sampled_from * (sampled_from.log() - flat([0.5, 0.3, 0.2]).log())).sum())
    assert float((sampled_from * exact["mismatch_k1"]).sum()) == near(kl)
    assert float((sampled_from * exact["mismatch_k3"]).sum()) == near(kl)


def test_objective_metrics() -> None:
    recipe = algorithm(kl="loss")
    loss, metrics = policy_loss(
        recipe,
        new_N=NEW,
        entropy_N=-NEW,
        old_N=OLD,
        rollout_N=ROLL,
        ref_N=REF,
        advantages_N=ZSCORED,
        weights_N=recipe.aggregation(torch.ones(10).bool(), LENGTHS),
        lengths_B=LENGTHS,
    )
    probabilities = ("probability", "probability_square", "p", "q", "pp", "qq", "pq", "rho_square")
    sequences = {
        f"mismatch_{name}"
        for name in ("trainer_ppl", "rollout_ppl", "ppl_ratio", "log_ppl", "log_ppl_abs", "sequence_square")
    }
    assert set(metrics) == sequences | {
        *("clip_ratio_low", "clip_ratio_high", "ppo_kl", "ratio", "ref_kl", "entropy"),
        *("mismatch_k1", "mismatch_k3", "mismatch_abs", "mismatch_rho", "mismatch_weight"),
        "mismatch_extreme",
        *(f"entropy/tenth_{i}" for i in range(1, 11)),
        *(f"mismatch_{name}" for name in probabilities),
    }
    assert all(
        value.shape == (LENGTHS if name in sequences else NEW).shape for name, value in metrics.items()
    )
    assert float(metrics["ref_kl"].mean()) == near(0.034813)
    assert loss.shape == ()


# -- KL --------------------------------------------------------------------------------------------

P, Q = flat([0.5, 0.3, 0.2]), flat([0.4, 0.4, 0.2])
TRUE_GRADIENT = [0.098938, -0.093885, -0.005053]


@pytest.mark.parametrize(
    ("estimator", "mean", "slope"),
    [
        ("k1", 0.0252672, [0, 0, 0]),
        ("k2", 0.0248624, TRUE_GRADIENT),
        ("k3", 0.0252672, [0.1, -0.1, 0]),
    ],
)
def test_estimators_exactly(estimator: str, mean: float, slope: list[float]) -> None:
    logits = P.log().requires_grad_()
    expected = (
        P * kl_estimate(logits.log_softmax(0), Q.log(), Estimator[estimator])
    ).sum()  # P as a constant
    assert expected.item() == near(mean)
    expected.backward()
    assert logits.grad.tolist() == near(slope)


def test_k1_in_the_reward_has_the_true_gradient() -> None:
    logits = P.log().requires_grad_()
    logprobs = logits.log_softmax(0)
    penalty = make("kl", "reward", coef=1.0)(logprobs, Q.log()).detach()
    (P * penalty * logprobs).sum().backward()  # the expected policy gradient of the penalty
    assert logits.grad.tolist() == near(TRUE_GRADIENT)


def test_true_gradient_is_that_of_the_kl() -> None:
    logits = P.log().requires_grad_()
    logprobs = logits.log_softmax(0)
    (logprobs.exp() * (logprobs - Q.log())).sum().backward()
    assert logits.grad.tolist() == near(TRUE_GRADIENT)


def test_kl_is_clamped() -> None:
    far, here = flat([-30.0]), flat([0.0])
    k3 = {"coef": 1.0, "estimator": Estimator.k3}
    assert make("kl", "loss", **k3, clamp_value=10.0)(far, here).item() == near(10.0)
    assert make("kl", "loss", **k3)(far, here).item() == pytest.approx(math.exp(20) - 21)
    assert make("kl", "loss", coef=1.0, clamp_log_ratio=None)(far, here).item() == near(450.0)
    assert make("kl", "reward", coef=0.5, estimator=Estimator.abs)(far, here).item() == near(10.0)
    assert preset("grpo").kl(far, here).item() == near(1e-3 * 10)


def test_a_coefficient_of_zero_needs_no_reference() -> None:
    off = make("kl", "loss", coef=0.0)
    assert not off.needs_reference
    assert total(algorithm(kl=off), ZSCORED) == total(algorithm(), ZSCORED)
    assert make("kl", "loss").needs_reference
    assert not make("kl", "none").needs_reference
    assert make("kl", "none")(NEW, REF).tolist() == [0] * 10


def test_right_after_a_reset_the_penalty_vanishes() -> None:
    for estimator in (Estimator.k1, Estimator.k2, Estimator.k3):
        new = NEW.clone().requires_grad_()
        value = kl_estimate(new, NEW, estimator)
        assert (value == 0).all()
        value.sum().backward()
        assert (new.grad == (1 if estimator is Estimator.k1 else 0)).all()


# -- entropy ---------------------------------------------------------------------------------------


def test_entropy_bonus() -> None:
    entropy = flat([1.0] * 10)
    bonus = algorithm(entropy=make("entropy", "bonus", coef=0.1))
    assert float(total(bonus, ZSCORED, entropy_N=entropy) - total(algorithm(), ZSCORED)) == near(-0.1)
    assert not make("entropy", "bonus", coef=0.0).needs_entropy
    assert make("entropy", "none")(entropy).tolist() == [0] * 10


def test_adaptive_entropy() -> None:
    option = make("entropy", "adaptive", target=0.2, delta=0.005, max_coef=0.012)
    entropy = flat([2.0])
    history = []
    for mean in (0.3, 0.2, 0.1, 0.1, math.nan, 0.3):
        option.observe(mean)
        history.append((round(option.coef, 6), option(entropy).item()))
    assert [coef for coef, _ in history] == near([0, 0.005, 0.010, 0.012, 0.012, 0.007])
    assert [bonus for _, bonus in history] == near([0, -0.01, -0.02, -0.024, -0.024, 0])
    other = make("entropy", "adaptive")
    other.load(option.state())
    assert (other.coef, other.active) == (option.coef, False)


def test_adaptive_entropy_goes_on_where_it_was_saved() -> None:
    """Its bonus is there in the very next step: 0.005 for an entropy of 2."""
    saved = make("entropy", "adaptive", target=0.2, delta=0.005)
    saved.observe(0.1)
    other = make("entropy", "adaptive", target=0.2, delta=0.005)
    other.load(saved.state())
    assert other(flat([2.0])).item() == near(-0.01)
    other.observe(0.3)  # above the target
    saved.load(other.state())
    assert saved(flat([2.0])).item() == 0
