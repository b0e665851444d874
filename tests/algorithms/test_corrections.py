"""Off-policy corrections: what is kept, what it weighs, and around which policy the loss is clipped."""

from __future__ import annotations

import itertools
from math import exp, inf, log
from typing import Any

import pytest
import torch
from f1 import LENGTHS, NEW, OLD, ROLL, ZSCORED, algorithm, flat, make
from gradients import differences, gradient
from torch import Tensor

from rlvr_cli.algorithms import options, segments
from rlvr_cli.algorithms.mismatch import Level
from rlvr_cli.algorithms.mismatch_rejection import Over, Statistic, Weight
from rlvr_cli.algorithms.objective import policy_loss
from rlvr_cli.algorithms.proximal import Proximal, interpolation

SEQUENCE = {"level": Level.sequence, "weight": Weight.sequence}
GEOMETRIC = {"level": Level.geometric, "weight": Weight.geometric}
CORRECTIONS: dict[str, Any] = {
    "none": make("mismatch", "none"),
    "tis": make("mismatch", "truncate"),
    "sequence tis": make("mismatch", "truncate", level=Level.sequence),
    "geometric tis": make("mismatch", "truncate", level=Level.geometric, floor=0.9, cap=1.2),
    "normalised tis": make("mismatch", "truncate", normalise=True),
    "icepop": make("mismatch", "mask"),
    "mis": make("mismatch", "mask", **SEQUENCE, low=0.0, high=2.0),
    "geometric mask": make("mismatch", "mask", **GEOMETRIC, low=0.9, high=1.1, cap=1.04),
    "no weight, veto": make("mismatch", "mask", weight=Weight.none, veto_low=0.5, veto_high=1.5),
    **{
        f"{k.name} {over.name}": make("mismatch", "reject", statistic=k, over=over)
        for k in Statistic
        for over in Over
    },
}


def near(expected: Any, abs: float = 1e-4) -> Any:
    """To the four digits that the numbers are written with."""
    return pytest.approx(expected, abs=abs)


def loss_on_f1(mismatch: Any, new: Tensor = NEW, **given: Any) -> tuple[Tensor, dict[str, Tensor]]:
    clip = make("loss", given.pop("loss", "clipped"))
    tensors = {
        "old_N": OLD,
        "rollout_N": ROLL,
        "advantages_N": ZSCORED,
        "weights_N": torch.full((10,), 0.1).double(),
    }
    return policy_loss(
        algorithm(mismatch=mismatch, loss=clip),
        new_N=new, entropy_N=None, ref_N=None, lengths_B=LENGTHS, **(tensors | given),
    )  # fmt: skip


def kept(name: str, old: Tensor = OLD, **values: Any) -> list[int]:
    """Which of F1's tokens are kept, without a weight."""
    return make("mismatch", name, weight=Weight.none, **values)(old, ROLL, LENGTHS).int().tolist()


def spread(*of_sequences: int) -> list[int]:
    return segments.spread(torch.tensor(of_sequences), LENGTHS).tolist()


