"""Worker side of weight sync: a vLLM weight-transfer backend for weights in parcels, or broadcast to it.

Importing this module registers the backend; vLLM imports it as `worker_extension_cls` in every worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from rlvr_cli.rollout import adapters
from rlvr_cli.rollout.audit import Audit
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers.buckets import apart, size_of
from rlvr_cli.rollout.servers.channel import NCCL, Broken, Channel, Meeting
from rlvr_cli.rollout.servers.names import BACKEND, SEES
from rlvr_cli.rollout.servers.parcels import unpack
from rlvr_cli.rollout.servers.receipts import written
from rlvr_cli.rollout.weights import repack_cpu_weights
from rlvr_cli.rollout.without_torchvision import repair
from rlvr_cli.schema import Lora


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Where the trainer is met for weights that are broadcast (channel.py); empty: they come in parcels,
    and every update says where its parcel lies."""

    host: str = ""
    port: int = 0
    size: int = 0
    backend: str = ""
    timeout_s: float = 0.0
    secret: int = 0
    lora: dict[str, Any] = field(default_factory=dict)
    """Of the adapters that come to the start model (`schema.Lora`); empty: whole weights come."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """One parcel of an update, or one bucket: what is in it, and where. Without a path it is broadcast."""

    path: str = ""
    seals: dict[str, str] = field(default_factory=dict)
    dtype: str = ""
    """Of tensors that lie one after the other; empty: the parcel says what is in it."""
    shapes: dict[str, list[int]] = field(default_factory=dict)


class ServerTransfer(WeightTransferEngine[InitInfo, UpdateInfo]):
    """Loads weights through vLLM's own weight loaders and says in a receipt what has arrived. Adapters wait
    here until the worker asks for it: only it can load them."""

    init_info_cls, update_info_cls = InitInfo, UpdateInfo
    updates = 0
    packed: frozenset[str] = frozenset()
    """What the engine packs, as the sync before has seen."""
    channel: Channel | None = None
    lora: Lora | None = None
    start: adapters.Kept
    """The start model, of an engine with adapters."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.receipt = Receipt()
        self.waiting: dict[str, Tensor] = {}
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        self.shutdown()
        if init_info.lora and self.lora is None:
            self.start = adapters.Kept(self.model)
        self.lora = Lora(**init_info.lora) if init_info.lora else None
        if init_info.host:
            device = torch.device(self.device if init_info.backend == NCCL else "cpu")
            meeting = Meeting(**{each.name: getattr(init_info, each.name) for each in fields(Meeting)})
            self.channel = Channel(meeting, 1 + self.parallel_config.rank, device)

    def start_weight_update(self) -> None:
        self.waiting = {}
        if self.lora is not None:
            self.receipt = Receipt()
            return
        initialize_layerwise_reload(self.model)
        self.updates += 1
        self.receipt, self.audit = Receipt(), Audit(self.model, seed=self.updates, packed=self.packed)
        self.loaded: set[str] | None = set()

    def receive_weights(self, update_info: UpdateInfo) -> None:
        model: Any = self.model
        if self.lora is not None:
            self.waiting |= adapters.copied(self._tensors(update_info))
            return
        with self.audit:
            tensors = self._tensors(update_info)
            loaded = model.load_weights(self.audit.outside(tensors, self.device))
        self.loaded = None if loaded is None or self.loaded is None else self.loaded | loaded

    def _tensors(self, info: UpdateInfo) -> Iterator[tuple[str, Tensor]]:
        """What has come, with broken seals noted."""
        wrong = self.receipt.wrong
        if not info.dtype:
            return unpack(info.path, info.seals, wrong)
        size = size_of(info.dtype, info.shapes)
        if info.path:
            flat = torch.from_file(info.path, shared=False, size=size, dtype=torch.uint8)
        elif self.channel is None:
            raise Broken("weights are broadcast, and this worker is in no group with the trainer")
        else:
            flat = torch.empty(size, dtype=torch.uint8, device=self.channel.device)
            self.channel.wait(self.channel.broadcast(flat))
        return apart(flat, info.dtype, info.shapes, info.seals, wrong)

    def finish_weight_update(self) -> None:
        if self.lora is not None:
            return
        finalize_layerwise_reload(self.model, self.model_config)
        repack_cpu_weights(self.model)
        self.audit.settle(self.receipt, self.loaded)
        self.packed = self.audit.packed
        del self.audit

    def settled(self, worker: Any) -> Receipt:
        """What is known of the last update, once adapters that came with it are the worker's."""
        sent, self.waiting = self.waiting, {}
        if sent and self.lora is not None:
            adapters.put(worker, sent, self.lora, self.start, self.receipt)
        return self.receipt

    def shutdown(self) -> None:
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.leave()


if os.environ.get(SEES):  # an engine's process looks its model up after this
    repair()
if BACKEND not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine(BACKEND, ServerTransfer)


class WorkerExtension:
    """Methods that vLLM adds to its worker."""

    weight_transfer_engine: Any

    def weight_receipt(self) -> dict[str, Any]:
        """What is known of this worker's weights since the last update."""
        engine = self.weight_transfer_engine
        return written(engine.settled(self), parts=engine.parallel_config.world_size > 1)


def _end_with(parent: int) -> None:
    """A worker whose server was killed does not stay behind with its GPU memory."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
