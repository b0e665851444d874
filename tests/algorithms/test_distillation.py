"""The teacher's opinion as advantage: worked numbers, and what each form of the KL teaches in expectation."""

import pytest
import torch
from f1 import make
from torch import Tensor

from rlvr_cli.algorithms.kl import Estimator, kl_estimate

STUDENT = torch.tensor([1.0, 0.2, -0.5, -1.0], dtype=torch.float64)
TEACHER = torch.tensor([0.3, 1.1, -0.2, -1.5], dtype=torch.float64).log_softmax(-1)
S = torch.tensor([-0.4, -1.2, -0.3, -0.7], dtype=torch.float64)
T = torch.tensor([-0.6, -0.5, -0.9, -0.7], dtype=torch.float64)
FOUR = torch.tensor([4])
REVERSE = [0.2965, -0.2644, -0.0573, 0.0252]


def near(expected: object) -> object:
    return pytest.approx(expected, abs=1e-4)


def expected_gradient(form: object) -> list[float]:
    """By the logits, each sampled token enumerated with its probability."""
    z = STUDENT.clone().requires_grad_()
    new = z.log_softmax(-1)
    (new.detach().exp() * form(new)).sum().backward()  # type: ignore[operator]
    return z.grad.tolist()  # type: ignore[union-attr]


def test_what_may_be_differentiated() -> None:
    """The advantage has the reverse KL's gradient; k1 has none at all, k3 that of the forward KL."""
    reward, each = make("distillation", "reward"), torch.ones(4, dtype=torch.long)
    policy_gradient = expected_gradient(lambda new: -reward(new.detach(), TEACHER, each) * new)
    assert policy_gradient == near(REVERSE)
    estimates = {
        e: expected_gradient(lambda new, e=e: kl_estimate(new, TEACHER, e))
        for e in (Estimator.k1, Estimator.k2, Estimator.k3)
    }
    assert estimates[Estimator.k1] == near([0.0] * 4)
    assert estimates[Estimator.k2] == near(REVERSE)
    assert estimates[Estimator.k3] == near([0.3030, -0.3082, -0.0283, 0.0335])


def test_a_baseline_leaves_the_mean_and_need_not_lower_the_variance() -> None:
    """vOPD subtracts the mean reward, -KL: here the variance over the logits rises. It is no option."""
    p = STUDENT.softmax(-1)
    reward = make("distillation", "reward")(p.log(), TEACHER, torch.ones(4, dtype=torch.long))
    score = torch.eye(4, dtype=torch.float64) - p
    kl = float((p * (p.log() - TEACHER)).sum())
    means, variances = [], []
    for baseline in (0.0, kl):
        samples = -(reward + baseline)[:, None] * score
        mean = (p[:, None] * samples).sum(0)
        means.append(mean.tolist())
        variances.append(float((p[:, None] * samples**2).sum() - (mean**2).sum()))
    assert means[0] == near(REVERSE) and means[1] == near(REVERSE)
    assert variances == near([0.1193, 0.1747])


@pytest.mark.parametrize(
    ("discount", "wanted"),
    [(0.0, [-0.2, 0.7, -0.6, 0.0]), (1.0, [-0.1, 0.1, -0.6, 0.0]), (0.9, [-0.0560, 0.1600, -0.6, 0.0])],
)
def test_advantages_of_a_rollout(discount: float, wanted: list[float]) -> None:
    reward = make("distillation", "reward", discount=discount)
    assert reward(S, T, FOUR).tolist() == near(wanted)
    twice = reward(torch.cat([S, S[:2]]), torch.cat([T, T[:2]]), torch.tensor([4, 2]))
    assert twice[:4].tolist() == near(wanted), "a sequence ends where it ends"
    assert twice[5] == pytest.approx(0.7)


def test_what_minillm_makes_of_a_rollout() -> None:
    """It computes each token's own part exactly, and weighs samples that are drawn from a mixture.

    Its returns are ours without that part, for each token that is left. The weight of a sample of the mixture
    is what a correction for another sampling policy is anyway: `algorithm/mismatch=truncate`.
    """
    whole, own = (make("distillation", "reward", discount=d)(S, T, FOUR) for d in (1.0, 0.0))
    assert (whole - own).tolist() == near([0.1, -0.6, 0.0, 0.0])
    left = torch.tensor([3, 2, 1, 1])
    assert ((whole - own) / left).tolist() == near([0.0333, -0.3, 0.0, 0.0])
    mixture = (0.8 * S.exp() + 0.2 * T.exp()).log()
    weights = make("mismatch", "truncate")(S, mixture, FOUR)
    assert weights.tolist() == near([1.0376, 0.8314, 1.0992, 1.0])


