"""Worked numbers of the losses, masks and divisors beyond PPO's clip, on F1; gradients are d loss / d new."""

import itertools
from typing import Any

import pytest
import torch
from f1 import (
    ALL,
    LENGTHS,
    NEW,
    OLD,
    REWARDS,
    ROLL,
    ZSCORED,
    advantages,
    algorithm,
    flat,
    make,
    per_sample,
    total,
)
from gradients import gradient
from torch import Tensor

from rlvr_cli.algorithms.advantage import Scale
from rlvr_cli.algorithms.advantage_tokens import WhitenLevel
from rlvr_cli.algorithms.aggregation import weigh
from rlvr_cli.algorithms.loss_covariance import covariances
from rlvr_cli.algorithms.loss_masks import Anchor, Divergence, binary_kl
from rlvr_cli.algorithms.loss_soft import RatioLevel

OWNER = torch.arange(4).repeat_interleave(LENGTHS)


def near(expected: Any) -> Any:
    """The numbers are printed with four digits."""
    return pytest.approx(expected, abs=1e-4)


def slope(loss: Any, aggregation: str = "token_mean", advantages_N: Tensor = ZSCORED, **more: Any) -> Tensor:
    recipe = algorithm(loss=loss, aggregation=aggregation)
    return gradient(lambda new: total(recipe, advantages_N, new_N=new, **more))


# -- DPPO ------------------------------------------------------------------------------------------


def test_how_far_tokens_have_moved() -> None:
    mask = make("loss", "divergence_mask")
    assert mask.moved(NEW, ROLL).tolist() == near(
        [0.1343, 0.1637, 0.0380, -0.1637, -0.2476, 0, 0.0666, -0.1140, -0.2210, 0.0096]
    )
    assert binary_kl(ROLL, NEW).tolist() == near(
        [0.0430, 0.0547, 0.0040, 0.0569, 0.1319, 0, 0.0151, 0.0343, 0.0990, 0.0011]
    )
    before, after = flat([0.9, 0.01]), flat([0.6, 0.04])
    assert (after / before).tolist() == near([0.6667, 4])
    assert mask.moved(after.log(), before.log()).tolist() == near([-0.3, 0.03])
    assert float(binary_kl(before.log(), after.log())[1]) == near(0.0166)
    # Of four tokens only "the first or not" is compared, which can only lose.
    assert float(binary_kl(flat([0.5]).log(), flat([0.4]).log())) == near(0.0204)


@pytest.mark.parametrize(
    ("kind", "anchor", "delta", "kept"),
    [
        ("tv", "rollout", 0.2, "1111011101"),
        ("tv", "rollout", 0.15, "1010011101"),
        ("kl", "rollout", 0.05, "1010011101"),
        ("tv", "old", 0.2, "1111111101"),
        ("tv", "old", 0.15, "1110111101"),
        ("kl", "old", 0.05, "1110111101"),
    ],
)
def test_which_tokens_a_divergence_keeps(kind: str, anchor: str, delta: float, kept: str) -> None:
    chosen = {"kind": Divergence[kind], "anchor": Anchor[anchor]}
    loss = make("loss", "divergence_mask", delta_low=delta, delta_high=delta, **chosen)
    assert loss.needs_rollout == (anchor == "rollout")
    loss_N, metrics = loss(NEW, OLD, ZSCORED, LENGTHS, rollout_N=ROLL)
    held_N = metrics["clip_ratio_low"] | metrics["clip_ratio_high"]
    assert "".join(str(int(not held)) for held in held_N) == kept
    assert (loss_N != 0).tolist() == (~held_N).tolist()
    assert (metrics["clip_ratio_low"] & (ZSCORED > 0)).sum() == 0


def test_dppo_as_verl_and_its_authors_write_it() -> None:
    wanted = [-1.0578, 0, 0.9104, 0, 0, 0.8660, 1.2920, 0.7454, 0, -0.8747]
    loss = make("loss", "divergence_mask", cap=20.0)
    assert (10 * slope(loss, rollout_N=ROLL)).tolist() == near(wanted)
    capped = make("loss", "divergence_mask", cap=1.1)
    weight = (NEW - ROLL).exp().clamp(max=1.1) * torch.tensor(wanted).bool()
    assert (10 * slope(capped, rollout_N=ROLL)).tolist() == near((-weight * ZSCORED).tolist())


