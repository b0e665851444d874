"""A teacher's view of the tokens of an update, and the policy compared with it chunk by chunk.

Before an update the teacher reads its sequences and keeps, on the rank that trains on them, the last hidden
states of the trained tokens: width numbers for each instead of a vocabulary. In the output layer of the
policy, and again when the backward pass recomputes a chunk, they become logits, never for more than a chunk.
Both models are cut to the tokens the tokenizer knows first: their padded rows may differ in number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed, tensor_files
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.engine.asleep import awake
from rlvr_cli.engine.attention import pads
from rlvr_cli.engine.frozen import Frozen
from rlvr_cli.engine.logprobs import Compare, OutputLayer
from rlvr_cli.engine.sharded_linear import with_sharded_linear
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model

SCORES = 4
"""What a comparison adds to a token's scores: divergence, the teacher's logprob, masses of student and
teacher."""


class Rule(Protocol):
    """`algorithms.distillation.DistillationLoss`, as it is used here."""

    def compare(self, student_nV: Tensor, teacher_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, ...]: ...

    def compare_given(
        self, student_nV: Tensor, ids_nk: Tensor, teacher_nk: Tensor, spoken_n: Tensor
    ) -> tuple[Tensor, ...]: ...


@dataclass(slots=True, kw_only=True)
class Known:
    """What a server has said of this rank's tokens."""

    rows_N: Tensor
    """Of each token of the update its row below, or -1: not this rank's, or without a teacher."""
    ids_nk: Tensor
    logprobs_nk: Tensor
    spoken_n: Tensor
    """Logprobs of the sampled tokens."""

    def scores(self, rule: Rule, student_cV: Tensor, targets_c: Tensor, rows_c: Tensor) -> tuple[Tensor, ...]:
        device, at = student_cV.device, rows_c.cpu()
        ids_ck, known_ck, spoken_c = (
            x[at].to(device) for x in (self.ids_nk, self.logprobs_nk, self.spoken_n)
        )
        return rule.compare_given(student_cV, ids_ck, known_ck.to(student_cV), spoken_c.to(student_cV))


@dataclass(slots=True, kw_only=True)
class States:
    """The teacher's hidden states of this rank's tokens, and the layer that makes logits of them."""

    rows_N: Tensor
    """As in `Known`."""
    hidden_nD: Tensor
    head: Callable[[], OutputLayer]
    temperature: float

    def scores(self, rule: Rule, student_cV: Tensor, targets_c: Tensor, rows_c: Tensor) -> tuple[Tensor, ...]:
        hidden_cD = self.hidden_nD[rows_c.cpu()].to(student_cV.device)
        logits_cV = self.head().logits(hidden_cD)[:, : student_cV.shape[-1]]
        teacher_cV = logits_cV.to(student_cV.dtype) / self.temperature
        return rule.compare(student_cV[:, : teacher_cV.shape[-1]], teacher_cV.log_softmax(-1), targets_c)


@contextmanager
def taught(trainer: Trainer, lesson: Known | States, rule: Rule, vocabulary: int) -> Iterator[None]:
    """Within the block each forward pass of the policy also compares it with the teacher."""
    limit = vocabulary
    if isinstance(lesson, States):
        limit = min(limit, lesson.head().vocabulary)

    def of(tokens_n: Tensor) -> Compare:
        # Of an empty share one placeholder is compared, which nobody has heard.
        rows_n = lesson.rows_N[tokens_n] if len(tokens_n) else lesson.rows_N.new_full((1,), -1)
        rows_n = rows_n.to(distributed.device())

        def compare(logits_cV: Tensor, targets_c: Tensor, places_c: Tensor) -> tuple[Tensor, ...]:
            rows_c = rows_n[places_c]
            seen_c = rows_c >= 0
            scores = logits_cV.new_zeros(SCORES, len(rows_c))
            if bool(seen_c.any()):
                student_cV = logits_cV[seen_c][:, :limit].log_softmax(-1)
                found = lesson.scores(rule, student_cV, targets_c[seen_c], rows_c[seen_c])
                scores[:, seen_c] = torch.stack([x.to(scores.dtype) for x in found])
            return tuple(scores)

        return compare

    trainer.beside = of
    try:
        yield
    finally:
        trainer.beside = None


