"""The DeepSpeed engine: scores tokens, makes optimizer updates, hands out weights, saves and loads itself.

Knows nothing of rewards or rollouts: an update is sequences, which of their tokens are trained, per-token
tensors, and an objective that turns scores into a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import torch
from torch import Tensor

from rlvr_cli.engine import distributed
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.model import load_model
from rlvr_cli.engine.pack import MicroBatch, collate, plan
from rlvr_cli.engine.zero import deepspeed_config
from rlvr_cli.schema import Model, Precision
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.types import Batch

Objective = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""(logprobs_n, entropies_n, hits_n, the batch's tensors at these tokens) -> (loss, per-token metrics)."""


class NonFiniteLoss(RuntimeError):
    """The loss of an update is NaN or infinite; the weights have not been touched."""


class Trainer:
    """One policy under DeepSpeed ZeRO, on every rank."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        tokens_per_microbatch: int,
        max_grad_norm: float,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        row_capacity: int | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = settings
        self.tokens_per_microbatch = tokens_per_microbatch
        self.temperature = temperature
        self.entropy_gradient = entropy_gradient
        self.row_capacity = row_capacity
        config = deepspeed_config(settings, max_grad_norm=max_grad_norm)
        torch.manual_seed(seed)  # LoRA's initial weights must not differ between ranks
        self.hf: Any = load_sharded(model, settings, config)
        scorer = Scorer(self.hf)
        self.vocabulary = scorer.vocabulary
        trained = [p for p in scorer.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trained,
            lr=settings.lr,
            betas=(settings.betas[0], settings.betas[1]),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.engine, *_ = deepspeed.initialize(
            model=scorer, model_parameters=trained, optimizer=optimizer, config=config
        )
        self.parameters = sum(getattr(p, "ds_numel", p.numel()) for p in scorer.parameters())

    # ---------------------------------------------------------------- scoring and updating

    def score(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, temperature: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logprobs, entropies and greedy hits of all trained tokens, flat _N on the CPU of every rank."""
        return score_with(self, self.engine, sequences, trained, temperature=temperature)

    def update(self, batch: Batch, objective: Objective, *, lr: float) -> dict[str, float]:
        """One optimizer update over all sequences of `batch`, which every rank holds.

        Returns loss, grad_norm (before clipping), and the mean over tokens with a weight of every metric
        of the objective; of `mismatch_abs` also the maximum.
        Raises NonFiniteLoss before the weights are touched.
        """
        self.engine.train()
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        micro_batches = self.micro_batches(batch.sequences, batch.trained)
        tally = _Tally()
        for i, micro in enumerate(micro_batches):
            self.engine.set_gradient_accumulation_boundary(i == len(micro_batches) - 1)
            scores = self.forward(self.engine, micro)
            if len(micro.tokens_n):
                at_tokens = self._select(batch, micro)
                loss, metrics = objective(*scores, at_tokens)
                tally.add(loss, metrics, at_tokens["weights"])
            else:
                loss = scores[0].sum() * 0.0
            # The weights already divide by counts over all ranks and micro-batches, but DeepSpeed averages
            # gradients over ranks (hence the factor) and would divide by accumulation steps (hence False).
            self.engine.backward(loss * distributed.world_size(), scale_wrt_gas=False)
        totals = tally.reduced()
        if not np.isfinite(totals["loss"]):
            raise NonFiniteLoss(f"the loss of this update is {totals['loss']}")
        norm = self._unsharded_grad_norm() if self._plain_optimizer else None
        self.engine.step()
        totals["grad_norm"] = float(self.engine.get_global_grad_norm() if norm is None else norm)
        return totals

    def forward(
        self, module: Any, micro: MicroBatch, temperature: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = distributed.device()
        return module(
            micro.input_ids.to(device),
            micro.position_ids.to(device),
            micro.predictors_n.to(device),
            micro.targets_n.to(device),
            self.temperature if temperature is None else temperature,
            self.entropy_gradient,
        )

    def micro_batches(self, sequences: list[np.ndarray], trained: list[np.ndarray]) -> list[MicroBatch]:
        """This rank's share of the sequences."""
        plans = plan(
            [len(s) for s in sequences],
            ranks=distributed.world_size(),
            tokens_per_microbatch=self.tokens_per_microbatch,
            capacity=self.row_capacity,
        )
        counts = np.array([int(mask.sum()) for mask in trained])
        starts = np.concatenate([[0], counts.cumsum()[:-1]])
        return [collate(rows, sequences, trained, starts) for rows in plans[distributed.rank()]]

    @staticmethod
    def _select(batch: Batch, micro: MicroBatch) -> dict[str, Tensor]:
        """The batch's per-token tensors at this micro-batch's tokens, on the device."""
        whole = {
            "weights": batch.weights_N,
            "rollout_logprobs": batch.rollout_logprobs_N,
            "advantages": batch.advantages_N,
            "old_logprobs": batch.old_logprobs_N,
            "ref_logprobs": batch.ref_logprobs_N,
        }
        device = distributed.device()
        picked = {key: x[micro.tokens_n].to(device) for key, x in whole.items() if x is not None}
        return picked | {"lengths": micro.lengths_b.to(device)}

    @property
    def _plain_optimizer(self) -> bool:
        """ZeRO 0 in fp32 leaves the gradients whole and does not report their norm."""
        return self.settings.zero_stage == 0 and self.settings.precision is Precision.fp32

    def _unsharded_grad_norm(self) -> float:
        grads = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads))

    # ---------------------------------------------------------------- weights

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole tensor) of every weight, adapters merged in; all ranks in step.

        Tensors are the live ones where possible: read them before the next update, never write.
        """
        base = self.hf.get_base_model() if hasattr(self.hf, "get_base_model") else self.hf
        modules = dict(base.named_modules())
        sharded = self.settings.zero_stage == 3
        for name, parameter in base.named_parameters():
            if ".lora_" in name:
                continue
            owner, is_adapted, leaf = name.partition(".base_layer.")
            layer = modules[owner] if is_adapted and leaf == "weight" else None
            needed = [parameter]
            if layer is not None:
                needed += [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
            with deepspeed.zero.GatheredParameters(needed, enabled=sharded), torch.no_grad():
                whole = parameter.detach()
                if layer is not None:
                    whole = whole + layer.get_delta_weight("default").to(whole.dtype)
                elif sharded:
                    whole = whole.clone()  # the gathered storage is freed when this block ends
            yield (f"{owner}.{leaf}" if is_adapted else name), whole

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU of rank 0; empty elsewhere. All ranks must call it."""
        keep = distributed.rank() == 0
        return {name: w.to("cpu", copy=True).contiguous() for name, w in self.weights() if keep}

    # ---------------------------------------------------------------- checkpoints

    def save(self, folder: Path, tag: str) -> None:
        """Write weights, optimizer and master copies under `folder/tag`; all ranks must call it."""
        self.engine.save_checkpoint(str(folder), tag=tag, save_latest=False)

    def load(self, folder: Path, tag: str) -> None:
        """Restore what `save` wrote. Raises RuntimeError when DeepSpeed finds nothing there."""
        path, _ = self.engine.load_checkpoint(str(folder), tag=tag)
        if path is None:
            raise RuntimeError(f"no trainer state in {folder / tag}")

    def reset_optimizer(self) -> None:
        """Forget Adam's moments and step counts (ProRL's reference reset)."""
        inner = getattr(self.engine.optimizer, "optimizer", self.engine.optimizer)
        for state in inner.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()