def test_dppo_as_prime_rl_has_it() -> None:
    loss = make("loss", "divergence_mask", delta_low=0.2, delta_high=0.2, square_coef=1e-3)
    centred = advantages(make("advantage", "group_centered"))
    assert float(total(algorithm(loss=loss), centred, rollout_N=ROLL)) == near(0.0676)
    assert (10 * slope(loss, advantages_N=centred, rollout_N=ROLL)).tolist() == near(
        [-0.6103, -0.7451, 0.5257, 0.3344, -0.0012, 0.5, 0.7467, 0.4301, -0.0008, -0.5050]
    )


# -- SAPO, GMPO ------------------------------------------------------------------------------------


def test_sapo() -> None:
    loss = make("loss", "soft_gate")
    loss_N, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    gates = [2.2205, 2.3463, 1.8560, 1.5783, 2.2507, 1.9048, 2.3859, 1.8560, 1.5783, 2.0101]
    weights = [1.2066, 1.3094, 0.9506, 0.6506, 1.3053, 1, 1.3966, 0.9506, 0.6506, 1.0100]
    assert (-loss_N / ZSCORED).tolist() == near(gates)
    assert metrics["ratio"].tolist() == near(weights)
    assert float(total(algorithm(loss=loss, aggregation="seq_mean_token_mean"), ZSCORED)) == near(-0.0987)
    assert (-10 * slope(loss) / ZSCORED).tolist() == near(weights)


@pytest.mark.parametrize(
    ("tau", "weights"),
    [
        (1.0, [0.4700, 1, 1.4100, 1.5729, 1.2599, 0.3533]),
        (1.05, [0.4671, 1, 1.4012, 1.5362, 1.1663, 0.2911]),
        (2.0, [0.3932, 1, 1.1797, 0.8399, 0.2120, 0.0067]),
    ],
)
def test_sapos_weight_rises_before_it_fades(tau: float, weights: list[float]) -> None:
    ratios, one = flat([0.5, 1, 1.5, 2, 3, 5]), torch.ones(6, dtype=torch.float64)
    loss = make("loss", "soft_gate", tau_positive=tau, tau_negative=1.05)
    _, metrics = loss(ratios.log(), one.log(), one, torch.tensor([6]))
    assert metrics["ratio"].tolist() == near(weights)


def test_sapo_where_nothing_has_moved() -> None:
    loss_N, metrics = make("loss", "soft_gate")(NEW, NEW, ZSCORED, LENGTHS)
    assert metrics["ratio"].tolist() == [1.0] * 10
    assert (-loss_N / ZSCORED).tolist() == near([2 if a > 0 else 1.9048 for a in ZSCORED])


@pytest.mark.parametrize(
    ("clip", "ratios", "value"),
    [
        (0.4, [1.2840, 0.9632, 0.9835, 1.0101], -0.0752),
        (0.25, [1.2523, 1, 1.0339, 1.0101], -0.0495),
    ],
)
def test_gmpo(clip: float, ratios: list[float], value: float) -> None:
    loss = make("loss", "geometric_clip", log_clip_low=clip, log_clip_high=clip)
    _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    assert metrics["ratio"][[0, 2, 6, 9]].tolist() == near(ratios)
    assert float(total(algorithm(loss=loss, aggregation="seq_mean_token_mean"), ZSCORED)) == near(value)


def test_gmpo_clips_before_it_averages() -> None:
    loss = make("loss", "geometric_clip", log_clip_low=0.25, log_clip_high=0.25)
    wanted = [-0.1356, 0, 0.0541, 0, 0.0541, 0.0541, 0.0746, 0.0746, 0, -0.2187]
    assert slope(loss, "seq_mean_token_mean").tolist() == near(wanted)
    _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    assert metrics["clip_ratio_high"].nonzero().flatten().tolist() == [1]
    assert metrics["clip_ratio_low"].nonzero().flatten().tolist() == [3, 8]


# -- clip-cov, KL-cov ------------------------------------------------------------------------------


def test_covariances() -> None:
    assert covariances(ZSCORED, NEW, ALL).tolist() == near(
        [0.4171, -0.0679, -0.2047, 0.2369, 0.2889, -0.2827, 0.4968, -0.1528, 0.0811, 0.7323]
    )
    cov = covariances(ZSCORED, OLD, ALL)
    assert cov.tolist() == near(
        [0.2122, -0.3940, -0.2468, 0.0130, 0.4287, -0.2988, 0.6885, -0.1949, -0.1429, 0.7578]
    )
    assert float(covariances(ZSCORED, NEW, ALL).mean()) == near(0.1545)
    assert float(ZSCORED.mean()) == near(-0.3464) and float(NEW.mean()) == near(-0.6440)


