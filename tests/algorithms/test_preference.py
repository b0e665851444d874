"""Losses of preferences against the worked numbers of three pairs, and what they must not depend on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms import PREFERENCE, options
from rlvr_cli.algorithms.preference import classified, log_sigmoid
from rlvr_cli.algorithms.preference_single import KTO, reference_point
from rlvr_cli.algorithms.preference_sums import mean_nll, paired, single, slopes
from rlvr_cli.algorithms.segments import segment_sum

REFERENCED = ["sigmoid", "robust", "hinge", "ipo", "apo_zero", "apo_down", "bco", "nca", "sppo", "exo"]
FREE = ["cpo", "simpo", "orpo"]
# Three pairs, row 2j chosen and 2j + 1 rejected: logprobs of their tokens.
LENGTHS = torch.tensor([3, 2, 2, 4, 4, 3])
POLICY = [-0.4, -0.9, -0.2, -1.2, -0.7, -1.1, -0.5, -0.5, -0.4, -1.0, -0.6, -0.3, -0.8, -0.6, -0.1, -1.5]
POLICY += [-0.3, -0.2]
REF = [-0.6, -1.0, -0.3, -1.0, -0.5, -0.9, -0.4, -0.6, -0.7, -0.9, -0.7, -0.5, -0.9, -0.7, -0.2, -1.2]
REF += [-0.4, -0.3]

FIRST = [0, 3, 5, 7, 11, 15]
"""The first token of each answer."""


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def make(name: str, **fields: Any) -> Any:
    return options(PREFERENCE)[name](**fields)


def p1() -> tuple[Tensor, ...]:
    """pi_w, pi_l, ref_w, ref_l, n_w, n_l of the three pairs."""
    new_B, ref_B = (segment_sum(t(*x), LENGTHS) for x in (POLICY, REF))
    return new_B[::2], new_B[1::2], ref_B[::2], ref_B[1::2], LENGTHS[::2].double(), LENGTHS[1::2].double()


def near(found: Tensor, *wanted: float) -> None:
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "fields", "each", "mean"),
    [
        ("sigmoid", {}, (0.6539, 0.7288, 0.6636), 0.6821),
        ("sigmoid", {"label_smoothing": 0.1}, (0.6619, 0.7218, 0.6696), 0.6844),
        ("robust", {}, (0.6439, 0.7375, 0.6561), 0.6792),
        ("hinge", {}, (0.92, 1.07, 0.94), 0.9767),
        ("ipo", {}, (21.7778, 27.5625, 23.4417), 24.2607),
        ("ipo", {"length_normalised": False}, (17.64, 32.49, 19.36), 23.1633),
        ("sigmoid", {"length_normalised": True}, (0.6766, 0.7057, 0.6853), 0.6892),
        ("sigmoid", {"length_normalised": True, "beta": 5.0}, (0.1730, 1.5019, 0.3737), 0.6829),
        ("simpo", {}, (0.7444, 1.5805, 1.0161), 1.1137),
        ("simpo", {"beta": 2.5, "gamma": 2.5 * 0.55}, (0.8259, 1.9637, 1.1942), 1.3280),
        ("simpo", {"beta": 0.1, "gamma": 0.5}, (0.9463, 0.9850, 0.9606), 0.9640),
        ("orpo", {}, (0.5343, 0.8880, 0.4970), 0.6398),
        ("cpo", {}, (0.6733, 0.6492, 0.6832), 0.6686),
        ("sigmoid", {"reference_free": True}, (0.6733, 0.6492, 0.6832), 0.6686),
        ("apo_zero", {}, (0.98, 1.0175, 0.985), 0.9942),
        ("apo_down", {}, (0.99, 1.01, 0.9975), 0.9992),
        ("bco", {}, (1.3467, 1.4216, 1.3566), 1.3750),
        ("nca", {}, (1.3667, 1.4041, 1.3718), 1.3808),
        ("sppo", {}, (42.32, 57.25, 44.26), 47.9433),
        ("exo", {}, (2.6240, 2.8827, 2.6581), 2.7216),
    ],
)
def test_three_pairs(name: str, fields: dict[str, Any], each: tuple[float, ...], mean: float) -> None:
    loss_P, _ = make(name, **fields)(*p1())
    near(loss_P, *each)
    assert float(loss_P.mean()) == pytest.approx(mean, abs=1e-4)


def test_sums_rewards_and_metrics() -> None:
    pi_w, pi_l, ref_w, ref_l, _, _ = p1()
    near(pi_w, -1.5, -1.6, -1.8), near(ref_w, -1.9, -1.3, -2.3)
    near(pi_l, -1.9, -2.5, -2.0), near(ref_l, -1.5, -2.9, -1.9)
    _, _, _, _, n_w, n_l = p1()
    mean_w, mean_l = (pi_w - ref_w) / n_w, (pi_l - ref_l) / n_l
    near(mean_w, 0.1333, -0.15, 0.125), near(mean_l, -0.2, 0.1, -0.0333)
    near(mean_w - mean_l, 0.3333, -0.25, 0.1583)
    _, told = make("sigmoid")(*p1())
    near(told["rewards/chosen"], 0.04, -0.03, 0.05), near(told["rewards/rejected"], -0.04, 0.04, -0.01)
    found = whole()[1]
    assert found["rewards/accuracies"] == pytest.approx(2 / 3)
    assert found["rewards/margins"] == pytest.approx(0.0233, abs=1e-4)
    assert found["logps/chosen"] == pytest.approx(-1.6333, abs=1e-4)
    assert found["logps/rejected"] == pytest.approx(-2.1333, abs=1e-4)


def test_the_odds_ratio() -> None:
    _, told = make("orpo")(*p1())
    near(told["preference/log_odds"], 0.8938, -0.3447, 0.5114)
    near(-told["preference/log_odds_ratio"], 0.3430, 0.8803, 0.4698)
    assert float(-told["preference/log_odds_ratio"].mean()) == pytest.approx(0.5643, abs=1e-4)
    sure = make("orpo")(t(0.0), t(-1.0), t(0), t(0), t(1), t(1))[0]
    assert sure.isfinite().all()  # an answer that is certain has odds without end


def test_dpo_of_one_pair() -> None:
    pair = t(-10), t(-12), t(-11), t(-11.5), t(5), t(5)
    loss, told = make("sigmoid")(*pair)
    near(loss, 0.620957), near(told["rewards/chosen"], 0.1), near(told["rewards/rejected"], -0.05)
    near(make("sigmoid", label_smoothing=0.1)(*pair)[0], 0.635957)
    near(make("ipo", length_normalised=False)(*pair)[0], 12.25)


@pytest.mark.parametrize(("x", "slopes"), [(10.0, (0.0, 0.1, -0.125)), (1e-3, (-0.4998, -0.3998, -0.6248))])
def test_slopes_far_out_and_at_the_start(x: float, slopes: tuple[float, ...]) -> None:
    """cDPO pulls back, robust never stops."""
    smoothed = {"label_smoothing": 0.1}
    for (name, fields), wanted in zip(
        (("sigmoid", {}), ("sigmoid", smoothed), ("robust", {})), slopes, strict=True
    ):
        pi = t(x).requires_grad_()
        make(name, beta=1.0, **fields)(pi, t(0), t(0), t(0), t(1), t(1))[0].sum().backward()
        assert float(pi.grad) == pytest.approx(wanted, abs=3e-4)
    at = math.log(9)
    assert at == pytest.approx(2.1972, abs=1e-4)
    pi = t(at).requires_grad_()
    make("sigmoid", beta=1.0, **smoothed)(pi, t(0), t(0), t(0), t(1), t(1))[0].sum().backward()
    assert float(pi.grad) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sigmoid", math.log(2)),
        ("robust", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 25.0),
        ("apo_zero", 1.0),
        ("apo_down", 1.0),
        ("bco", 2 * math.log(2)),
        ("sppo", 50.0),
    ],
)
def test_the_policy_is_its_reference(name: str, wanted: float) -> None:
    pi_w, pi_l, _, _, n_w, n_l = p1()
    loss_P, told = make(name)(pi_w, pi_l, pi_w, pi_l, n_w, n_l)
    near(loss_P, wanted, wanted, wanted)
    assert not (told["rewards/chosen"] > told["rewards/rejected"]).any()


def test_gradients_of_worked_pairs() -> None:
    def token_gradients(name: str, **fields: Any) -> list[float]:
        pi_w, *rest = p1()
        pi_w = pi_w.clone().requires_grad_()
        make(name, **fields)(pi_w, *rest)[0].sum().backward()
        return pi_w.grad.tolist()

    assert token_gradients("sigmoid") == pytest.approx([-0.0480, -0.0517, -0.0485], abs=1e-4)
    assert token_gradients("ipo") == pytest.approx([-3.1111, -5.25, -2.4208], abs=1e-4)
    assert token_gradients("simpo") == pytest.approx([-0.35, -0.7941, -0.3190], abs=1e-4)


def test_the_gradient_of_dpo_as_beta_goes_to_0() -> None:
    """-beta/2 for each chosen log-probability: the data's own direction, whatever the reference says."""
    for beta in (1e-2, 1e-4, 1e-6):
        pi_w, pi_l, ref_w, ref_l, n_w, n_l = p1()
        pi_w, pi_l = pi_w.clone().requires_grad_(), pi_l.clone().requires_grad_()
        make("sigmoid", beta=beta)(pi_w, pi_l, ref_w, ref_l, n_w, n_l)[0].sum().backward()
        assert (pi_w.grad / beta).tolist() == pytest.approx([-0.5] * 3, abs=beta)
        assert (pi_l.grad / beta).tolist() == pytest.approx([0.5] * 3, abs=beta)