ALL_BUT_4 = [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_what_is_kept_on_f1() -> None:
    """verl's thresholds of K1 are bounds of 1 / rho; here bounds are on rho."""
    assert kept("mask", low=1 / 1.6, high=1 / 0.6) == kept("mask", low=0.5, high=2.0) == ALL_BUT_4
    assert kept("mask", level=Level.sequence, low=0.5, high=2.0) == spread(1, 0, 1, 1)
    assert kept("mask", level=Level.geometric, low=1 / 1.001, high=1 / 0.999) == spread(0, 0, 0, 1)
    assert kept("reject", limit=0.01) == spread(1, 0, 1, 1)
    assert kept("reject", statistic=Statistic.k2, over=Over.max, limit=2.5) == [1] * 10
    assert kept("mask", low=1 / 1.05, high=1 / 0.5) == [1, 1, 1, 1, 0, 1, 1, 0, 1, 1]  # verl's 0.5_1.05
    assert kept("mask", low=0.5, high=1.05) == [1, 0, 0, 1, 0, 1, 1, 1, 1, 1]
    assert kept("mask", low=0.0, high=inf, veto_low=1e-4) == [1] * 10
    assert kept("mask", low=0.0, high=inf, veto_low=0.5) == spread(1, 0, 1, 1)
    assert kept("mask", low=0.0, high=inf, veto_high=1.1) == spread(0, 0, 1, 1)


TOKEN = {
    "k2": [0, 0.005, 0.005, 0, 0.405, 0, 0, 0.005, 0, 0],
    "k3": [0, 0.0052, 0.0052, 0, 0.3066, 0, 0, 0.0048, 0, 0],
}
OF_SEQUENCES = {
    ("k2", "sum"): [0.005, 0.41, 0.005, 0], ("k2", "mean"): [0.0025, 0.1025, 0.0017, 0],
    ("k2", "max"): [0.005, 0.405, 0.005, 0],
    ("k3", "sum"): [0.0052, 0.3117, 0.0048, 0], ("k3", "mean"): [0.0026, 0.0779, 0.0016, 0],
    ("k3", "max"): [0.0052, 0.3066, 0.0048, 0],
}  # fmt: skip


@pytest.mark.parametrize("statistic", list(Statistic))
@pytest.mark.parametrize("over", list(Over))
def test_each_statistic_is_kept_just_above_its_value_and_rejected_just_below(
    statistic: Statistic, over: Over
) -> None:
    if over is Over.token:
        found = TOKEN[statistic.name]
    else:
        found = segments.spread(flat(OF_SEQUENCES[statistic.name, over.name]), LENGTHS).tolist()
    for value in set(found) - {0}:
        for limit in (value + 1e-4, value - 1e-4):
            expected = [int(x <= limit) for x in found]
            assert kept("reject", statistic=statistic, over=over, limit=limit) == expected


def test_losses_on_f1() -> None:
    def loss(name: str, **values: Any) -> float:
        return float(loss_on_f1(make("mismatch", name, **values))[0])

    assert loss("truncate", cap=inf) == loss("truncate", cap=2.0) == near(0.2612)
    # Sequence weights and a sequence mask: the six tokens that are kept do not become the divisor (-0.1051).
    assert loss("mask", **SEQUENCE, cap=2.0, low=0.5, high=2.0) == near(-0.0630)
    assert loss("mask", **GEOMETRIC, low=0.8, high=1.1) == near(0.2565)
    bypass, metrics = loss_on_f1(make("mismatch", "none", proximal=Proximal.rollout))
    assert float(bypass) == near(0.2939)
    assert int((metrics["clip_ratio_low"] | metrics["clip_ratio_high"]).sum()) == 5
    _, metrics = loss_on_f1(make("mismatch", "truncate"))
    assert int((metrics["clip_ratio_low"] | metrics["clip_ratio_high"]).sum()) == 4


def test_weights_divided_by_their_mean_over_the_update() -> None:
    tis = make("mismatch", "truncate", normalise=True)
    trained = torch.ones(10).bool()
    scale_N = tis.whole_update(OLD, ROLL, LENGTHS, trained)
    assert (1 / scale_N).tolist() == near([0.9522] * 10)
    assert float(loss_on_f1(tis, scale_N=scale_N)[0]) == near(0.2743)
    weight_N = tis(OLD, ROLL, LENGTHS) * scale_N
    assert float(weight_N.mean()) == pytest.approx(1) and float(
        weight_N.sum() ** 2 / weight_N.square().sum() / 10
    ) == near(0.9618)
    by_sequence = make("mismatch", "truncate", normalise=True, level=Level.sequence)
    found = by_sequence.whole_update(OLD, ROLL, LENGTHS, trained)  # each sequence once, however long
    assert (1 / found).tolist() == near([(1.1052 + 0.4493 + 0.9048 + 1) / 4] * 10)
    trained[:2] = False
    found = by_sequence.whole_update(OLD, ROLL, LENGTHS, trained)
    assert (1 / found).tolist() == near([(0.4493 + 0.9048 + 1) / 3] * 10)


# -- the proximal policy ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "alpha", "ratio", "weight"),
    [
        *((0, 0, 1.4918, 1.0), (1, 0.5, 1.2214, 1.2214)),
        *((3, 0.75, 1.1052, 1.3499), (7, 0.875, 1.0513, 1.4191)),
    ],
)
def test_the_proximal_policy_moves_from_the_sampling_to_the_present_one(
    age: int, alpha: float, ratio: float, weight: float
) -> None:
    """Token 1 of F1, sampled `age` steps before this one."""
    new, roll = NEW[1:2], ROLL[1:2]
    prox = interpolation(roll, new, torch.tensor([float(age)]))
    assert float(prox) == pytest.approx(float(roll + alpha * (new - roll)))
    assert (float((new - prox).exp()), float((prox - roll).exp())) == (near(ratio), near(weight))


def test_between_versions_2_and_5_before_the_step_at_4() -> None:
    """alpha = (4 - 2) / (5 - 2): .2^(1/3) .3^(2/3) = .2621."""
    prox = interpolation(flat([log(0.2)]), flat([log(0.3)]), torch.tensor([4.0 - 2.0]))
    assert exp(prox) == near(0.2621)


