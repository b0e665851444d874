"""Worker side of weight sync: a vLLM weight-transfer backend for weights handed over in this process.

Importing this module registers the backend; vLLM imports it as `worker_extension_cls` before it makes
the worker. Written for vLLM 0.32 and pinned to it: on CPU its layerwise reload leaves two kinds of
packed weights stale without a word (see `repack_cpu_weights`), and the repair uses private parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.platforms import current_platform

from rlvr_cli.rollout.audit import Audit
from rlvr_cli.rollout.fingerprints import Receipt

BACKEND = "rlvr"


@dataclass
class InitInfo(WeightTransferInitInfo):
    """Nothing to agree on within one process."""


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """Handed over by reference: an in-process engine does not serialise."""

    weights: Any = None
    receipt: Receipt = field(default_factory=Receipt)
    """Filled in when the update is finished."""


class InProcessTransfer(WeightTransferEngine[InitInfo, UpdateInfo]):
    """Loads (Hugging Face name, tensor) pairs through vLLM's own weight loaders."""

    init_info_cls, update_info_cls = InitInfo, UpdateInfo
    updates = 0
    packed: frozenset[str] = frozenset()
    """What the engine packs, as the sync before has seen."""

    def init_transfer_engine(self, init_info: InitInfo) -> None:
        pass

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        weights: Iterable[tuple[str, Tensor]] = update_info.weights
        model: Any = self.model
        self.updates += 1
        self.receipt = update_info.receipt
        self.audit = Audit(model, seed=self.updates, packed=self.packed)
        with self.audit:
            self.loaded = model.load_weights(self.audit.outside(weights, self.device))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        repack_cpu_weights(self.model)
        self.audit.settle(self.receipt, self.loaded)
        self.packed = self.audit.packed
        del self.audit, self.receipt, self.loaded

    def shutdown(self) -> None:
        pass


if BACKEND not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine(BACKEND, InProcessTransfer)


class WorkerExtension:
    """Named in `worker_extension_cls` so that vLLM imports this module; adds no methods."""


def repack_cpu_weights(model: nn.Module) -> None:
    """Rebuild what vLLM 0.32 on CPU leaves stale after a reload.

    A tied lm_head keeps the GEMM made from the old embedding, and MoE experts are left unpacked where the
    kernel expects them packed. The second repair would pack twice if a later vLLM packed by itself,
    hence the exact version pin and the self-check at start.
    """
    if not current_platform.is_cpu():
        return
    with torch.no_grad():
        for module in model.modules():
            kind = type(module).__name__
            if kind in ("ParallelLMHead", "VocabParallelEmbedding") and hasattr(module, "cpu_linear"):
                dispatch_cpu_unquantized_gemm(module, remove_weight=False)
            elif kind == "RoutedExperts":
                kernel = getattr(module.quant_method, "moe_kernel", None)
                experts = getattr(kernel, "fused_experts", None)
                if experts is not None and hasattr(experts, "process_weights_after_loading"):
                    experts.process_weights_after_loading(module)
