"""Follows weights through the loaders of vLLM and compares what its parameters hold with what was sent.

vLLM puts several tensors into one parameter, cuts them, pads them. Where they go its own loaders say: each
ends in a `copy_` into a part of a parameter. So the proof covers transport (nothing lost, stale or
overwritten); whether loaders put a tensor where it belongs is for the probe, and for the self-check before
the first sync.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rlvr_cli.rollout.fingerprints import Ledger, Receipt, fingerprint
from rlvr_cli.rollout.shards import Place, Taken

SAMPLED = 2**22
"""Products spent on looking into a packed weight: all columns of small ones, a few of large ones."""
PLAIN_EXPERTS = ("TRITON", "BATCHED_TRITON")
"""Kernels of vLLM that take the experts' weights as they were loaded; others permute or pack them."""


@dataclass(slots=True)
class Slot:
    """A parameter as loaders see it, and what they copied into it."""

    shape: torch.Size
    dtype: torch.dtype
    offset: int
    packed: bool = False
    """Packed away after the sync before: its columns are looked for, and nothing reads a fingerprint."""
    sent: dict[Place, list[Tensor]] = field(default_factory=dict)
    """Fingerprints; of what is packed none."""
    columns: dict[Place, Tensor] = field(default_factory=dict)
    """On a CPU, of matrices: the columns to look for should it be packed."""

    @property
    def copied(self) -> int:
        """Elements."""
        return sum(torch.Size(shape).numel() for _, shape, _ in self.sent)


