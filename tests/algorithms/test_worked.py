"""Worked numbers that need more than one call: means and spreads, and the statistics behind HA-DW."""

import math

import numpy as np
import pytest
import torch
from f1 import (
    AGGREGATIONS,
    ALL,
    ENTROPY,
    LENGTHS,
    NEW,
    REF,
    REWARDS,
    ROLL,
    advantages,
    aggregation,
    algorithm,
    flat,
    make,
    near,
    per_sample,
    total,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_rates import kept, outcomes, overstated

from rlvr_cli.algorithms.advantage import centred, deviation
from rlvr_cli.algorithms.entropy import by_tenth
from rlvr_cli.algorithms.gradient import clip_factors
from rlvr_cli.algorithms.mismatch import mismatch_weights
from rlvr_cli.algorithms.mismatch_metrics import derived, mismatch_metrics
from rlvr_cli.algorithms.token_weights import threshold
from rlvr_cli.engine.chunk_scores import chunk_scores

LOSSES = ["clipped", "sequence_ratio", "clipped_weight", "reinforce"]


def test_mean_and_spread_of_f1() -> None:
    assert float((REWARDS - centred(REWARDS))[0, 0]) == near(0.5)
    assert [float(deviation(REWARDS, ddof)) for ddof in (1, 0)] == near([0.577350, 0.5])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", AGGREGATIONS)
def test_equal_rewards_give_neither_loss_nor_gradient(loss: str, mode: str) -> None:
    for reward in (0.0, 0.1, 1.0):
        a_N = advantages(make("advantage", "group_zscore"), torch.full((1, 4), reward, dtype=torch.float64))
        new = NEW.clone().requires_grad_()
        value = total(algorithm(loss=loss, aggregation=aggregation(mode)), a_N, new_N=new)
        value.backward()
        assert value == 0
        assert (new.grad == 0).all()


def test_spurious_rewards_as_their_authors_normalise_them() -> None:
    option = make("advantage", "group_zscore", ddof=0, eps=1e-9)
    assert per_sample(advantages(option)) == near([1, -1, -1, 1])
    assert (advantages(option, torch.zeros(1, 4)) == 0).all()


@pytest.mark.parametrize(("ratio", "factor"), [(0.7, 1), (0.9, 0), (1.1, 0), (1.3, -1)])
def test_what_the_clip_makes_of_random_rewards(ratio: float, factor: int) -> None:
    """A of +1 and -1 are equally likely, so mu = 1/2: without clip nothing is left, with it a pull to 1."""
    new = flat([math.log(ratio)]).requires_grad_()
    loss = make("loss", "clipped")
    for advantage in (1.0, -1.0):
        (loss(new, flat([0.0]), flat([advantage]), torch.tensor([1]))[0] / 2).sum().backward()
    # The gradient of the objective with respect to new is ratio times that with respect to the ratio.
    assert -new.grad.item() == near(factor * 0.5 * ratio)


def test_entropy_of_a_distribution() -> None:
    _, entropy_n, _ = chunk_scores(flat([0.7, 0.2, 0.1]).log()[None], torch.tensor([0]), 1.0, False)
    assert entropy_n.item() == near(0.801819)


def test_entropy_threshold() -> None:
    assert float(threshold(ENTROPY, 0.2)) == near(0.96)
    assert float(threshold(torch.arange(11.0), 0.2)) == 8


def test_mismatch_of_three_tokens() -> None:
    trainer, engine = flat([0.5, 0.01, 0.3]).log(), flat([0.45, 0.05, 0.3]).log()
    metrics = mismatch_metrics(trainer, engine, torch.ones(3), torch.tensor([3]))
    assert float(metrics["mismatch_k1"].mean()) == pytest.approx(0.5014, abs=5e-5)
    assert float(metrics["mismatch_k3"].mean()) == pytest.approx(0.2717, abs=5e-5)
    assert metrics["mismatch_extreme"].tolist() == [0, 1, 0]  # by a factor of 1.11, 5 and 1; a third
    assert metrics["mismatch_rho"].tolist() == near([1 / 0.9, 0.2, 1])
    one = torch.tensor([3])
    assert make("mismatch", "truncate", cap=2.0)(trainer, engine, one).tolist() == near([1 / 0.9, 0.2, 1])
    assert make("mismatch", "mask")(trainer, engine, one).tolist() == near([1 / 0.9, 0, 1])


def test_moments_of_the_mismatch_of_three_tokens() -> None:
    trainer, engine = flat([0.5, 0.01, 0.3]), flat([0.45, 0.05, 0.3])
    metrics = mismatch_metrics(trainer.log(), engine.log(), torch.ones(3), torch.tensor([3]))
    found = derived({name: float(x.double().mean()) for name, x in metrics.items()})
    worked = {"chi2": -0.2418, "rho_ess": 0.7827, "trainer_ppl": 8.736, "rollout_ppl": 5.291}
    worked |= {"ppl_ratio": 1.651, "log_ppl": 0.5014, "log_ppl_abs": 0.5014}
    for name, value in worked.items():
        assert found[f"mismatch_{name}"] == pytest.approx(value, abs=5e-4), name
    rho = math.prod([1 / 0.9, 0.2, 1.0])
    assert found["mismatch_sequence_chi2"] == near(rho**2 - 1)
    assert found["mismatch_probability"] == near((0.05 + 0.04) / 3)
    assert found["mismatch_probability_std"] == near(np.std([0.05, 0.04, 0.0]))
    assert found["mismatch_pearson"] == near(np.corrcoef(trainer.numpy(), engine.numpy())[0, 1])
    same = mismatch_metrics(engine.log(), engine.log(), torch.ones(3), torch.tensor([2, 1]))
    found = derived({name: float(x.double().mean()) for name, x in same.items()})
    assert [found[f"mismatch_{x}"] for x in ("chi2", "sequence_chi2", "probability", "log_ppl")] == [0] * 4
    assert [found[f"mismatch_{x}"] for x in ("rho_ess", "pearson", "ppl_ratio")] == near([1, 1, 1])
    alike = {f"mismatch_{x}": 0.25 for x in ("pp", "qq", "pq")} | {"mismatch_p": 0.5, "mismatch_q": 0.5}
    alike |= {"mismatch_probability": 0.0, "mismatch_probability_square": 0.0}
    assert derived(alike) == {"mismatch_probability": 0.0, "mismatch_probability_std": 0.0}  # no correlation


def test_entropy_by_tenth_of_a_response() -> None:
    found = by_tenth(torch.arange(23.0), torch.tensor([3, 0, 20]))
    told = {name: x_N[~x_N.isnan()].tolist() for name, x_N in found.items()}
    assert told == {"tenth_1": [0, 3, 4], "tenth_4": [1, 9, 10], "tenth_7": [2, 15, 16]} | {
        f"tenth_{i + 1}": [3 + 2 * i, 4 + 2 * i] for i in (1, 2, 4, 5, 7, 8, 9)
    }


def test_reinforce_pp_centres_before_it_whitens() -> None:
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 1]], dtype=torch.float64)
    lengths = torch.tensor([2, 4, 3, 1, 5, 1, 2, 2])
    c_N = centred(rewards).flatten().repeat_interleave(lengths)
    assert centred(rewards).flatten().tolist() == near([0.75, -0.25, -0.25, -0.25, 0.25, 0.25, -0.75, 0.25])
    assert [len(c_N), float(c_N.mean())] == near([20, 0])
    assert [float(c_N.var(correction=d)) for d in (0, 1)] == near([0.1625, 0.171053])
    whitened = advantages(make("advantage", "batch_whitened"), rewards, lengths)
    assert (whitened / c_N).tolist() == near([2.480695] * 20)