def test_clip_cov() -> None:
    loss = make("loss", "clip_cov", cov_low=0.7)
    chosen_N = loss.choose(ZSCORED, OLD, ALL, "seed")
    assert chosen_N.nonzero().flatten().tolist() == [9]
    values = [float(total(algorithm(loss=loss), ZSCORED, chosen_N=x)) for x in (chosen_N & False, chosen_N)]
    assert values == near([0.3034, 0.3909])
    assert not make("loss", "clip_cov").choose(ZSCORED, OLD, ALL, "seed").any(), (
        "none above 1: nothing is drawn"
    )


@pytest.mark.parametrize(("coef", "value", "at"), [(1.0, 0.3044, 0.0125), (0.1, 0.3035, -0.0775)])
def test_kl_cov(coef: float, value: float, at: float) -> None:
    loss = make("loss", "kl_cov", fraction=0.1, coef=coef)
    chosen_N = loss.choose(ZSCORED, OLD, ALL, "seed")
    assert chosen_N.nonzero().flatten().tolist() == [9]
    recipe = algorithm(loss=loss)
    assert float(total(recipe, ZSCORED, chosen_N=chosen_N & False)) == near(0.3034)
    assert float(total(recipe, ZSCORED, chosen_N=chosen_N)) == near(value)
    assert float(slope(loss, chosen_N=chosen_N & False)[9]) == near(-0.0875)
    assert float(slope(loss, chosen_N=chosen_N)[9]) == near(at)


@pytest.mark.parametrize(
    ("name", "fraction", "count"),
    [("clip_cov", 2e-4, 20), ("kl_cov", 2e-3, 200), ("kl_cov", 2e-4, 20), ("kl_cov", 0.2, 20_000)],
)
def test_how_many_tokens_are_chosen(name: str, fraction: float, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, old = (torch.randn(100_000, generator=generator).abs() * sign for sign in (1, -1))
    more = {"cov_low": -1e9, "cov_high": 1e9} if name == "clip_cov" else {}
    loss = make("loss", name, fraction=fraction, **more)
    assert int(loss.choose(a, old, torch.ones(100_000).bool(), "0/0/0").sum()) == count


# -- OPSM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "rollout", "old"),
    [(1e-4, "1001", "1001"), (0.1, "1011", "1111"), (0.5, "1111", "1111")],
)
def test_opsm(delta: float, rollout: str, old: str) -> None:
    for anchor, kept in (("rollout", rollout), ("old", old)):
        loss = make("loss", "off_policy_mask", delta=delta, anchor=Anchor[anchor])
        loss_N, metrics = loss(NEW, OLD, ZSCORED, LENGTHS, rollout_N=ROLL)
        plain_N, _ = make("loss", "clipped")(NEW, OLD, ZSCORED, LENGTHS)
        keep_N = torch.tensor([bool(int(kept[b])) for b in OWNER])
        assert metrics["off_policy"].tolist() == (~keep_N).tolist()
        assert torch.equal(loss_N, plain_N * keep_N), "the divisor stays, so nothing else changes"


# -- the two-sided clip ----------------------------------------------------------------------------


def test_the_two_sided_clip_is_the_dual_clip() -> None:
    ratios, lengths = flat([0.5, 1, 1.5, 3, 6]), torch.tensor([5])
    loss = make("loss", "clipped", dual_clip=4.0)
    for a, wanted in ((-1.0, [0.8, 1, 1.5, 3, 4]), (1.0, [-0.5, -1, -1.2, -1.2, -1.2])):
        a_N = torch.full((5,), a, dtype=torch.float64)
        assert loss(ratios.log(), flat([0.0] * 5), a_N, lengths)[0].tolist() == near(wanted)
    grid = torch.linspace(0.01, 8, 400, dtype=torch.float64)
    for delta in (1.2, 2.0, 4.0):
        dual = make("loss", "clipped", dual_clip=delta)
        for a in (-1.3, 0.0, 0.7):
            a_N = torch.full_like(grid, a)
            two = -(grid.clamp(max=delta) * a_N).minimum(grid.clamp(0.8, 1.2) * a_N)
            got, _ = dual(grid.log(), torch.zeros_like(grid), a_N, torch.tensor([400]))
            assert got.tolist() == pytest.approx(two.tolist(), abs=1e-12)