@pytest.mark.parametrize("name", [*REFERENCED, *FREE])
def test_gradients_against_finite_differences(name: str) -> None:
    option, step = make(name), 1e-6

    def loss(x_N: Tensor) -> tuple[Tensor, dict[str, float]]:
        return paired(option, x_N, t(*REF), LENGTHS, t(1, 2, 0.5), sft_coef=0.3)

    _, weights_N, _ = slopes(loss, t(*POLICY))
    for weights_n, first in zip(weights_N.split(LENGTHS.tolist()), FIRST, strict=True):
        moved = torch.zeros(18, dtype=torch.float64)
        moved[first] = step
        slope = (loss(t(*POLICY) + moved)[0] - loss(t(*POLICY) - moved)[0]) / (2 * step)
        assert weights_n.tolist() == pytest.approx([float(slope)] * len(weights_n), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", REFERENCED)
def test_a_constant_of_policy_and_reference_changes_nothing(name: str) -> None:
    pi_w, pi_l, ref_w, ref_l, n_w, n_l = p1()
    before = make(name)(pi_w, pi_l, ref_w, ref_l, n_w, n_l)[0]
    assert make(name)(pi_w + 3, pi_l - 1, ref_w + 3, ref_l - 1, n_w, n_l)[0].tolist() == pytest.approx(
        before.tolist()
    )
    for free in FREE:
        assert not torch.allclose(make(free)(pi_w - 1, *p1()[1:])[0], make(free)(*p1())[0])


def test_swapped_answers() -> None:
    pi_w, pi_l, ref_w, ref_l, n_w, n_l = p1()
    forth, told = make("sigmoid")(pi_w, pi_l, ref_w, ref_l, n_w, n_l)
    back, turned = make("sigmoid")(pi_l, pi_w, ref_l, ref_w, n_l, n_w)
    h = (pi_w - ref_w) - (pi_l - ref_l)
    assert (back - forth).tolist() == pytest.approx((0.1 * h).tolist())  # -log s(-x) = x - log s(x)
    right = (told["rewards/chosen"] > told["rewards/rejected"]).double().mean()
    wrong = (turned["rewards/chosen"] > turned["rewards/rejected"]).double().mean()
    assert float(wrong) == pytest.approx(1 - float(right))


def test_tokens_that_neither_prefers() -> None:
    """Appended to both answers, they leave losses on sums alone and change those on means."""
    pi_w, pi_l, ref_w, ref_l, n_w, n_l = p1()
    longer = pi_w - 2, pi_l - 2, ref_w - 2, ref_l - 2, n_w + 4, n_l + 4
    assert make("sigmoid")(*longer)[0].tolist() == pytest.approx(make("sigmoid")(*p1())[0].tolist())
    assert not torch.allclose(make("ipo")(*longer)[0], make("ipo")(*p1())[0])


@settings(deadline=None)
@given(st.lists(st.floats(-30, 0), min_size=4, max_size=4), st.floats(0.01, 10))
def test_limits_of_parameters(sums: list[float], beta: float) -> None:
    """No smoothing: cDPO, robust and DPO are one; no margin: SimPO is DPO on means without a reference."""
    pair = *(t(x) for x in sums), t(3), t(5)
    plain = float(make("sigmoid", beta=beta)(*pair)[0])
    assert float(make("robust", beta=beta, label_smoothing=0.0)(*pair)[0]) == pytest.approx(plain)
    free = make("sigmoid", beta=beta, length_normalised=True, reference_free=True)
    assert float(make("simpo", beta=beta, gamma=0.0)(*pair)[0]) == pytest.approx(float(free(*pair)[0]))


@settings(deadline=None)
@given(st.floats(-1e4, 1e4))
def test_log_sigmoid_is_exact_far_out(x: float) -> None:
    at = t(x).requires_grad_()
    found = log_sigmoid(at)
    found.sum().backward()
    wanted = -math.log1p(math.exp(-x)) if x > -700 else x
    assert float(found.detach()) == pytest.approx(wanted, abs=1e-12)
    assert float(at.grad) == pytest.approx(1 / (1 + math.exp(min(x, 700))), abs=1e-12)


def test_a_margin_is_what_has_to_be_exceeded() -> None:
    margins = t(1, 0, 0.5)
    loss_P, told = make("sigmoid", margin_coef=2.0)(*p1(), margins=margins)
    x = 0.1 * t(0.8, -0.7, 0.6) - 2 * margins
    assert loss_P.tolist() == pytest.approx((-log_sigmoid(x)).tolist())
    near(told["rewards/chosen"], 0.04, -0.03, 0.05)  # rewards know nothing of it


# ---------------------------------------------------------------- of a whole update


def whole(name: str = "sigmoid", sft_coef: float = 0.0, **fields: Any) -> tuple[float, dict[str, float]]:
    loss, told = paired(make(name, **fields), t(*POLICY), t(*REF), LENGTHS, t(1, 1, 1), sft_coef)
    return float(loss), told


def test_the_sft_term_counts_the_tokens_of_the_update() -> None:
    assert whole(sft_coef=1.0)[1]["preference/sft_loss"] == pytest.approx(0.5444, abs=1e-4)
    assert whole(sft_coef=1.0)[0] == pytest.approx(1.2265, abs=1e-4)
    assert whole(sft_coef=0.005)[0] == pytest.approx(0.6848, abs=1e-4)


def test_other_libraries_divisors_of_the_sft_term() -> None:
    """OpenRLHF: a mean of sequence means. TRL: a mean over a micro-batch, which its split changes."""
    pi_w, _, _, _, n_w, _ = p1()
    assert float(mean_nll(pi_w, n_w, 1 / n_w)) == pytest.approx(0.5833, abs=1e-4)
    assert -whole()[1]["logps/chosen"] == pytest.approx(1.6333, abs=1e-4)  # a sum per sequence
    split = [float(mean_nll(pi_w[cut], n_w[cut])) for cut in (slice(0, 1), slice(1, 3))]
    assert sum(split) / 2 == pytest.approx(0.5333, abs=1e-4)


def test_tokens_beyond_the_shorter_answer() -> None:
    """LD-DPO with alpha 0.5: h .75, -.7, .55. At 0 only what both answers have is compared."""
    h = t(0.75, -0.7, 0.55)
    loss, told = whole(tail_weight=0.5)
    assert loss == pytest.approx(0.6837, abs=1e-4)
    assert loss == pytest.approx(float(-log_sigmoid(0.1 * h).mean()))
    assert told["rewards/margins"] == pytest.approx(0.1 * float(h.mean()))
    assert told["logps/chosen"] == pytest.approx(-1.6333, abs=1e-4)  # of the whole answer
    assert whole(tail_weight=1.0)[0] == whole()[0]

    def without_a_tail(x_N: Tensor) -> tuple[Tensor, dict[str, float]]:
        return paired(make("sigmoid", tail_weight=0.0), x_N, t(*REF), LENGTHS, t(1, 1, 1))

    weights_N = slopes(without_a_tail, t(*POLICY))[1]
    kept = [2, 2, 2, 2, 3, 3]
    for b, weights_n in enumerate(weights_N.split(LENGTHS.tolist())):
        assert (weights_n != 0).tolist() == [i < kept[b] for i in range(len(weights_n))]
    assert weights_N.isfinite().all()


def test_the_shift_of_bco() -> None:
    """The mean reward .0083 changes the fifth digit, .5 would change the second."""
    rewards = 0.1 * D[::2], 0.1 * D[1::2]
    assert float(classified(*rewards, t(0.5)).mean()) == pytest.approx(1.4348, abs=1e-4)
    plain, shifted = (whole("bco", shift=shift)[0] for shift in (False, True))
    assert shifted == pytest.approx(float(classified(*rewards, t(0.05 / 6)).mean()))
    assert 1e-6 < abs(shifted - plain) < 1e-4 and shifted == pytest.approx(1.3750, abs=1e-4)


def test_the_shift_of_bco_is_not_differentiated() -> None:
    """Each answer's slope is what it is with the zero of the update held."""
    pi_w, pi_l, ref_w, ref_l, n_w, n_l = p1()
    found, held = pi_w.clone().requires_grad_(), pi_w.clone().requires_grad_()
    make("bco", shift=True)(found, pi_l, ref_w, ref_l, n_w, n_l)[0].sum().backward()
    classified(0.1 * (held - ref_w), 0.1 * (pi_l - ref_l), t(0.05 / 6)).sum().backward()
    assert found.grad.tolist() == pytest.approx(held.grad.tolist())


def test_weights_of_pairs_are_relative() -> None:
    loss = [
        float(paired(make("sigmoid"), t(*POLICY), t(*REF), LENGTHS, w)[0])
        for w in (t(1, 1, 1), t(5, 5, 5), t(1, 3, 0))
    ]
    assert loss[0] == pytest.approx(0.6821, abs=1e-4) and loss[1] == pytest.approx(loss[0])
    assert loss[2] == pytest.approx((0.6539 + 3 * 0.7288) / 4, abs=1e-4)


@pytest.mark.parametrize("name", [*REFERENCED, *FREE])
def test_two_passes_have_the_gradient_of_the_loss(name: str) -> None:
    """What a step does (weights of tokens, then a linear loss) against autograd of the loss itself."""
    head = torch.tensor([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]], dtype=torch.float64)
    inputs = torch.linspace(-1, 1, 36, dtype=torch.float64).view(18, 2)
    targets, option = torch.arange(18) % 3, make(name)

    def logprobs(weight: Tensor) -> Tensor:
        return (inputs @ weight).log_softmax(-1)[torch.arange(18), targets]

    def loss(new_N: Tensor) -> tuple[Tensor, dict[str, float]]:
        return paired(option, new_N, t(*REF), LENGTHS, t(1, 3, 1), sft_coef=0.5)

    direct, twice = head.clone().requires_grad_(), head.clone().requires_grad_()
    value, _ = loss(logprobs(direct))
    value.backward()
    told, weights_N, _ = slopes(loss, logprobs(head))
    for cut in (slice(0, 2), slice(2, 11), slice(11, 18)):  # whatever the split, also within a pair
        (weights_N * logprobs(twice))[cut].sum().backward()
    assert float(told) == pytest.approx(float(value.detach()))
    assert twice.grad.flatten().tolist() == pytest.approx(direct.grad.flatten().tolist(), rel=1e-9)