def test_plain_importance_sampling_is_truncation_without_a_cap() -> None:
    recipe = algorithm(mismatch=make("mismatch", "truncate", cap=math.inf))
    rho_N = mismatch_weights(NEW, ROLL, LENGTHS, level=recipe.mismatch.level)
    assert torch.equal(recipe.mismatch(NEW, ROLL, LENGTHS), rho_N)
    assert rho_N.tolist() == near((NEW - ROLL).exp().tolist())


# -- KL ----------------------------------------------------------------------------------------------


def test_measured_kl_shows_the_distance_and_pulls_nowhere() -> None:
    from rlvr_cli.algorithms.objective import policy_loss

    slopes, seen = [], []
    for name in ("none", "measured"):
        new, recipe = NEW.clone().requires_grad_(), algorithm(kl=name)
        loss, metrics = policy_loss(
            recipe,
            new_N=new,
            entropy_N=None,
            old_N=ROLL,
            rollout_N=ROLL,
            ref_N=REF if recipe.kl.needs_reference else None,
            advantages_N=advantages(make("advantage", "group_zscore")),
            weights_N=recipe.aggregation(ALL, LENGTHS),
            lengths_B=LENGTHS,
        )
        loss.backward()
        slopes.append((loss.item(), new.grad))
        seen.append("ref_kl" in metrics)
    assert seen == [False, True]
    assert slopes[0][0] == slopes[1][0] and torch.equal(slopes[0][1], slopes[1][1])
    assert float(metrics["ref_kl"].mean()) == near(0.034813)
    assert not recipe.kl.in_loss and not recipe.kl.in_reward