# -- TOPR, VESPO, LUSPO, DRO -----------------------------------------------------------------------


def test_topr() -> None:
    for level, weights in (
        ("sequence", [1, 1, *[0.8607] * 4, *[0.9512] * 3, 1]),
        ("token", [1, 1, 0.9512, 0.6703, 1, 1, 1, 0.9512, 0.6703, 1]),
    ):
        loss = make("loss", "tapered", level=RatioLevel[level])
        _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
        assert metrics["ratio"].tolist() == near(weights)
        assert (10 * slope(loss)).tolist() == near((-flat(weights) * ZSCORED).tolist())


@pytest.mark.parametrize(
    ("right", "baseline", "share"), [(1, -0.5, 0.25), (1, 0, 0.1), (5, 0, 0.5), (9, 0.5, 0.75)]
)
def test_a_baseline_sets_the_share_of_positives(right: int, baseline: float, share: float) -> None:
    """Of ten answers with rewards of +-1 less the baseline: what of the gradient is the right ones'."""
    a_N = flat([1.0] * right + [-1.0] * (10 - right)) - baseline
    pushes_N = slope(make("loss", "tapered"), advantages_N=a_N, old_N=NEW).abs()
    assert float(pushes_N[:right].sum() / pushes_N.sum()) == near(share)


def test_vespo() -> None:
    phi = [0.3882, 0.8425, 0.9489, 0.9899]
    loss = make("loss", "sequence_bell")
    _, metrics = loss(NEW, OLD, ZSCORED, LENGTHS)
    assert metrics["ratio"][[0, 2, 6, 9]].tolist() == near(phi)
    assert (-10 * slope(loss) / ZSCORED).tolist() == near([phi[b] for b in OWNER])
    w = flat([0.25, 0.5, 2 / 3, 1, 1.5, 2, 4])
    for a, wanted in (
        (1.0, [0.593, 1.1204, 1.2081, 1, 0.502, 0.1991, 0.002]),
        (-1.0, [0.07, 0.3398, 0.5771, 1, 1.2416, 1.0827, 0.1586]),
    ):
        _, metrics = loss(w.log(), flat([0.0] * 7), torch.full((7,), a), torch.ones(7, dtype=torch.long))
        assert metrics["ratio"].tolist() == near(wanted)


def test_luspo_is_gspo_with_sums() -> None:
    loss = make("loss", "sequence_ratio", clip_ratio_low=2e-3, clip_ratio_high=2.5e-3)
    loss_N, _ = loss(NEW, OLD, ZSCORED, LENGTHS)
    sums = [float(part.sum()) for part in loss_N.split(LENGTHS.tolist())]
    assert sums == near([-1.7364, 3.4572, 2.5929, -0.8682])
    recipe = algorithm(loss=loss, aggregation="seq_mean_token_sum")
    assert float(total(recipe, ZSCORED)) == near(0.8614)


def test_dro() -> None:
    loss = make("loss", "squared_ratio", beta=0.5)
    assert (10 * slope(loss)).tolist() == near((-ZSCORED + 0.5 * (NEW - OLD)).tolist())


def test_cispos_ranges() -> None:
    ranges = {
        (None, 0.2): [1.2, 1.2, 0.9512, 0.6703, 1.2, 1, 1.2, 0.9512, 0.6703, 1.0101],
        (None, 0.28): [1.2214, 1.28, 0.9512, 0.6703, 1.28, 1, 1.28, 0.9512, 0.6703, 1.0101],
        (None, 3.0): (NEW - OLD).exp().tolist(),
        (0.2, 0.2): [1.2, 1.2, 0.9512, 0.8, 1.2, 1, 1.2, 0.9512, 0.8, 1.0101],
        (0.1, 0.1): [1.1, 1.1, 0.9512, 0.9, 1.1, 1, 1.1, 0.9512, 0.9, 1.0101],
    }
    for (low, high), wanted in ranges.items():
        loss = make("loss", "clipped_weight", clip_ratio_low=low, clip_ratio_high=high)
        assert loss(NEW, OLD, ZSCORED, LENGTHS)[1]["ratio"].tolist() == near(wanted)


