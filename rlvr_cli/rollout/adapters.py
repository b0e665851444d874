"""LoRA adapters in a vLLM engine that keeps the start model: each sync brings the adapters alone.

A worker loads them from files in memory, which is vLLM's public way. It folds the scale into B, and puts
several into one tensor or cuts them, as it does with the weights they belong to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.request import LoRARequest
from vllm.lora.utils import parse_fine_tuned_lora_name

from rlvr_cli.core.errors import UserError
from rlvr_cli.rollout.fingerprints import Ledger, Receipt, fingerprint
from rlvr_cli.schema import Lora

NAME, NUMBER = "policy", 1
"""Of the only adapter, in vLLM."""
MEMORY = Path("/dev/shm")
Pair = tuple[Tensor, Tensor]
"""A [rank, inputs] and B [outputs, rank] of a layer, as the trainer has them."""


class Adapter:
    """The adapter of an engine in this process."""

    request: LoRARequest | None = None
    """What is sampled with; None: nothing was sent yet, and the start model's adapters are 0."""

    def __init__(self, llm: Any, lora: Lora) -> None:
        self._llm, self._lora = llm, lora
        [self._start] = llm.collective_rpc(lambda worker: Kept(worker.get_model()))

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> Receipt:
        """Put (peft's name, whole matrix) in the place of those before. UserError where vLLM takes none."""
        sent, receipt = copied(tensors), Receipt()
        self._llm.collective_rpc(lambda worker: put(worker, sent, self._lora, self._start, receipt))
        self.request = loaded()
        return receipt


def loaded() -> LoRARequest:
    """For a request that is sampled with the adapters which the engine's workers hold."""
    return LoRARequest(NAME, NUMBER, "in memory")


def copied(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Adapters on the CPU: what comes is gone when the next comes."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors}


def put(worker: Any, sent: dict[str, Tensor], lora: Lora, start: Kept, receipt: Receipt) -> None:
    """Adapters in the place of those before, in a worker of vLLM. The receipt says whether it holds them, and
    the start model. UserError where it does not take them."""
    with (
        TemporaryDirectory(prefix="rlvr-adapter-", dir=_roomy(sent.values())) as memory,
        ExitStack() as stack,
    ):
        folder = memory
        try:
            write(Path(folder), sent, lora)
        except (OSError, RuntimeError):  # other workers have filled it meanwhile
            folder = stack.enter_context(TemporaryDirectory(prefix="rlvr-adapter-"))
            write(Path(folder), sent, lora)
        try:
            worker.add_lora(LoRARequest(NAME, NUMBER, folder, load_inplace=True))
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"rollout.lora=adapter: vLLM does not take these adapters; set rollout.lora=merged ({reason})"
            ) from error
    compare(worker.model_runner.lora_manager, sent, lora.scale, receipt)
    start.settle(worker.get_model(), receipt)


class Kept:
    """Fingerprints of the parameters that no sync touches; what a CPU kernel has packed away is not there."""

    def __init__(self, model: nn.Module) -> None:
        self._before = {name: fingerprint(p) for name, p in model.named_parameters() if p.numel()}

    def settle(self, model: nn.Module, receipt: Receipt) -> None:
        """Compare with what the engine holds."""
        ledger, held = Ledger(), dict(model.named_parameters())
        for name, before in self._before.items():
            ledger.add(f"{name} of the start model", before, held[name])
            receipt.compared += held[name].numel()
        receipt.wrong += ledger.differing()


def write(folder: Path, tensors: dict[str, Tensor], lora: Lora) -> None:
    """The files of peft that vLLM reads. Not safetensors: its reader (0.8.0) forgets some memory for every
    tensor that it reads, and this is read after each step."""
    modules = sorted({name.partition(".lora_")[0].rpartition(".")[2] for name in tensors})
    config = {"peft_type": "LORA", "r": lora.rank, "lora_alpha": lora.alpha, "target_modules": modules}
    config["use_rslora"] = lora.rank_stabilised
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.save(tensors, folder / "adapter_model.bin")


def _roomy(tensors: Iterable[Tensor]) -> Path | None:
    """Memory, where it has room (in a container it is often 64 MB), else the usual folder."""
    needed = sum(tensor.nbytes for tensor in tensors)
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 * needed else None


def compare(manager: Any, sent: dict[str, Tensor], scale: float, receipt: Receipt) -> None:
    """What the kernels read with what was sent, in the engine's own type; on this rank its part of it."""
    inner = manager._adapter_manager
    slot, layers, ledger = inner.lora_index_to_id.index(NUMBER), pairs(sent, inner.model), Ledger()
    for name, module in inner.modules.items():
        names = inner.packed_modules.get(name, [name])
        given = [layers.pop(each, None) for each in names]
        if all(pair is None for pair in given):
            continue
        if not isinstance(module, BaseLinearLayerWithLoRA):
            receipt.untold[name] = sum(t.numel() for pair in given if pair for t in pair)
            continue
        for stacked, wanted in expected(module, given, scale):
            held = stacked[slot, 0, : wanted.shape[0], : wanted.shape[1]]
            ledger.add(f"the adapter of {name}", fingerprint(wanted.contiguous().to(held.device)), held)
            receipt.compared += wanted.numel()
    receipt.wrong += ledger.differing()
    receipt.homeless += sorted(layers)


def pairs(sent: dict[str, Tensor], model: Any) -> dict[str, Pair]:
    """vLLM's name of a layer -> its matrices."""
    renamed = getattr(model, "hf_to_vllm_mapper", None)
    mapper = None if renamed is None else renamed.get_rename_mapper()
    halves: dict[str, dict[bool, Tensor]] = {}
    for name, tensor in sent.items():
        layer, is_a = parse_fine_tuned_lora_name(name, mapper)
        halves.setdefault(layer, {})[is_a] = tensor
    return {layer: (half[True], half[False]) for layer, half in halves.items()}


def expected(module: Any, given: list[Pair | None], scale: float) -> Iterator[tuple[Tensor, Tensor]]:
    """(tensor of the engine, which has slots, and what belongs into one) for each A and B of a layer."""
    dtype = module.lora_a_stacked[0].dtype
    a: Any = [None if pair is None else pair[0].to(dtype) for pair in given]
    b: Any = [None if pair is None else pair[1].to(dtype) * scale for pair in given]
    if len(given) > 1 and len(given) != module.n_slices:
        a, b = module.expand_packed_lora(a, b)
    if module.tp_size > 1 and len(given) > 1:
        a, b = module.slice_lora_a(a), module.slice_lora_b(b)
    elif module.tp_size > 1:
        a, b = [module.slice_lora_a(a[0])], [module.slice_lora_b(b[0])]
    for stacked, wanted in zip((*module.lora_a_stacked, *module.lora_b_stacked), (*a, *b), strict=True):
        if wanted is not None:
            yield stacked, wanted