# ---------------------------------------------------------------- single answers

D = t(0.4, -0.4, -0.3, 0.4, 0.5, -0.1)
ONE_EACH = torch.ones(6, dtype=torch.long)
WANTED = torch.tensor([True, False] * 3)


@pytest.mark.parametrize(
    ("z", "undesirable", "each", "mean"),
    [
        (0.05, 1.0, (0.4913, 0.4888, 0.5087, 0.5087, 0.4888, 0.4963), 0.4971),
        (0.05, 1.5, None, 0.6216),
        (0.0, 1.0, (0.4900, 0.4900, 0.5075, 0.5100, 0.4875, 0.4975), 0.4971),
        (0.0, 1.5, None, 0.6219),
    ],
)
def test_kto(z: float, undesirable: float, each: tuple[float, ...] | None, mean: float) -> None:
    loss_B, _ = KTO(undesirable=undesirable)(D, torch.zeros(6), WANTED, z)
    if each is not None:
        near(loss_B, *each)
    assert float(loss_B.mean()) == pytest.approx(mean, abs=1e-4)


def test_the_reference_point_of_kto() -> None:
    assert reference_point(t(0.3, -0.2, 0.1, 0.4, -0.5, 0.2)) == pytest.approx(0.05)
    assert reference_point(t(-0.3, 0.1)) == 0 and reference_point(t()) == 0
    assert KTO()(t(-1, -2), t(-1, -2), WANTED[:2], 0.0)[0].tolist() == [0.5, 0.5]