def test_early_tokens_count_more() -> None:
    """1.5, 1.4333, 1.2, 1 times -.2, .7, -.6, 0."""
    reward = make("distillation", "reward", iw=0.5)
    assert reward(S, T, FOUR).tolist() == near([-0.2 * 1.5, 0.7 * 1.43333, -0.6 * 1.2, 0.0])


def test_the_loss_of_a_rollout_and_its_gradient() -> None:
    advantages, loss = (
        make("distillation", "reward")(S, T, FOUR),
        make("loss", "clipped", clip_ratio_high=9.0),
    )
    new = (S + torch.tensor([0.0, 0.2, -0.1, 0.3])).requires_grad_()
    total = loss(new, S, advantages, FOUR)[0].sum()
    total.backward()
    assert float(total) == near(-0.1121) and new.grad.tolist() == near([0.2, -0.8550, 0.5429, 0.0])  # type: ignore[union-attr]
    at_one = S.clone().requires_grad_()
    loss(at_one, S, advantages, FOUR)[0].sum().backward()
    assert at_one.grad.tolist() == near((S - T).tolist())  # type: ignore[union-attr]


def test_a_teacher_with_a_demonstration_in_its_prompt() -> None:
    """SDPO's surrogate of the sampled tokens: the coefficient on the policy's gradient is s - t(context)."""
    privileged = torch.tensor([-0.2, -0.3, -0.9, -0.1], dtype=torch.float64)
    coefficient = -make("distillation", "reward")(S, privileged, FOUR)
    assert coefficient.tolist() == near([-0.2, -0.9, 0.6, -0.6])
    assert float((coefficient * S).mean()) == near(0.35)


def test_the_ratio_is_capped() -> None:
    loss = make("distillation", "loss", ratio_cap=2.0)
    ratios = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    assert loss(torch.ones(3, dtype=torch.float64), ratios, torch.zeros(3)).tolist() == near(
        [1.0, 1.6487, 2.0]
    )
    assert loss(torch.ones(3), ratios, None).tolist() == [1.0] * 3


def test_a_difference_is_bounded_and_the_coefficient_scales() -> None:
    far = torch.tensor([-50.0], dtype=torch.float64)
    reward = make("distillation", "reward", coef=0.5, clamp_log_ratio=4.0)
    assert float(reward(torch.zeros(1), far, torch.tensor([1]))) == -2.0


@pytest.mark.parametrize(
    ("option", "values", "said"),
    [
        ("reward", {"coef": 0.0}, "distillation.coef is 0.0; it must be above 0"),
        ("reward", {"discount": 1.5}, "distillation.discount is 1.5"),
        ("loss", {"beta": -0.1}, "distillation.beta is -0.1"),
        ("loss", {"top_k": 0}, "distillation.top_k is 0"),
        ("loss", {"task_coef": -1.0}, "distillation.task_coef is -1.0"),
    ],
)
def test_values_that_make_no_sense(option: str, values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("distillation", option, **values)


def binary(policy: Tensor, first: int, second: int) -> Tensor:
    """Log-probabilities of two binary tokens, [2]; policy: logits of the first, and of the second after
    each."""
    signs = [1.0 if token else -1.0 for token in (first, second)]
    return torch.stack([(signs[0] * policy[0]), signs[1] * policy[1 + first]]).sigmoid().log()


def test_discount_one_is_the_gradient_of_the_whole_sequence() -> None:
    """MiniLLM's identity on two binary tokens: exact = each token's own part + what follows from it."""
    theta = torch.tensor([0.2, -0.4, 0.7], dtype=torch.float64)
    teacher = torch.tensor([-0.3, 0.5, 0.1], dtype=torch.float64)

    def gradient(discount: float) -> list[float]:
        z = theta.clone().requires_grad_()
        total = z.new_zeros(())
        for first in (0, 1):
            for second in (0, 1):
                new, known = binary(z, first, second), binary(teacher, first, second)
                advantages = make("distillation", "reward", discount=discount)(
                    new.detach(), known, torch.tensor([2])
                )
                total = total - new.detach().sum().exp() * (advantages * new).sum()
        total.backward()
        return z.grad.tolist()  # type: ignore[union-attr]

    assert gradient(1.0) == near([0.1095, -0.0973, 0.0731])
    assert gradient(0.0) == near([0.1238, -0.0973, 0.0731])
    rest = [whole - alone for whole, alone in zip(gradient(1.0), gradient(0.0), strict=True)]
    assert rest == near([-0.0143, 0, 0])