def score_with(
    trainer: Trainer,
    module: Any,
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    *,
    temperature: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of all trained tokens under `module` (policy or reference), gathered on every rank."""
    total = sum(int(mask.sum()) for mask in trained)
    out = torch.zeros(3, total)
    module.eval()
    with torch.no_grad():
        for micro in trainer.micro_batches(sequences, trained):
            scores = trainer.forward(module, micro, temperature)
            if len(micro.tokens_n):
                out[:, micro.tokens_n] = torch.stack(scores).cpu()
    out = distributed.sum_over_ranks(out).cpu()
    return out[0], out[1], out[2]


def load_sharded(model: Model, settings: Settings, config: dict[str, Any]) -> torch.nn.Module:
    """Under ZeRO-3 the weights are sharded while they are read, so that no rank ever holds the model."""
    if settings.zero_stage != 3:
        return load_model(model, settings.precision)
    from transformers.integrations import HfDeepSpeedConfig

    keep_alive = HfDeepSpeedConfig(config)  # from_pretrained looks for a live instance
    hf = load_model(model, settings.precision)
    del keep_alive
    return hf


class _Tally:
    """Sums of the loss and of per-token metrics over micro-batches and ranks."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.count = 0.0
        self.sums: dict[str, float] = {}
        self.largest_gap = 0.0

    def add(self, loss: Tensor, metrics: dict[str, Tensor], weights_n: Tensor) -> None:
        kept_n = weights_n != 0
        self.loss += float(loss.detach())
        self.count += float(kept_n.sum())
        for name, value_n in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value_n.detach()[kept_n].float().sum())
        if "mismatch_abs" in metrics and kept_n.any():
            self.largest_gap = max(self.largest_gap, float(metrics["mismatch_abs"][kept_n].max()))

    def reduced(self) -> dict[str, float]:
        """Global loss and token means; the same on every rank."""
        names = sorted(set().union(*distributed.gather(sorted(self.sums))))
        row = [self.loss, self.count, *(self.sums.get(name, 0.0) for name in names)]
        loss, count, *sums = distributed.sum_over_ranks(torch.tensor(row, dtype=torch.float64)).tolist()
        metrics = {"loss": loss} | {n: s / max(count, 1.0) for n, s in zip(names, sums, strict=True)}
        if "mismatch_abs" in metrics:
            gap = distributed.max_over_ranks(torch.tensor([self.largest_gap], dtype=torch.float64))
            metrics["mismatch_max"] = float(gap)
        return metrics