class Teacher(Frozen):
    """A teacher in this process: a model of its own, or the policy without its adapters, or as it is
    (`live`).

    Frozen as the reference policy is, in the policy's precision and ZeRO stage.
    """

    may_fail = False

    def __init__(self, model: Model, trainer: Trainer, *, load: bool = True, live: bool = False) -> None:
        """UserError where its sequences cannot be laid out as the policy's."""
        self.live = live
        super().__init__(model, trainer, load=load)
        if self.module is not None and pads(self.scorer.model) != trainer.padded:
            raise UserError(
                f"teacher: of '{model.path}' and the policy one alone can have sequences end to end in a "
                "row; set "
                "model.attention=sdpa"
            )
        adapted = hasattr(trainer.hf.get_output_embeddings(), "base_layer")
        if self.module is None and not live and adapted:
            raise UserError(
                "teacher.policy=start: model.lora.targets adapts the output layer, which the teacher needs "
                "without; name the layers in model.lora.targets"
            )

    @property
    def head(self) -> OutputLayer:
        layer: OutputLayer = (self.scorer if self.module is not None else self.trainer.engine.module).head
        return layer

    def logprobs(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, owners: list[int] | None = None
    ) -> Tensor:
        if self.live:
            return self.trainer.score(sequences, trained, owners=owners)[0]
        return super().logprobs(sequences, trained, owners=owners)

    @property
    def settings(self) -> Any:
        return self.trainer.settings

    @awake
    @with_sharded_linear
    def read(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        places: Tensor,
        total: int,
        owners: list[int] | None = None,
    ) -> States:
        """Hidden states of this rank's share of the sequences. All ranks must call it.

        `places`: where their trained tokens lie in an update of `total`.
        """
        self.trainer.wake()
        module = self.module if self.module is not None else self.trainer.engine
        plain = self.module is None and not self.live
        rows_N, found, count = torch.full((total,), -1, dtype=torch.int64), [], 0
        module.eval()
        with torch.no_grad(), self.trainer.hf.disable_adapter() if plain else nullcontext():
            for micro in self.trainer.micro_batches(sequences, trained, owners):
                heart.beat()
                hidden_nD = self.trainer.states(module, micro)
                rows_N[places[micro.tokens_n]] = torch.arange(count, count + len(micro.tokens_n))
                count += len(micro.tokens_n)
                found.append(hidden_nD.cpu())
        return States(
            rows_N=rows_N,
            hidden_nD=torch.cat(found),
            head=lambda: self.head,
            temperature=self.trainer.temperature,
        )

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Within the block its output layer is whole, where it is not a part of the policy."""
        self.wake()
        with ExitStack() as stack:
            if self.module is not None:
                stack.enter_context(self.gathered(list(self.head.layer.parameters())))
            yield


class Average(Teacher):
    """A moving average of the policy's weights, which starts as the start model.

    Kept in fp32 on rank 0 besides: in bf16 a small share of a small step would be rounded away.
    """

    def __init__(self, model: Model, trainer: Trainer, share: float) -> None:
        super().__init__(model, trainer)
        self.share = share
        self.exact = {name: weight.float() for name, weight in self.copies().items()}

    @awake
    def follow(self) -> None:
        """Take the policy's weights in, as they are now. All ranks must call it."""
        self.become(self._moved(), first=True)

    def _moved(self) -> Iterator[tuple[str, Tensor]]:
        for name, weight in self.trainer.weights():
            if distributed.rank() == 0:
                self.exact[name].lerp_(weight.detach().float().cpu(), self.share)
                yield name, self.exact[name]
            else:
                yield name, weight

    def snapshot(self) -> dict[str, Tensor]:
        """Copies for a checkpoint, on rank 0. All ranks must call it."""
        return {name: weight.clone() for name, weight in self.exact.items()}

    def load(self, file: Any) -> None:
        """Become what a snapshot was written to. All ranks must call it."""
        super().load(file)
        if distributed.rank() == 0:
            self.exact = {name: weight.clone() for name, weight in tensor_files.read(file).items()}