def test_the_loss_of_the_interpolated_policy_on_f1() -> None:
    capped = make("mismatch", "truncate", cap=5.0, proximal=Proximal.interpolated)
    half, prox = torch.ones(10), ROLL + 0.5 * (NEW - ROLL)
    expected = (prox - ROLL).exp() * torch.maximum(
        -ZSCORED * (NEW - prox).exp(), -ZSCORED * (NEW - prox).exp().clamp(0.8, 1.2)
    )
    assert float(loss_on_f1(capped, ages_N=half)[0]) == pytest.approx(float(expected.mean()))
    bypass = make("mismatch", "none", proximal=Proximal.rollout)
    for ages_N in (None, torch.zeros(10)):  # of the present weights: prox is what sampled, with weight 1
        assert torch.equal(loss_on_f1(capped, ages_N=ages_N)[0], loss_on_f1(bypass)[0])


def test_the_proximal_policy_is_detached() -> None:
    """Attached, prox would take half of the gradient away, .7459, and no value would tell."""
    plain = make("mismatch", "truncate", cap=inf, proximal=Proximal.interpolated)
    recipe = algorithm(mismatch=plain, loss=make("loss", "clipped", clip_ratio_high=9.0))
    given: dict[str, Any] = dict.fromkeys(("entropy_N", "old_N", "ref_N"))
    given |= {"rollout_N": ROLL[1:2], "lengths_B": torch.tensor([1]), "ages_N": torch.ones(1)}
    given |= {"advantages_N": -torch.ones(1).double(), "weights_N": torch.ones(1).double()}

    def value_of(new: Tensor) -> Tensor:
        return policy_loss(recipe, new_N=new, **given)[0]

    at = NEW[1:2]
    assert float(gradient(value_of, at)) == near(1.4918)
    half = float((at - ROLL[1:2]).exp() * 0.5)
    assert half == near(0.7459) and float(gradient(value_of, at)) != near(half)


@pytest.mark.parametrize("proximal", list(Proximal))
@pytest.mark.parametrize("name", CORRECTIONS)
def test_gradients_by_finite_differences_of_new_alone(name: str, proximal: Proximal) -> None:
    """Weights, prox and masks stay as they are while new moves: autograd sees none of them."""
    option = CORRECTIONS[name]
    values = {k: v for k, v in vars(option).items() if k not in ("name", "proximal", "normalise")}
    mismatch = type(option)(proximal=proximal, **values)
    ages_N = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0, 1.0])
    exact = gradient(lambda new: loss_on_f1(mismatch, new, ages_N=ages_N)[0])
    prox = {
        Proximal.old: OLD,
        Proximal.rollout: ROLL,
        Proximal.interpolated: interpolation(ROLL, NEW, ages_N),
    }[proximal]
    top = NEW if proximal is Proximal.rollout else prox
    fixed_N = mismatch(top, ROLL, LENGTHS)

    def frozen(new: Tensor) -> Tensor:
        u = (new - prox).exp()
        return (fixed_N * torch.maximum(-ZSCORED * u, -ZSCORED * u.clamp(0.8, 1.2))).mean()

    assert exact.tolist() == pytest.approx(differences(frozen).tolist(), abs=1e-7)


# -- agreement -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proximal", list(Proximal))
@pytest.mark.parametrize("name", CORRECTIONS)
def test_without_staleness_and_mismatch_every_correction_is_none_to_the_bit(
    name: str, proximal: Proximal
) -> None:
    """roll = old = new: every weight is exactly 1, loss and gradient those of no correction."""
    option = CORRECTIONS[name]
    values = {k: v for k, v in vars(option).items() if k not in ("name", "proximal", "normalise")}
    normalise = {"normalise": proximal is Proximal.old} if hasattr(option, "normalise") else {}
    mismatch = type(option)(proximal=proximal, **values, **normalise)
    for dtype in (torch.float64, torch.float32):
        new = (NEW.to(dtype) * 1.7).requires_grad_()
        same = {
            "old_N": new.detach(),
            "rollout_N": new.detach(),
            "ages_N": torch.zeros(10),
            "advantages_N": ZSCORED.to(dtype),
        }
        assert (mismatch(new.detach(), new.detach(), LENGTHS) == 1).all()
        if mismatch.needs_old_logprobs:
            same["scale_N"] = mismatch.whole_update(
                new.detach(), new.detach(), LENGTHS, torch.ones(10).bool()
            )
            assert (same["scale_N"] == 1).all()
        weights = {"weights_N": torch.full((10,), 0.1, dtype=dtype)}
        with_it, without = (loss_on_f1(m, new, **same, **weights)[0] for m in (mismatch, "none"))
        assert torch.equal(with_it, without)
        assert torch.equal(*(torch.autograd.grad(loss, new)[0] for loss in (with_it, without)))


def test_every_option_is_in_these_tests() -> None:
    assert {option.name for option in CORRECTIONS.values()} == set(options("mismatch"))


