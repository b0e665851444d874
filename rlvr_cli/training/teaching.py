"""What the teacher has to say of a step's tokens: in the advantages, or beside the policy in its update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.types import Batch, Elsewhere, Group, elsewhere
from rlvr_cli.engine.teacher import Known, States, taught
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.tracking import Timer
from rlvr_cli.training.whole_update import Aggregation

Prompts = Sequence[np.ndarray | None]
"""What the teacher reads in the place of the prompt; None: there is no teacher for it."""


class AnyTeacher(Protocol):
    """A model in this process (`engine.teacher.Teacher`) or on a server (`teacher_server.ServerTeacher`)."""

    def logprobs(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, owners: list[int] | None = None
    ) -> Tensor: ...

    def read(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        places: Tensor,
        total: int,
        owners: list[int] | None = None,
    ) -> States | Known: ...

    @property
    def may_fail(self) -> bool: ...

    def at_hand(self) -> Any: ...

    def sleep(self) -> None: ...


class Lessons:
    """The teacher of a run with what it is asked; counts the tokens it reads."""

    def __init__(self, teacher: AnyTeacher, option: Any, *, vocabulary: int, room: int) -> None:
        """`option`: that of the axis `distillation`. `vocabulary`: tokens that policy and teacher know;
        `room`: most tokens that the teacher reads."""
        self.teacher, self.option, self.vocabulary, self.room = teacher, option, vocabulary, room
        self.tokens = 0
        self._ready: dict[int, Known | States] = {}

    def sleep(self) -> None:
        """Give the device memory of a teacher in this process back; it wakes when it is asked."""
        self.teacher.sleep()

    def opinion(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        weights_N: Tensor,
        owners: list[int] | None,
        prompts: Prompts | None,
        old_N: Tensor,
    ) -> Tensor:
        """The teacher's logprobs of the sampled tokens, and the policy's own where it has no say: _N."""
        rows, places = heard(trained, weights_N)
        teacher_N = old_N.clone()
        if rows:
            asked = self._asked(sequences, trained, prompts, rows)
            teacher_N[places] = self.teacher.logprobs(*asked, owners=picked(owners, rows))
        return teacher_N

    @contextmanager
    def beside(self, trainer: Trainer, batch: Batch, timer: Timer) -> Iterator[None]:
        """Within the block updates with `batch` compare the policy with the teacher. All ranks must call
        it."""
        lesson = self._ready.pop(id(batch), None) or self.lesson(batch, timer)
        if lesson is None:
            yield
            return
        with self.compared(trainer, lesson):
            yield

    @contextmanager
    def compared(self, trainer: Trainer, lesson: Known | States) -> Iterator[None]:
        """Within the block each forward pass of the policy at the lesson's tokens is compared with it."""
        with self.teacher.at_hand(), taught(trainer, lesson, self.option, self.vocabulary):
            yield

    def ask_first(self, batches: Sequence[Batch], timer: Timer) -> None:
        """Ask a teacher that may fail about all updates of a step before the first of them is made."""
        self._ready = {}
        if self.teacher.may_fail:
            lessons = {id(batch): self.lesson(batch, timer) for batch in batches}
            self._ready = {key: lesson for key, lesson in lessons.items() if lesson is not None}

    def lesson(self, batch: Batch, timer: Timer) -> Known | States | None:
        """What the teacher makes of an update's tokens; None where it has no say. All ranks must call it."""
        rows: list[int] = []
        if self.option.in_loss and batch.teacher_weights_N is not None:
            rows, places = heard(batch.trained, batch.teacher_weights_N)
        if not rows:
            return None
        with timer("teacher"):
            asked = self._asked(batch.sequences, batch.trained, batch.teacher_prompts, rows)
            return self.teacher.read(*asked, places, len(batch.weights_N), picked(batch.owners, rows))

    def _asked(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        prompts: Prompts | None,
        rows: list[int],
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        asked = view(
            [sequences[r] for r in rows], [trained[r] for r in rows], prompts and [prompts[r] for r in rows]
        )
        self.tokens += sum(map(len, asked[0]))
        return asked


def picked(owners: list[int] | None, rows: list[int]) -> list[int] | None:
    return None if owners is None else [owners[r] for r in rows]


def heard(trained: Sequence[np.ndarray], weights_N: Tensor) -> tuple[list[int], Tensor]:
    """The sequences that have a teacher at any token, and where their tokens lie in _N."""
    counts = [int(mask.sum()) for mask in trained]
    spans = torch.arange(sum(counts)).split(counts)
    rows = [r for r, at in enumerate(spans) if bool((weights_N[at] != 0).any())]
    return rows, torch.cat([spans[r] for r in rows]) if rows else torch.zeros(0, dtype=torch.int64)


def view(
    sequences: Sequence[np.ndarray], trained: Sequence[np.ndarray], prompts: Prompts | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sequences and masks as the teacher reads them: other prompts, the same tokens after them."""
    if prompts is None:
        return list(sequences), list(trained)
    read: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for sequence, mask, prompt in zip(sequences, trained, prompts, strict=True):
        assert prompt is not None  # a sequence without one has no teacher
        begin = int(mask.argmax())
        masks.append(np.concatenate([np.zeros(len(prompt), bool), mask[begin:]]))
        if isinstance(sequence, Elsewhere):
            read.append(elsewhere(len(masks[-1])))
        else:
            read.append(np.concatenate([prompt, sequence[begin:]]).astype(np.int32))
    return read, masks


def teacher_weights(groups: list[Group], weights: dict[str, float], prompts: Prompts | None) -> Tensor:
    """How much each sampled token of the groups is the teacher's: its source's weight, 0 without a prompt."""
    lengths_B = torch.tensor([c.length for g in groups for c in g.completions])
    of_B = [weights[g.problem.source] for g in groups for _ in g.completions]
    if prompts is not None:
        of_B = [0.0 if prompt is None else weight for weight, prompt in zip(of_B, prompts, strict=True)]
    return torch.tensor(of_B).repeat_interleave(lengths_B)


def with_opinion(
    option: Any,
    advantages_N: Tensor,
    old_N: Tensor | None,
    lengths_B: Tensor,
    *,
    teacher_weights_N: Tensor,
    teacher_logprobs_N: Tensor | None = None,
) -> Tensor:
    """The verifier's advantages times `task_coef`, and the teacher's added where it is a matter of these:
    _N."""
    advantages_N = option.task_coef * advantages_N
    if teacher_logprobs_N is None:
        return advantages_N
    return advantages_N + teacher_weights_N * option(old_N, teacher_logprobs_N, lengths_B)


def normalised(batch: Batch, option: Any, aggregation: Aggregation, prompts: Prompts | None) -> Batch:
    """The batch with `teacher_weights_N` times coef, divided as the aggregation divides, over tokens that
    have both a loss and a teacher."""
    assert batch.teacher_weights_N is not None
    members = list(dict.fromkeys(batch.samples))
    keep_N = (batch.weights_N != 0) & (batch.teacher_weights_N != 0)
    share_N = torch.zeros_like(batch.weights_N)
    if bool(keep_N.any()):
        share_N = aggregation(keep_N, members)
    return replace(
        batch,
        teacher_weights_N=option.coef * share_N * batch.teacher_weights_N,
        teacher_prompts=None if prompts is None else [prompts[b] for b in batch.samples],
    )
