"""Divergences of a student and a teacher over four tokens: worked numbers, gradients, what k tokens leave
out."""

import math

import pytest
import torch
from f1 import make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms.divergence import Kind, Support, buckets, divergence, rest_of, with_rest

STUDENT = torch.tensor([[1.0, 0.2, -0.5, -1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[0.3, 1.1, -0.2, -1.5]], dtype=torch.float64)
SPOKEN = torch.tensor([1])


def near(expected: object) -> object:
    return pytest.approx(expected, abs=1e-4)


def between(kind: str, beta: float = 0.5, temperature: float = 1.0) -> float:
    s, t = ((x / temperature).log_softmax(-1) for x in (STUDENT, TEACHER))
    return float(divergence(s, t, Kind(kind), beta))


def gradient(loss: object, logits: Tensor = STUDENT) -> list[float]:
    """Of a function of the student's log-probabilities by its logits."""
    z = logits.clone().requires_grad_()
    loss(z.log_softmax(-1)).sum().backward()  # type: ignore[operator]
    return z.grad.flatten().tolist()  # type: ignore[union-attr]


def test_the_two_distributions() -> None:
    assert STUDENT.softmax(-1).tolist()[0] == near([0.5532, 0.2486, 0.1234, 0.0749])
    assert TEACHER.softmax(-1).tolist()[0] == near([0.2502, 0.5568, 0.1517, 0.0414])


def test_forward_and_reverse() -> None:
    assert between("forward") == near(0.2573) and between("reverse") == near(0.2574)


@pytest.mark.parametrize(
    ("beta", "value", "by_beta", "by_rest"),
    [
        (1e-4, 0.0000, 0.2572, 0.0000),
        (0.1, 0.0229, 0.2294, 0.0255),
        (0.5, 0.0627, 0.1254, 0.1254),
        (0.9, 0.0230, 0.0255, 0.2295),
        (1 - 1e-4, 0.0000, 0.0000, 0.2574),
    ],
)
def test_jensen_shannon(beta: float, value: float, by_beta: float, by_rest: float) -> None:
    found = between("jensen_shannon", beta)
    assert [found, found / beta, found / (1 - beta)] == near([value, by_beta, by_rest])


def test_at_its_ends_beta_means_the_other_two() -> None:
    """As TRL codes it; the limits of the formula would be 0."""
    assert between("jensen_shannon", 0.0) == between("forward")
    assert between("jensen_shannon", 1.0) == between("reverse")


def test_at_other_temperatures() -> None:
    kinds = ("forward", "reverse", "jensen_shannon")
    assert [between(kind, temperature=2.0) for kind in kinds] == near([0.0599, 0.0593, 0.0148])
    assert 4 * between("forward", temperature=2.0) == near(0.2395)
    assert [between(kind, temperature=0.9) for kind in kinds] == near([0.3198, 0.3208, 0.0776])
    assert 0.81 * between("forward", temperature=0.9) == near(0.2590)


def test_gradients_by_the_logits() -> None:
    t = TEACHER.log_softmax(-1)
    forward = gradient(lambda s: divergence(s, t, Kind.forward))
    assert forward == near([0.3030, -0.3082, -0.0283, 0.0335])
    assert gradient(lambda s: divergence(s, t, Kind.reverse)) == near([0.2965, -0.2644, -0.0573, 0.0252])


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("top_k", [None, 2])
def test_gradients_are_those_of_finite_differences(kind: Kind, top_k: int | None) -> None:
    loss, t = make("distillation", "loss", divergence=kind, beta=0.3, top_k=top_k), TEACHER.log_softmax(-1)

    def of(z: Tensor) -> Tensor:
        found: Tensor = loss.compare(z.log_softmax(-1), t, SPOKEN)[0]
        return found

    assert torch.autograd.gradcheck(of, STUDENT.clone().requires_grad_())


# ------------------------------------------------------------------ k tokens

TABLE = {
    # k: forward tail, reverse tail
    1: (0.2150, 0.2076),
    2: (0.2454, 0.2438),
    3: (0.2573, 0.2574),
}


@pytest.mark.parametrize("k", TABLE)
def test_over_k_tokens_and_all_others_as_one(k: int) -> None:
    s, t = STUDENT.log_softmax(-1), TEACHER.log_softmax(-1)
    forward, reverse = (
        make("distillation", "loss", divergence=Kind(d), top_k=k) for d in ("forward", "reverse")
    )
    assert [float(x.compare(s, t, SPOKEN)[0]) for x in (forward, reverse)] == near(list(TABLE[k]))


@pytest.mark.parametrize(
    ("k", "forward", "reverse"),
    [
        (1, (0.4490, 0.0), (0.4389, 0.0)),
        (2, (0.2505, 0.3040), (0.2385, 0.3040)),
        (3, (0.2818, 0.2584), (0.2130, 0.2658)),
    ],
)
def test_what_the_other_two_ways_of_k_tokens_would_give(
    k: int, forward: tuple[float, float], reverse: tuple[float, float]
) -> None:
    """Raw and renormalised, the forward KL over the teacher's tokens, the reverse over the student's: none is
    a bound of .2573 or .2574, which is why the rest is an outcome of its own here."""
    s, t = STUDENT.log_softmax(-1), TEACHER.log_softmax(-1)
    for (p, q), wanted in (((t, s), forward), ((s, t), reverse)):
        ids = p.topk(k, dim=-1).indices
        p_k, q_k = p.gather(-1, ids), q.gather(-1, ids)
        raw = float((p_k.exp() * (p_k - q_k)).sum())
        other = float(divergence(q_k.log_softmax(-1), p_k.log_softmax(-1), Kind.forward))
        assert [raw, other] == near(list(wanted))


def test_what_the_other_two_ways_would_teach() -> None:
    """Raw drives those outside the two down whatever the teacher thinks of them, renormalised says nothing of
    how much belongs inside."""
    t = TEACHER.log_softmax(-1)
    ids = t.topk(2, dim=-1).indices
    t_k = t.gather(-1, ids)
    raw = gradient(lambda s: t_k.exp() * (t_k - s.gather(-1, ids)))
    assert raw == near([0.1962, -0.3562, 0.0996, 0.0604])
    other = gradient(
        lambda s: divergence(s.gather(-1, ids).log_softmax(-1), t_k.log_softmax(-1), Kind.forward)
    )
    assert other == near([0.3799, -0.3799, 0, 0])


def test_the_masses_of_k_tokens() -> None:
    loss = make("distillation", "loss", divergence=Kind.forward, top_k=2)
    _, spoken, student, teacher = loss.compare(STUDENT.log_softmax(-1), TEACHER.log_softmax(-1), SPOKEN)
    assert [float(x) for x in (spoken.exp(), student, teacher)] == near(
        [0.5568, 0.5532 + 0.2486, 0.5568 + 0.2502]
    )


def test_the_gradient_of_two_tokens_is_exact_inside_and_the_total_outside() -> None:
    loss, t = make("distillation", "loss", divergence=Kind.forward, top_k=2), TEACHER.log_softmax(-1)
    assert gradient(lambda s: loss.compare(s, t, SPOKEN)[0]) == near([0.3030, -0.3082, 0.0032, 0.0020])


def test_whose_tokens_they_are() -> None:
    """For k = 1 the teacher's is the second, the student's the first."""
    s, t = STUDENT.log_softmax(-1), TEACHER.log_softmax(-1)
    own = make("distillation", "loss", divergence=Kind.forward, top_k=1, support=Support.student)
    auto = make("distillation", "loss", divergence=Kind.forward, top_k=1)
    assert float(auto.compare(s, t, SPOKEN)[3]) == near(0.5568) and float(
        own.compare(s, t, SPOKEN)[3]
    ) == near(0.2502)
    js = make("distillation", "loss", divergence=Kind.jensen_shannon, top_k=1)
    assert float(js.compare(s, t, SPOKEN)[2]) == near(0.5532)
    at_zero = make("distillation", "loss", divergence=Kind.jensen_shannon, beta=0.0, top_k=1)
    assert float(at_zero.compare(s, t, SPOKEN)[3]) == near(0.5568)


def test_what_a_server_knows_of_the_teacher_gives_the_same_numbers() -> None:
    s, t = STUDENT.log_softmax(-1), TEACHER.log_softmax(-1)
    loss = make("distillation", "loss", divergence=Kind.forward, top_k=2)
    known, ids = t.topk(2, dim=-1)
    given_k = loss.compare_given(s, ids, known, t.gather(-1, SPOKEN[:, None])[:, 0])
    assert [float(x) for x in given_k] == pytest.approx(
        [float(x) for x in loss.compare(s, t, SPOKEN)], abs=1e-12
    )


logits = st.lists(st.floats(-8, 8), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(logits, logits, st.floats(0.05, 0.95))
def test_laws_of_divergences(a: list[float], b: list[float], beta: float) -> None:
    """Symmetric under (s, t, beta) -> (t, s, 1 - beta), at most ln 2 at 1/2, 0 for equals, k a lower
    bound."""
    s, t = (torch.tensor([x], dtype=torch.float64).log_softmax(-1) for x in (a, b))
    js = Kind.jensen_shannon
    assert float(divergence(s, t, js, beta)) == pytest.approx(
        float(divergence(t, s, js, 1 - beta)), abs=1e-10
    )
    assert float(divergence(s, t, js, 0.5)) <= math.log(2) + 1e-12
    for kind in Kind:
        assert abs(float(divergence(s, s, kind, beta))) < 1e-10
        whole, last = float(divergence(s, t, kind, beta)), -1e-10
        order = t.argsort(dim=-1, descending=True)
        for k in range(1, 6):
            part = float(divergence(buckets(s, order[:, :k]), buckets(t, order[:, :k]), kind, beta))
            assert last - 1e-9 <= part <= whole + 1e-9
            last = part
        assert last == pytest.approx(whole, abs=1e-9), "five of six tokens and the rest are all six"


def test_a_token_that_one_excludes_costs_a_bounded_number_and_no_nan() -> None:
    s = torch.tensor([[0.0, -math.inf]], dtype=torch.float64)
    t = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    found = [float(divergence(s, t, kind)) for kind in Kind]
    assert found == pytest.approx(
        [0.5 * math.log(0.5) + 0.5 * (math.log(0.5) + 100), math.log(2), 0.2158], abs=1e-4
    )


def test_the_rest_is_what_is_left() -> None:
    half = torch.tensor([[0.5, 0.25]], dtype=torch.float32).log()
    assert with_rest(half, rest_of(half)).exp().tolist()[0] == pytest.approx([0.5, 0.25, 0.25])
    assert float(rest_of(torch.zeros(1, 1))) == pytest.approx(-100), "nothing is left"