def test_kto_of_an_update() -> None:
    weights = t(1, 1, 1, 1, 1, 1)
    loss, told = single(KTO(), D, t(*[0.0] * 6), ONE_EACH, WANTED, weights, 0.05)
    assert float(loss) == pytest.approx(0.4971, abs=1e-4) and told["preference/kl"] == 0.05
    assert told["rewards/chosen"] == pytest.approx(0.02) and told["rewards/rejected"] == pytest.approx(
        -0.1 / 30
    )
    one_sided = single(KTO(), D[::2], t(0, 0, 0), ONE_EACH[::2], WANTED[::2], weights[:3], 0.0)[1]
    assert "rewards/chosen" in one_sided and "rewards/rejected" not in one_sided


@pytest.mark.parametrize("fields", [{}, {"undesirable": 1.5, "beta": 0.5}])
def test_the_gradient_of_kto_against_finite_differences(fields: dict[str, Any]) -> None:
    """Of each answer's sum, with the zero of the update held: it is a statistic, not a part of the loss."""
    step = 1e-6

    def loss(x_N: Tensor) -> tuple[Tensor, dict[str, float]]:
        return single(KTO(**fields), x_N, t(*REF), LENGTHS, WANTED, t(1, 2, 0.5, 1, 1, 1), 0.05)

    _, weights_N, _ = slopes(loss, t(*POLICY))
    for b, weights_n in enumerate(weights_N.split(LENGTHS.tolist())):
        moved = torch.zeros(18, dtype=torch.float64)
        moved[FIRST[b]] = step
        slope = float(loss(t(*POLICY) + moved)[0] - loss(t(*POLICY) - moved)[0]) / (2 * step)
        assert weights_n.tolist() == pytest.approx([slope] * len(weights_n), rel=1e-4, abs=1e-8)
        assert (slope < 0) == bool(WANTED[b])  # what is wanted rises


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("sigmoid", {"beta": 0.0}, "algorithm.preference.beta is 0.0; it must be above 0"),
        ("sigmoid", {"label_smoothing": 0.5}, "label_smoothing is 0.5; it must be at least 0 and below 0.5"),
        ("exo", {"label_smoothing": 0.0}, "label_smoothing is 0.0; it must be above 0"),
        ("simpo", {"gamma": -1.0}, "gamma is -1.0; it must be at least 0"),
        ("kto", {"undesirable": 0.0}, "undesirable is 0.0; it must be above 0"),
        ("sigmoid", {"margin_coef": -1.0}, "margin_coef is -1.0; it must be at least 0"),
        ("sigmoid", {"tail_weight": 1.5}, "tail_weight is 1.5; it must be between 0 and 1"),
        (
            "ipo",
            {"tail_weight": 0.5},
            "tail_weight is 0.5; it must be 1 with preference.length_normalised=true",
        ),
    ],
)
def test_values_without_sense(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **fields)
