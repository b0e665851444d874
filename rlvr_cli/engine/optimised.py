"""A module under DeepSpeed ZeRO: micro-batches, optimizer updates, whole weights, saving and loading.

What policy (`trainer.py`) and critic (`critic.py`) share. An update is sequences, which of their tokens
are trained, per-token tensors, and an objective that turns the module's scores into a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import deepspeed
import numpy as np
import torch
from torch import Tensor, nn

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import universal
from rlvr_cli.engine.adamw import make_optimizer
from rlvr_cli.engine.adapters import change_of, parameters_of, takes_weights
from rlvr_cli.engine.asleep import Asleep, Sleeper, awake, scratch_of, state_of, sums_of
from rlvr_cli.engine.attention import pads, shares_prompts
from rlvr_cli.engine.deepspeed_config import sum_in_fp32
from rlvr_cli.engine.gradient_search import LARGEST, above
from rlvr_cli.engine.interface import Objective, SpikeRule
from rlvr_cli.engine.layers import LayerRule, Layers
from rlvr_cli.engine.localise import Row, localise
from rlvr_cli.engine.masked import NO_MASKS, Masks
from rlvr_cli.engine.merge import Merge
from rlvr_cli.engine.metric_sums import MetricSums
from rlvr_cli.engine.nonfinite import Check, discard, trace
from rlvr_cli.engine.pack import Bundle, MicroBatch, collate, select
from rlvr_cli.engine.sharded_linear import with_sharded_linear
from rlvr_cli.engine.shares import owners_of, share_of
from rlvr_cli.engine.snapshot import Snapshots
from rlvr_cli.engine.ulysses import ALONE, Ulysses, share_rows
from rlvr_cli.engine.update_size import update_size
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.schema import WeightMask


class Optimised(Sleeper):
    """A module whose forward scores tokens, its AdamW and its shards, on every rank."""

    scores: ClassVar[tuple[str, ...]]
    """What `forward` returns, for the reader; only what can be NaN."""
    ulysses: Ulysses = ALONE
    """The ranks it shares its micro-batches with."""
    masks: Masks = NO_MASKS
    """Where some entries of its weights are frozen."""

    def __init__(
        self,
        hf: Any,
        module: nn.Module,
        settings: Settings,
        config: dict[str, Any],
        *,
        tokens_per_microbatch: int,
        layer_rule: LayerRule | None = None,
        log_layers: bool = False,
        spikes: SpikeRule | None = None,
        mask: WeightMask | None = None,
    ) -> None:
        """`module` holds the Hugging Face model `hf`. layer_rule scales the gradient group by group.

        spikes: say when to search for the tokens behind a large gradient; what is found waits in `hits`.
        """
        self.hf = hf
        self.settings = settings
        self.tokens_per_microbatch = tokens_per_microbatch
        self.ulysses = share_rows(settings, hf.config, packed=shares_prompts(hf))
        self.padded = pads(hf)
        self.layer_rule = layer_rule
        self.log_layers = log_layers
        self.spikes = spikes
        self.hits: list[Row] = []
        if mask is not None:
            self.masks = Masks(hf, mask, settings.zero_stage)
        self.trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = make_optimizer(self.trained, settings, masked=bool(self.masks.parameters))
        self.engine, *_ = deepspeed.initialize(
            model=module, model_parameters=self.trained, optimizer=optimizer, config=config
        )
        sum_in_fp32(self.engine, settings)
        self.merge = Merge()  # of the last `weights()`
        self._snapshots = self.engine.checkpoint_engine = Snapshots()
        self.engine._copy_recovery_script = lambda path: None  # a file written between two collectives
        self.layers = Layers(self.engine.module, settings.zero_stage)
        self.parameters = sum(getattr(p, "ds_numel", p.numel()) for p in module.parameters())

    # ---------------------------------------------------------------- scoring and updating

    def forward(self, module: Any, micro: MicroBatch) -> tuple[Tensor, ...]:
        """Scores of the micro-batch's trained tokens under `module`, which may be another than the engine."""
        raise NotImplementedError

    @awake
    @with_sharded_linear
    def collect(
        self,
        module: Any,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        forward: Callable[[Any, MicroBatch], Sequence[Tensor]] | None = None,
        owners: list[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Scores of all trained tokens, each flat _N on the CPU of every rank. `owners`: see `Batch`."""
        total = sum(int(mask.sum()) for mask in trained)
        out = torch.zeros(0, total)
        module.eval()
        with torch.no_grad():
            for micro in self.micro_batches(sequences, trained, owners):
                heart.beat()
                scores = torch.stack(tuple((forward or self.forward)(module, micro)))
                if len(out) == 0:
                    out = torch.zeros(len(scores), total)
                if len(micro.tokens_n) and self.ulysses.leads:
                    out[:, micro.tokens_n] = scores.cpu()
        return distributed.sum_over_ranks(out).unbind()

    @awake
    @with_sharded_linear
    def update(self, batch: Batch, objective: Objective, *, lr: float) -> dict[str, float]:
        """One optimizer update over all sequences of `batch`, of which each rank computes its share.

        Returns loss, grad_norm (before clipping), relative_update (`update_size.py`), and the mean of every
        metric of the objective (over which tokens: `MetricSums`), of some also the maximum.
        Raises NonFinite before weights and optimizer are touched, on all ranks alike, when something is NaN
        or infinite; gradients already accumulated are forgotten.
        """
        self.engine.train()
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        micro_batches = self.micro_batches(batch.sequences, batch.trained, batch.owners)
        sums, check = MetricSums(), Check()
        for i, micro in enumerate(micro_batches):
            heart.beat()
            self.engine.set_gradient_accumulation_boundary(i == len(micro_batches) - 1)
            scores = self.forward(self.engine, micro)
            if len(micro.tokens_n):
                at_tokens = select(batch, micro)
                loss, metrics = objective(*scores, at_tokens)
                if self.ulysses.leads:
                    sums.add(loss, metrics, at_tokens["weights"])
                check.add(loss, scores, at_tokens)
            else:
                loss = scores[0].sum() * 0.0
            # The weights already divide by counts over all ranks and micro-batches, but DeepSpeed averages
            # gradients over ranks (hence the factor) and would divide by accumulation steps (hence False).
            # Ranks that share a micro-batch have the same loss, and each the gradient of its own tokens.
            self.engine.backward(loss * distributed.world_size(), scale_wrt_gas=False)
        if batch.notes is not None and not self.ulysses.leads:
            batch.notes.zero_()
        self.masks.still(self.layers, self.engine)
        totals, norm = sums.reduced(), self.layers.norm()
        # DeepSpeed would leave such an update out without a word in fp32, and make it in bf16.
        if not check.agreed() or above(norm, LARGEST):
            discard(self.engine, self.settings.zero_stage, self.settings.precision)
            raise trace(self, batch, objective, norm)
        if self.spikes is not None:
            self._localise(self.spikes, batch, objective, norm, len(micro_batches))
        return totals | self._step(norm)

    def _localise(
        self, spikes: SpikeRule, batch: Batch, objective: Objective, norm: float, micro_batches: int
    ) -> None:
        weights_N = batch.weights_N.double()
        tokens = float(weights_N.sum() ** 2 / weights_N.square().sum())
        spike = spikes.spiked(norm / float(weights_N.sum()), tokens, micro_batches)
        if spike is not None:
            rows = localise(self, batch, objective, spike=spike, budget=spikes.localise_budget)
            self.hits += [{"grad_norm": norm} | row for row in rows]

    def take_hits(self) -> list[Row]:
        """What searches have found since the last call."""
        hits, self.hits = self.hits, []
        return hits

    def _step(self, norm: float) -> dict[str, float]:
        """The optimizer step, layer by layer scaled where that is asked for; norms before any clipping."""
        found = {}
        if self.layer_rule is not None or self.log_layers:
            norms = self.layers.norms()
            if self.log_layers:
                found = {f"grad_norm/{layer}": value for layer, value in norms.items()}
            if self.layer_rule is not None:
                factors, metrics = self.layer_rule(norms)
                self.layers.scale(factors)
                found |= metrics
        self.engine.step()
        size = update_size(self.engine.optimizer, self.trained, self.settings.zero_stage)
        return found | self.masks.metrics() | {"grad_norm": norm} | size

    def owners(
        self, updates: Sequence[Sequence[int]], lengths: Sequence[int], prompts: Sequence[bytes]
    ) -> list[int]:
        """The rank that is to have each sequence (`shares.owners_of`), the first of those that share it."""
        budget, shared = self.tokens_per_microbatch, prompts if shares_prompts(self.hf) else None
        size = self.ulysses.size
        return owners_of(updates, lengths, tokens_per_microbatch=budget, prompts=shared, together=size)

    def share(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], owners: list[int] | None = None
    ) -> list[list[Bundle]]:
        """This rank's micro-batches of the sequences; all ranks must call it."""
        budget, shared = self.tokens_per_microbatch, shares_prompts(self.hf)
        return share_of(
            sequences,
            trained,
            owners,
            tokens_per_microbatch=budget,
            padded=self.padded,
            share_prompts=shared,
            together=self.ulysses.size,
        )

    def micro_batches(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], owners: list[int] | None = None
    ) -> list[MicroBatch]:
        """This rank's share of the sequences; all ranks must call it."""
        counts = np.array([int(mask.sum()) for mask in trained])
        starts = np.concatenate([[0], counts.cumsum()[:-1]])
        share = self.share(sequences, trained, owners)
        return [collate(bundles, sequences, trained, starts, padded=self.padded) for bundles in share]

    # ---------------------------------------------------------------- sleep

    def sleep(self) -> None:
        """Between updates: give the memory of weights and optimizer back. What needs them wakes them."""
        if not self.asleep:
            optimizer = self.engine.optimizer
            state = state_of(self.engine.module, optimizer)
            self._asleep = Asleep(chain(state, self.masks.flats()), sums_of(optimizer), scratch_of(optimizer))

    # ---------------------------------------------------------------- weights

    @awake
    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole tensor) of every weight, adapters merged in; all ranks in step.

        Tensors are the live ones where possible: read them before the next update, never write.
        """
        base = self.hf.get_base_model() if hasattr(self.hf, "get_base_model") else self.hf
        modules = dict(base.named_modules())
        sharded = self.settings.zero_stage == 3
        self.merge = Merge()
        for name, parameter in base.named_parameters():
            if ".lora_" in name:
                continue
            owner, is_adapted, leaf = name.partition(".base_layer.")
            layer = modules[owner] if is_adapted and leaf == "weight" else None
            needed = [parameter]
            if layer is not None:
                needed += parameters_of(layer)
            with deepspeed.zero.GatheredParameters(needed, enabled=sharded), torch.no_grad():
                whole = parameter.detach()
                if layer is not None:
                    whole = self.merge(whole, change_of(self.hf, layer, whole))
                elif sharded:
                    whole = whole.clone()  # the gathered storage is freed when this block ends
            yield (f"{owner}.{leaf}" if is_adapted else name), whole

    def state_dict(self) -> dict[str, Tensor]:
        """All weights on the CPU of rank 0; empty elsewhere. All ranks must call it."""
        keep = distributed.rank() == 0
        return {name: w.to("cpu", copy=True).contiguous() for name, w in self.weights() if keep}

    # ---------------------------------------------------------------- checkpoints

    @awake
    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]:
        """This rank's files of a checkpoint: weights, optimizer and master copies by name `tag/...`.

        For `torch.save`. Copies in CPU memory, or else the live tensors, which the next update changes.
        All ranks must call it.
        """
        self._snapshots.copies = copies
        self.engine.save_checkpoint(".", tag=tag, save_latest=False)
        files, self._snapshots.files = self._snapshots.files, {}
        files |= self.masks.snapshot(tag, self.engine)
        return files

    @awake
    def load(self, folder: Path, tag: str) -> None:
        """Restore the files of `snapshot` from `folder`, whatever ranks and ZeRO stage they are of.

        All ranks must call it. Raises FileNotFoundError where there are none.
        """
        saved, stage = universal.Saved(folder / tag), self.settings.zero_stage
        self.masks.load(folder / tag)
        if saved.stage != stage or (stage > 0 and saved.ranks != distributed.world_size()):
            universal.load(self.engine, saved, stage, beneath=takes_weights(self.hf))
        else:
            self.engine.load_checkpoint(str(folder), tag=tag)
        self.masks.place(self.engine)