class Audit(TorchDispatchMode):
    """Of one sync. Made when a model waits for weights; `with audit:` load; `settle` when all is there."""

    def __init__(self, model: nn.Module, seed: int, packed: Set[str] = frozenset()) -> None:
        """`packed`: those of the audit before. One that is not packed this time is looked at by its columns
        where a kernel gives them, or counted as `untold`, and has its fingerprints again the next time."""
        super().__init__()
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)
        self._drawn: dict[tuple[int, int], Tensor] = {}
        self._slots: dict[str, Slot] = {}
        self._at: dict[int, Slot] = {}
        self.packed: frozenset[str] = frozenset()
        """Parameters that were found packed."""
        self.taken: dict[str, Taken] = {}
        """Of each tensor sent, the parts that were copied."""
        self._sent, self._source = Taken(0), (0, 0)
        for name, parameter in model.named_parameters():
            slot = Slot(parameter.shape, parameter.dtype, int(parameter.storage_offset()), name in packed)
            self._slots[name] = self._at[_storage(parameter)] = slot

    def outside(
        self, weights: Iterable[tuple[str, Tensor]], device: torch.device | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The weights, made while nothing is followed: the trainer gathers them by copies of its own."""
        iterator = iter(weights)
        while True:
            self.__exit__(None, None, None)
            try:
                item = next(iterator, None)
                if item is None:
                    return
                name, tensor = item[0], item[1].to(device=device)
            finally:
                self.__enter__()
            self._sent = Taken(tensor.numel())
            self._source = _storage(tensor), int(tensor.storage_offset())
            self.taken[name] = self._sent
            yield name, tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.copy_.default:
            self._note(args[0], args[1])
        return func(*args, **(kwargs or {}))

    def _note(self, target: Tensor, source: Tensor) -> None:
        slot = self._at.get(_storage(target))
        if slot is None or _storage(source) == _storage(target):
            return
        if _storage(source) == self._source[0]:
            offset = int(source.storage_offset()) - self._source[1]
            self._sent.places.add((offset, tuple(source.shape), source.stride()))
        place = (int(target.storage_offset()) - slot.offset, tuple(target.shape), target.stride())
        value = source.to(target.dtype).expand(target.shape)
        slot.sent[place] = [] if slot.packed else fingerprint(value)
        if value.device.type == "cpu" and len(slot.shape) == 2 and value.shape[1:] == slot.shape[1:]:
            slot.columns[place] = value[:, self._columns(*slot.shape)].clone()

    def _columns(self, rows: int, width: int) -> Tensor:
        """Which columns of a matrix of this shape are looked at."""
        count = min(width, max(4, SAMPLED // max(rows * width, 1)))
        if (rows, width) not in self._drawn:
            self._drawn[rows, width] = torch.randperm(width, generator=self._generator)[:count]
        return self._drawn[rows, width]

    @torch.no_grad()
    def settle(self, receipt: Receipt, loaded: set[str] | None) -> None:
        """Compare; `loaded`: what the model says it has loaded. Fills in the receipt."""
        ledger = Ledger()
        held = dict(self._model.named_parameters(remove_duplicate=False))
        modules = dict(self._model.named_modules(remove_duplicate=False))
        filled = {_storage(held[name]) for name, slot in self._slots.items() if slot.sent and name in held}
        for name, slot in self._slots.items():
            module, parameter = modules[name.rpartition(".")[0]], held.get(name)
            if not slot.sent:
                if parameter is not None and (not slot.shape.numel() or _storage(parameter) in filled):
                    continue  # tied to one that was sent
                if loaded is not None and name in loaded:
                    receipt.untold[name] = slot.shape.numel()  # in another way than by a copy
                else:
                    receipt.unsent.append(name)
                continue
            if slot.copied < _loadable(module, slot):
                receipt.partial.append(name)
            plain = _is_plain(module, parameter, slot)
            if plain and not slot.packed:
                assert parameter is not None
                for place, sent in slot.sent.items():
                    ledger.add(name, sent, _part(parameter, place))
                receipt.compared += slot.copied
            elif not self._is_packed(module, name, slot, receipt):
                receipt.untold[name] = slot.copied
            elif not plain:
                self.packed |= {name}
        receipt.taken = self.taken
        receipt.wrong += ledger.differing()
        self._look_at_copies(modules, receipt)

    def _is_packed(self, module: nn.Module, name: str, slot: Slot, receipt: Receipt) -> bool:
        """Whether the weight was packed away in a CPU kernel that could be asked for it."""
        if not hasattr(module, "cpu_linear") or name.rpartition(".")[2] != "weight":
            return False
        if slot.columns.keys() != slot.sent.keys():  # not whole rows
            return False
        drawn = self._columns(*slot.shape)
        sent = torch.zeros(slot.shape[0], len(drawn), dtype=slot.dtype)
        for (offset, shape, _), columns in slot.columns.items():
            first = offset // slot.shape[1]
            sent[first : first + shape[0]] = columns
        if not _gives(module, drawn, slot.shape[1], sent):
            receipt.wrong.append(name)
        receipt.sampled += slot.copied
        return True

    def _look_at_copies(self, modules: dict[str, nn.Module], receipt: Receipt) -> None:
        """Kernels that hold a packed copy beside a plain weight, as tied heads do on a CPU."""
        for name, module in modules.items():
            weight = getattr(module, "weight", None)
            if not hasattr(module, "cpu_linear") or not isinstance(weight, Tensor) or weight.ndim != 2:
                continue
            drawn = self._columns(*weight.shape)
            if not _gives(module, drawn, weight.shape[1], weight[:, drawn]):
                receipt.wrong.append(f"{name}.weight (packed copy)")


def _gives(module: Any, drawn: Tensor, width: int, wanted: Tensor) -> bool:
    """Whether the packed kernel of a linear layer returns these columns for inputs that are 1 in one place.

    Such products are exact, but for numbers too small to be normal, which kernels may take for 0.
    """
    ones = torch.zeros(len(drawn), width, dtype=wanted.dtype)
    ones[torch.arange(len(drawn)), drawn] = 1
    found = module.cpu_linear(ones, module.weight, None)
    return bool(((found.T - wanted).abs() <= torch.finfo(wanted.dtype).tiny).all())


def _is_plain(module: nn.Module, parameter: Tensor | None, slot: Slot) -> bool:
    """Whether the engine holds the parameter as it was loaded."""
    if parameter is None or parameter.shape != slot.shape or parameter.dtype != slot.dtype:
        return False
    kernel = getattr(getattr(module, "quant_method", None), "unquantized_backend", None)
    return kernel is None or kernel.name in PLAIN_EXPERTS


def _loadable(module: nn.Module, slot: Slot) -> int:
    """Elements of a parameter that a checkpoint has: vocabularies are padded."""
    padded = getattr(module, "num_embeddings_per_partition", None)
    rows = getattr(module, "shard_indices", None)
    if padded is not None and rows is not None and slot.shape[0] == padded:
        return slot.shape.numel() // padded * (rows.org_vocab_end_index - rows.org_vocab_start_index)
    return slot.shape.numel()


def _part(parameter: Tensor, place: Place) -> Tensor:
    offset, shape, strides = place
    return parameter.detach().as_strided(shape, strides, parameter.storage_offset() + offset)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