# -- pass@k ----------------------------------------------------------------------------------------


def group(n: int, right: int) -> Tensor:
    return torch.tensor([[1.0] * right + [0.0] * (n - right)], dtype=torch.float64)


@pytest.mark.parametrize(
    ("n", "c", "k", "right", "wrong", "total_abs"),
    [
        (8, 3, 4, 0.2773, -0.1664, 1.6641),
        (8, 1, 4, 1.0, -0.1429, 2.0),
        (8, 3, 1, 1.2910, -0.7746, 7.7460),
        (8, 6, 4, 0, 0, 0),
        (16, 1, 8, 1.0, -0.0667, 2.0),
    ],
)
def test_pass_at_k(n: int, c: int, k: int, right: float, wrong: float, total_abs: float) -> None:
    a_N = advantages(make("advantage", "pass_at_k", k=k), group(n, c), torch.ones(n, dtype=torch.long))
    assert a_N.tolist() == near([right] * c + [wrong] * (n - c))
    assert float(a_N.abs().sum()) == near(total_abs)
    assert float(a_N.sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rewards", [[1, 0, 0, 1, 0, 0, 0, 1], [0.3, 0.1, 0.9, 0.3, -1, 0.9, 0.2, 0]])
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_pass_at_k_against_all_subsets(rewards: list[float], k: int) -> None:
    subsets = list(itertools.combinations(range(8), k))
    best = flat([max(rewards[i] for i in subset) for subset in subsets])
    scores = (best - best.mean()) / best.std(correction=0) if best.std(correction=0) > 0 else best * 0
    wanted = [float(scores[[i in subset for subset in subsets]].mean()) for i in range(8)]
    option = make("advantage", "pass_at_k", k=k, eps=0.0)
    a_N = advantages(option, flat(rewards)[None], torch.ones(8, dtype=torch.long))
    assert a_N.tolist() == pytest.approx(wanted, abs=1e-9)
    if rewards[0] == 1 and k == 4:
        assert a_N[:2].tolist() == near([0.2774, -0.1664])


def test_pass_at_one_is_the_z_score() -> None:
    option, grpo = make("advantage", "pass_at_k", k=1), make("advantage", "group_zscore", ddof=0)
    assert advantages(option).tolist() == pytest.approx(advantages(grpo).tolist(), abs=1e-9)


def test_pass_at_k_of_fewer_verdicts_and_equal_rewards() -> None:
    nan = float("nan")
    option, ones = make("advantage", "pass_at_k", k=2), torch.ones(4, dtype=torch.long)
    whole = advantages(option, group(3, 1), ones[:3])
    part = advantages(option, torch.tensor([[1.0, nan, 0.0, 0.0]]).double(), ones)
    assert part.tolist() == pytest.approx([float(whole[0]), 0, float(whole[1]), float(whole[2])])
    for rewards in ([0.1] * 4, [nan] * 4, [1.0, nan, nan, nan]):
        assert (advantages(option, flat(rewards)[None], ones) == 0).all()


def test_verls_grpo_passk() -> None:
    rewards, ones = flat([0.9, 0.4, 0.1, 0])[None], torch.ones(4, dtype=torch.long)
    assert per_sample(advantages(make("advantage", "best_margin"), rewards, ones), ones) == near(
        [1.2372, 0, 0, 0]
    )
    plain = make("advantage", "best_margin", normalise=False)
    assert advantages(plain, rewards, ones).tolist() == near([0.5, 0, 0, 0])
    assert (advantages(plain, REWARDS) == 0).all(), "two equal bests"
    nan = float("nan")
    assert advantages(plain, flat([nan, 0.2, nan, 0.7])[None], ones).tolist() == near([0, 0, 0, 0.5])
    assert (advantages(plain, flat([nan, nan, nan, 0.7])[None], ones) == 0).all()


# -- low-probability tokens ------------------------------------------------------------------------


def test_ar() -> None:
    for alpha, wanted in (
        (0.3, [0.8820, 0.8104, 0.9456, 0.8490, 0.7669, 0.9715, 0.7406, 0.9222, 0.9011, 0.9854]),
        (0.2, [0.9213, 0.8736, 0.9637, 0.8993, 0.8446, 0.9810, 0.8271, 0.9482, 0.9341, 0.9902]),
    ):
        option = make("reweight", "token_probability", alpha=alpha)
        factors_N = option(torch.ones(10, dtype=torch.float64), REWARDS, REWARDS, LENGTHS, OLD)
        assert factors_N.tolist() == near(wanted)
    option = make("reweight", "token_probability", alpha=0.3)
    recipe = algorithm(loss=make("loss", "clipped", clip_ratio_high=0.24))
    weakened_N = option(ZSCORED, REWARDS, REWARDS, LENGTHS, OLD)
    assert [float(total(recipe, a_N)) for a_N in (ZSCORED, weakened_N)] == near([0.3354, 0.2781])


# -- prompt mean and whitening over the batch ------------------------------------------------------

TWO = {"lengths": torch.tensor([2, 4, 3, 1, 12, 3, 1, 4]), "prompts": torch.arange(8) // 4}


def test_prompt_mean() -> None:
    lengths, prompts, keep_N = TWO["lengths"], TWO["prompts"], torch.ones(30, dtype=torch.bool)
    firsts = (lengths.cumsum(0) - lengths).tolist()
    wanted = {
        "prompt_mean": [0.05] * 4 + [0.025] * 4,
        "token_mean": [0.0333] * 8,
        "seq_mean_token_mean": [0.0625, 0.0312, 0.0417, 0.125, 0.0104, 0.0417, 0.125, 0.0312],
    }
    losses_N = flat([-1, 0.5, 0.5, -1, 0.25, -1.5, -1.5, 0.25]).repeat_interleave(lengths)
    for (name, weights), share, value in zip(
        wanted.items(), (0.5, 0.3333, 0.5), (-0.025, -0.05, -0.4375), strict=True
    ):
        weights_N = weigh(make("aggregation", name), keep_N, lengths, prompts)
        assert weights_N[firsts].tolist() == near(weights)
        assert float(weights_N[:10].sum()) == near(share)
        assert float((weights_N * losses_N).sum()) == near(value)


def test_what_a_prompt_mean_divides_by() -> None:
    """A masked response leaves its prompt's tokens, a prompt without any leaves the prompts."""
    lengths, option = TWO["lengths"], make("aggregation", "prompt_mean")
    keep_N = torch.tensor([True, False, True, True, *[True] * 4]).repeat_interleave(lengths)
    assert weigh(option, keep_N, lengths, TWO["prompts"])[:7].tolist() == near(
        [1 / 12] * 2 + [0] * 4 + [1 / 12]
    )
    alone_N = torch.tensor([True] * 4 + [False] * 4).repeat_interleave(lengths)
    assert float(weigh(option, alone_N, lengths, TWO["prompts"])[0]) == near(0.1)
    assert (weigh(option, alone_N & False, lengths, TWO["prompts"]) == 0).all()
    order = torch.tensor([4, 0, 5, 1, 6, 2, 7, 3])  # however the prompts lie
    mixed = weigh(option, torch.ones(30, dtype=torch.bool), lengths[order], TWO["prompts"][order])
    assert float(mixed[0]) == near(0.025) and float(mixed[12]) == near(0.05)


def test_whitening_over_two_groups() -> None:
    rewards = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 1.0]], dtype=torch.float64)
    lengths = torch.tensor([2, 4, 3, 1, 5, 1, 2, 2])
    sequence = {"level": WhitenLevel.sequence}
    for option, first, fifth in (
        (make("advantage", "group_zscore"), 1.5, 0.5),
        (make("advantage", "group_zscore", scale_by=Scale.batch, eps=1e-4), 1.4029, 0.4676),
        (make("advantage", "batch_whitened", **sequence), 1.7321, 0.5774),
        (make("advantage", "batch_whitened", ddof=1, **sequence), 1.6202, 0.5401),
        (make("advantage", "batch_whitened"), 1.8605, 0.6202),
    ):
        a_B = per_sample(advantages(option, rewards, lengths), lengths)
        assert (a_B[0], a_B[4]) == near((first, fifth))
    whole = torch.cat([rewards, torch.ones(1, 4)])
    with_third = make("advantage", "batch_whitened", **sequence)
    longer = torch.cat([lengths, torch.ones(4, dtype=torch.long)])
    a_B = per_sample(advantages(with_third, whole, longer), longer)
    assert a_B[0] / 1.7321 == pytest.approx(0.4330 / 0.3536, rel=1e-3)
