"""A DeepSpeed checkpoint for another number of ranks or another ZeRO stage than it was written by.

The shards of the ranks that wrote it are read in place (memory-mapped), and every rank copies what it holds
now out of them: fp32 weights and Adam's moments bit by bit, without files in between. DeepSpeed's own way,
the conversion to a "universal checkpoint", was tried (0.19.8): it reads no checkpoint of ZeRO-0, does not
lead from ZeRO-2 to 3 or back, and writes all of the state to the disk once more.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from rlvr_cli.core import distributed, tensor_files
from rlvr_cli.engine.snapshot import CLASSES

MOMENTS = ("exp_avg", "exp_avg_sq")
Pieces = dict[str, dict[str, list[Tensor]]]
"""Parameter -> `fp32` or a moment -> consecutive pieces of it, flat. No moments: no update was made yet."""


class Saved:
    """Weights and Adam's state as one folder of DeepSpeed's holds them."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError where `folder` has no checkpoint of DeepSpeed."""
        models = by_rank(folder, "model_states.pt")
        if not models:
            raise FileNotFoundError(f"no trainer state in {folder}")
        self.folder = folder
        self._models = models
        self._head = read(models[0])
        self.ranks = int(self._head["dp_world_size"])
        self.stage = int(self._head["ds_config"]["zero_optimization"]["stage"])
        self.updates = int(self._head["global_steps"])
        self.step = 0.0
        """Adam's own count of updates, which a reset of the optimizer sets back."""
        self._pieces: Pieces = {}

    def open(self, sizes: dict[str, int]) -> None:
        """Find the pieces. `sizes`: elements of the trained parameters, in the order of the module.

        Raises RuntimeError where the folder holds others, or not all of their elements.
        """
        shards = [read(file)["optimizer_state_dict"] for file in by_rank(self.folder, "optim_states.pt")]
        if self.stage == 0:
            pieces, states = whole_pieces(self._head, list(sizes))
        elif self.stage < 3:
            pieces, states = flat_pieces(shards)
        else:
            pieces, states = even_pieces(shards, self._head["param_shapes"])
        for name in sizes.keys() | pieces.keys():
            counts = {key: sum(map(len, found)) for key, found in pieces[name].items()}
            if "fp32" not in counts or set(counts.values()) != {sizes.get(name)}:
                raise RuntimeError(f"{self.folder} and the model differ in what is trained: {name}")
        self._pieces = pieces
        self.step = max((float(state["step"]) for state in states), default=0.0)

    def part(self, name: str, key: str, start: int, count: int) -> Tensor:
        """Elements [start, start + count) of the flattened parameter, fp32; moments never written are 0."""
        found, at = [], 0
        for piece in self._pieces[name].get(key, []):
            first, last = max(start - at, 0), min(start + count - at, len(piece))
            if first < last:
                found.append(piece[first:last])
            at += len(piece)
        return torch.cat(found) if found else torch.zeros(count)

    def frozen(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A weight that does not train, in the precision it was read in."""
        if self.stage < 3:
            whole: Tensor = self._head["module"][name]
            return whole
        parts = [read(file)["frozen_param_fragments"][name] for file in self._models]
        return torch.cat(parts)[: math.prod(shape)].view(shape)


def load(engine: Any, saved: Saved, zero_stage: int, *, beneath: bool = False) -> None:
    """Put what `saved` holds into an engine of `zero_stage` on any number of ranks; all must call it.

    Frozen weights are those of the start model, but `beneath` adapters that have changed them.
    """
    trained = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
    saved.open({name: getattr(p, "ds_numel", p.numel()) for name, p in trained.items()})
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    for name, parameter in trained.items():
        home = find_home(engine.optimizer, parameter, zero_stage)
        if home is not None:
            fill(inner, home, saved, name)
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        whole = partial(saved.part, name, "fp32", 0, math.prod(shape))
        set_weight(parameter, whole, sharded=zero_stage == 3)
    for name, parameter in engine.module.named_parameters() if beneath else ():
        if ".base_layer." in name:
            shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
            set_weight(parameter, partial(saved.frozen, name, shape), sharded=zero_stage == 3)
    engine.global_steps = saved.updates


# -------------------------------------------------------------------- reading


def by_rank(folder: Path, ending: str) -> list[Path]:
    """The files of all ranks in their order (10 after 9)."""
    return sorted(folder.glob(f"*{ending}"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = tensor_files.read(file, CLASSES, mmap=True)
    return content


def whole_pieces(head: dict[str, Any], names: list[str]) -> tuple[Pieces, list[Any]]:
    """ZeRO-0: one file; parameters by number, in bf16 with fp32 masters besides."""
    optimizer, masters = head["optimizer"], [head["module"][name] for name in names]
    if "fp32_groups" in optimizer:
        masters = [master for group in optimizer["fp32_groups"] for master in group]
        optimizer = optimizer["optimizer_state_dict"]
    pieces: Pieces = defaultdict(lambda: defaultdict(list))
    for number, (name, master) in enumerate(zip(names, masters, strict=True)):
        for key, whole in contents(master, optimizer["state"].get(number)):
            pieces[name][key].append(whole.flatten())
    return pieces, list(optimizer["state"].values())


def flat_pieces(shards: list[dict[str, Any]]) -> tuple[Pieces, list[Any]]:
    """ZeRO-1 and 2: all parameters end to end, cut into equal shards wherever that may be."""
    pieces: Pieces = defaultdict(lambda: defaultdict(list))
    states = [shard["base_optimizer_state"]["state"] for shard in shards]
    for shard, state in zip(shards, states, strict=True):
        for group, addresses in enumerate(shard["param_slice_mappings"]):
            master = shard["single_partition_of_fp32_groups"][group]
            for key, flat in contents(master, state.get(group)):
                for name, at in addresses.items():
                    pieces[name][key].append(flat.narrow(0, at.start, at.numel))
    return pieces, [one for state in states for one in state.values()]


def even_pieces(shards: list[dict[str, Any]], shapes: list[dict[str, Any]]) -> tuple[Pieces, list[Any]]:
    """ZeRO-3: every parameter cut into equal pieces of its own, the last one padded."""
    pieces: Pieces = defaultdict(lambda: defaultdict(list))
    states = [shard["optimizer_state_dict"]["state"] for shard in shards]
    for rank, (shard, state) in enumerate(zip(shards, states, strict=True)):
        for group, shape_of in enumerate(shapes):
            for key, flat in contents(shard["fp32_flat_groups"][group], state.get(group)):
                at = 0
                for name, shape in shape_of.items():
                    size = -(-shape.numel() // len(shards))
                    held = min(max(shape.numel() - rank * size, 0), size)
                    pieces[name][key].append(flat.narrow(0, at, held))
                    at += size
    return pieces, [one for state in states for one in state.values()]


def contents(master: Tensor, state: dict[str, Tensor] | None) -> list[tuple[str, Tensor]]:
    return [("fp32", master), *((key, state[key]) for key in MOMENTS if state)]


# -------------------------------------------------------------------- writing


@dataclass(frozen=True, slots=True)
class Home:
    """Where this rank keeps its piece of a parameter in fp32."""

    tensor: Tensor
    """What the inner optimizer updates; its moments have the same shape."""
    at: int
    """First element of the piece in `tensor`, flattened."""
    start: int
    """First element of the piece in the parameter, flattened."""
    count: int


def find_home(optimizer: Any, parameter: Any, zero_stage: int) -> Home | None:
    """None: this rank has nothing of the parameter. `optimizer` is DeepSpeed's, or torch's in ZeRO-0 fp32."""
    if zero_stage == 0:
        plain = isinstance(optimizer, torch.optim.Optimizer)
        master = parameter if plain else master_of(optimizer, parameter)
        return Home(master, 0, 0, parameter.numel())
    if zero_stage < 3:
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        inside, outside = mapping.hp_fragment_address, mapping.lp_fragment_address
        return Home(flat, inside.start, outside.start, inside.numel)
    group, at, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
    start = distributed.rank() * size
    count = min(max(parameter.ds_numel - start, 0), size)
    return Home(optimizer.fp32_partitioned_groups_flat[group], at, start, count)


def master_of(optimizer: Any, parameter: nn.Parameter) -> Tensor:
    """The fp32 copy of a bf16 parameter in ZeRO-0."""
    groups = zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
    pairs = (pair for low, high in groups for pair in zip(low, high, strict=True))
    master: Tensor = next(high for low, high in pairs if low is parameter)
    return master


def fill(inner: torch.optim.Optimizer, home: Home, saved: Saved, name: str) -> None:
    """Weights and moments of one parameter; the state is made where no update has made it yet."""
    tensor, state = home.tensor, inner.state[home.tensor]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)
        state |= {key: torch.zeros_like(tensor) for key in MOMENTS}
    state["step"].fill_(saved.step)
    for key, whole in (("fp32", tensor), *((key, state[key]) for key in MOMENTS)):
        piece = whole.detach().view(-1).narrow(0, home.at, home.count)
        piece.copy_(saved.part(name, key, home.start, home.count))


def set_weight(parameter: Any, read_whole: Callable[[], Tensor], *, sharded: bool) -> None:
    """What the forward pass reads, in the precision it reads."""
    with (
        deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=sharded),
        torch.no_grad(),
    ):
        if not sharded or distributed.rank() == 0:
            parameter.copy_(read_whole().view(parameter.shape))