# -- HA-DW: why it weighs advantages -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "size", "expected"),
    [(0.25, 4, 0.3620690), (0.1, 8, 0.1755825), (0.5, 8, 0.5), (0.75, 4, 0.6379310)],
)
def test_kept_groups_are_not_typical(p: float, size: int, expected: float) -> None:
    """The advantage of a right answer, 1 - pass rate, is too small on hard prompts and too large on easy."""
    rates, weights = kept(flat([p]), size)
    assert float((weights * rates).sum()) == near(expected)
    grid = outcomes(size)[1:-1]
    a_PG = make("advantage", "group_centered")
    right = advantages(a_PG, grid, torch.ones(grid.numel(), dtype=torch.long)).view_as(grid)[:, 0]
    assert float((weights * right).sum()) == near(1 - expected)


@pytest.mark.parametrize(
    ("p", "size", "expected"), [(0.2, 8, 0.5968107), (0.1, 8, 1.0), (0.25, 4, 0.3793103)]
)
def test_how_often_a_kept_group_overstates_the_pass_rate(p: float, size: int, expected: float) -> None:
    rates, weights = kept(flat([p]), size)
    assert float(weights[0, rates > p].sum()) == near(expected)


INTEGRALS = {
    2: [1.0, 1.0],
    3: [1.0, 0.80553],
    4: [1.0, 0.77697],
    5: [0.88720, 0.70814],
    6: [0.82774, 0.68973],
    7: [0.79640, 0.65159],
    8: [0.78113, 0.64095],
}


@pytest.mark.parametrize(("size", "expected"), INTEGRALS.items())
def test_how_often_that_is_over_a_range_of_prompts(size: int, expected: list[float]) -> None:
    assert [overstated(upper, size) for upper in (0.25, 0.5)] == near(expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=8), st.floats(0, 1), st.floats(0.5, 2))
def test_difficulty_weights_keep_every_sign(correct: list[float], anchor: float, scale: float) -> None:
    option = make("reweight", "history_difficulty", scale=scale)
    option.observe(anchor)
    grid, lengths = torch.tensor([correct], dtype=torch.float64), torch.ones(len(correct), dtype=torch.long)
    before = advantages(make("advantage", "group_zscore"), grid, lengths)
    after = option(before, grid, grid, lengths)
    assert torch.equal(after.sign(), before.sign())
    pass_rate = grid.mean()
    for a, b in zip(before.tolist(), after.tolist(), strict=True):
        if a:
            assert b / a == pytest.approx(
                scale * math.exp(-math.copysign(1, a) * (float(pass_rate) - anchor))
            )


# -- gradient ------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.lists(st.floats(0.1, 10), min_size=3, max_size=12))
def test_layer_clip_does_not_care_for_a_layers_scale(scale: float, norms: list[float]) -> None:
    """A layer whose gradients are all so many times as large gets the same factors."""
    pair = [make("gradient", "layer_clip", warmup=2, max_norm=None) for _ in range(2)]
    for norm in norms:
        small = pair[0]({"a": norm, "b": 1.0})
        large = pair[1]({"a": norm * scale, "b": 1.0})
        assert large["a"] == pytest.approx(small["a"], rel=1e-3)
        assert large["b"] == small["b"]


def test_limits_that_are_not_reached_change_nothing() -> None:
    assert clip_factors({"a": 1.0, "b": 0.0}, {"a": 1.5, "b": math.inf}) == {"a": 1.0, "b": 1.0}
