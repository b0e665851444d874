"""Distillation on data: its loss by hand, its limits, and how micro-batches and sources enter it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from f1 import make
from torch import Tensor

from rlvr_cli.algorithms.divergence import Kind
from rlvr_cli.data.sft import Example
from rlvr_cli.schema import Distilling
from rlvr_cli.training.kd import objective, taught_batch
from rlvr_cli.training.sft import cross_entropy

STUDENT = torch.tensor([1.0, 0.2, -0.5, -1.0], dtype=torch.float64)
TEACHER = torch.tensor([0.3, 1.1, -0.2, -1.5], dtype=torch.float64)
"""Of methods/13, 7.1: forward KL 0.2573, reverse 0.2574, cross-entropy of the first token 0.5921."""


def rule(**values: Any) -> Distilling:
    return Distilling(distillation=make("distillation", "loss", divergence=Kind.forward, **values))


def loss_of(
    algorithm: Distilling, logits_nV: Tensor, targets_n: Tensor, batch: Any = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of n tokens, each a sequence of one; the teacher says TEACHER at each."""
    logprobs_nV = logits_nV.log_softmax(-1)
    new_n = logprobs_nV.gather(-1, targets_n[:, None])[:, 0]
    teacher_nV = TEACHER.log_softmax(-1).expand_as(logits_nV)
    compared = algorithm.distillation.compare(logprobs_nV, teacher_nV, targets_n)
    count = len(targets_n)
    weights_n = torch.full((count,), 1 / count, dtype=torch.float64)
    at = {
        "weights": weights_n,
        "teacher_weights": algorithm.distillation.coef * weights_n,
        "lengths": torch.ones(count, dtype=torch.int64),
    }
    nothing_n = torch.zeros(count)
    return objective(algorithm, new_n, nothing_n, nothing_n, *compared, at if batch is None else batch)


def test_the_loss_is_the_sum_of_its_two_parts() -> None:
    logits = STUDENT[None].clone().requires_grad_()
    loss, metrics = loss_of(rule(coef=0.5, task_coef=0.25), logits, torch.tensor([0]))
    assert float(loss) == pytest.approx(0.25 * 0.5921 + 0.5 * 0.2573, abs=1e-4)
    assert float(metrics["cross_entropy"]) == pytest.approx(0.5921, abs=1e-4)
    assert float(metrics["distillation_kl"]) == pytest.approx(0.2573, abs=1e-4)
    loss.backward()
    student, teacher = STUDENT.softmax(-1), TEACHER.softmax(-1)
    right = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    wanted = 0.25 * (student - right) + 0.5 * (student - teacher)
    assert logits.grad is not None and torch.allclose(logits.grad[0], wanted, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(3)
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 1, 2, 2])
    for values in ({}, {"top_k": 2}):
        algorithm = rule(coef=0.7, task_coef=0.3, **values)
        loss_of(algorithm, logits, targets)[0].backward()
        grad, logits.grad = logits.grad, None
        assert grad is not None
        for n, v in ((0, 1), (2, 3), (4, 0)):
            moved = torch.zeros_like(logits)
            moved[n, v] = 1e-5
            up, down = (loss_of(algorithm, (logits + s * moved).detach(), targets)[0] for s in (1, -1))
            assert float(grad[n, v]) == pytest.approx(float(up - down) / 2e-5, abs=1e-8)


def test_limits() -> None:
    """Without the teacher's part it is fine-tuning; without the data's a teacher that is the policy teaches
    nothing."""
    logits, targets = torch.stack([STUDENT, TEACHER]), torch.tensor([2, 1])
    known = {"weights": torch.full((2,), 0.5, dtype=torch.float64)}
    alone = cross_entropy(logits.log_softmax(-1)[[0, 1], targets], targets, targets, known)[0]
    batch = known | {"teacher_weights": torch.zeros(2), "lengths": torch.ones(2, dtype=torch.int64)}
    loss, metrics = loss_of(rule(coef=1.0, task_coef=1.0), logits, targets, batch)
    assert float(loss) == pytest.approx(float(alone), abs=1e-12)
    assert bool(metrics["distillation_kl"].isnan().all())
    same = TEACHER[None].clone().requires_grad_()
    loss, _ = loss_of(rule(coef=1.0, task_coef=0.0), same, torch.tensor([3]))
    loss.backward()
    assert abs(float(loss)) < 1e-15 and same.grad is not None and float(same.grad.abs().max()) < 1e-15


def example(length: int, source: str = "train") -> Example:
    """A prompt of two tokens and so many more."""
    return Example(
        tokens=np.arange(4, 6 + length, dtype=np.int32),
        mask=np.arange(2 + length) >= 2,
        source=source,
    )


def test_the_teacher_counts_as_its_sources_say() -> None:
    """Of 3 + 1 + 2 tokens the second source's have half the weight and the third's none: a mean over four."""
    found = [example(3, "a"), example(1, "b"), example(2, "c")]
    batch = taught_batch(found, {"a": 1.0, "b": 0.5, "c": 0.0}, 2.0)
    assert batch.weights_N.tolist() == pytest.approx([1 / 6] * 6)
    assert batch.teacher_weights_N is not None
    assert batch.teacher_weights_N.tolist() == [0.5, 0.5, 0.5, 0.25, 0.0, 0.0]
    alike = taught_batch([replace(e, source="eval") for e in found], {}, 1.0).teacher_weights_N
    assert alike is not None and alike.tolist() == pytest.approx([1 / 6] * 6)