def test_of_one_token_all_levels_are_the_same() -> None:
    ones = torch.ones(10, dtype=torch.int64)
    for name, keys in (("truncate", ("level",)), ("mask", ("level", "weight"))):
        found = [
            make("mismatch", name, **{key: (Level if key == "level" else Weight)[level] for key in keys})(
                OLD, ROLL, ones
            )
            for level in ("token", "sequence", "geometric")
        ]
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    for over in Over:
        assert torch.equal(
            make("mismatch", "reject", over=over)(OLD, ROLL, ones),
            make("mismatch", "reject", over=Over.token)(OLD, ROLL, ones),
        )


def test_what_the_sampler_gave_no_mass_is_never_kept_as_it_is() -> None:
    """-inf, which a run refuses: an infinite ratio is capped or rejected, and weighs 1 only in `none`."""
    roll = ROLL.clone()
    roll[4] = -inf
    for name, option in CORRECTIONS.items():
        weight = float(option(OLD, roll, LENGTHS)[4])
        assert name == "none" or weight == 0 or weight >= 1.04, name


# -- how biased ------------------------------------------------------------------------------------------

PI, MU = {"": 0.6, "1": 0.7, "0": 0.4}, {"": 0.5, "1": 0.6, "0": 0.5}
ANSWERS = list(itertools.product((0, 1), repeat=2))


def chances(policy: dict[str, float]) -> Tensor:
    """log-probabilities of both tokens of the four answers, end to end."""
    return flat(
        *([log(policy[s] if x else 1 - policy[s]) for s, x in (("", a), (f"{a}", b))] for a, b in ANSWERS)
    )


def expected_gradient(option: Any, baseline: float) -> list[float]:
    """By the three logits, of answers drawn from MU, reward 1 where both tokens are 1: exact, not sampled."""
    lengths = torch.full((4,), 2)
    weight_N = option(chances(PI), chances(MU), lengths).view(4, 2)
    often_B = chances(MU).view(4, 2).sum(1).exp()
    total = torch.zeros(3, dtype=torch.float64)
    for (a, b), often, weights in zip(ANSWERS, often_B, weight_N, strict=True):
        advantage = float(a == b == 1) - baseline
        total[0] += often * advantage * weights[0] * (a - PI[""])
        total[1 + (1 - a)] += often * advantage * weights[1] * (b - PI[f"{a}"])
    return total.tolist()


@pytest.mark.parametrize(
    ("name", "values", "plain", "baselined"),
    [
        ("truncate", {"level": Level.sequence, "cap": inf}, [0.168, 0.126, 0], [0.168, 0.126, 0]),
        ("truncate", {"cap": inf}, [0.144, 0.105, 0], [0.144, 0.105, 0]),
        ("none", {}, [0.12, 0.09, 0], [0.162, 0.111, -0.021]),
        ("truncate", {"level": Level.sequence, "cap": 1.2}, [0.144, 0.108, 0], [0.1541, 0.1156, 0]),
        ("mask", SEQUENCE | {"low": 0.8, "high": 1.3}, [0, 0, 0], [0.0302, 0.0529, 0.0403]),
        (
            "mask", {"level": Level.geometric, "weight": Weight.none, "low": 0.8, "high": 1.15},
            [0, 0, 0], [0.0924, 0.0588, -0.021],
        ),
    ],
)  # fmt: skip
def test_how_biased_each_is_for_two_binary_tokens(
    name: str, values: dict[str, Any], plain: list[float], baselined: list[float]
) -> None:
    """The gradient to be had is (.168 .126 0): unbiased is the product over the sequence alone."""
    option = make("mismatch", name, **values)
    assert expected_gradient(option, 0.0) == near(plain)
    assert expected_gradient(option, 0.42) == near(baselined)


def test_metrics_tell_what_is_kept_by_the_sign_of_the_advantage() -> None:
    _, metrics = loss_on_f1(make("mismatch", "mask", **SEQUENCE, low=0.5, high=2.0, cap=1.1))
    positive, negative = (metrics[f"mismatch_kept_{sign}"] for sign in ("positive", "negative"))
    assert (
        positive[~positive.isnan()].tolist() == [1] * 3
        and negative[~negative.isnan()].tolist() == [0] * 4 + [1] * 3
    )
    assert metrics["mismatch_kept"].tolist() == spread(1, 0, 1, 1)
    assert metrics["mismatch_capped"].tolist() == spread(1, 0, 0, 0)
    assert metrics["mismatch_square"].tolist() == pytest.approx(metrics["mismatch_weight"].square().tolist())
    _, metrics = loss_on_f1(make("mismatch", "truncate", floor=0.5))
    assert metrics["mismatch_capped"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert metrics["mismatch_rho"].tolist() == pytest.approx((OLD - ROLL).exp().tolist())
    assert "mismatch_kept" not in loss_on_f1("none")[1]
