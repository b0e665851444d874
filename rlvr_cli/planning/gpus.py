"""Memory and speed of known GPUs, and the memory of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from rlvr_cli.core.errors import UserError, hint

GIB = 2**30
SEQUENCES = 256
"""Sequences that an engine decodes at once by default, where it is not vLLM on a large GPU."""
NETWORK = 25e9
"""Bytes a second that one rank sends to another machine: a network of 200 Gbit/s for each GPU."""
FILL = 0.95
"""Share of memory a plan may use: the rest is lost to fragmentation and rounding."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """What one rank computes on."""

    name: str
    memory: float
    """Bytes torch can see (`total_memory`); of a CPU the machine's, which its ranks share."""
    flops: float | None = None
    """Dense bf16 multiply-adds and adds a second; None: unknown."""
    fp32_flops: float | None = None
    """The same in fp32 without TF32, as torch multiplies by default."""
    bandwidth: float | None = None
    """Bytes a second from and to its memory."""
    link: float = 25e9
    """Bytes a second that one rank sends in an all-reduce: NVLink where there is, else PCIe."""
    gpu: bool = True

    @property
    def large(self) -> bool:
        """What vLLM 0.32 takes for a large GPU (engine/arg_utils.py, get_batch_defaults)."""
        return self.gpu and self.memory >= 70 * GIB and "a100" not in self.name.lower()

    @property
    def engine_sequences(self) -> int:
        """Sequences that vLLM decodes at once where `rollout.max_num_seqs` is null."""
        return 1024 if self.large else SEQUENCES

    @property
    def engine_tokens(self) -> int:
        """Tokens of the pass for which vLLM keeps memory free."""
        return 16384 if self.large else 8192


def _gpu(name: str, gib: float, bf16: float, fp32: float, bandwidth: float, link: float = 25e9) -> Device:
    return Device(
        name=name,
        memory=gib * GIB,
        flops=bf16 * 1e12,
        fp32_flops=fp32 * 1e12,
        bandwidth=bandwidth * 1e12,
        link=link,
    )


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("b200", 178.3, 2250, 75, 7.7, 600e9),
        _gpu("h200", 139.8, 989, 67, 4.8, 300e9),
        _gpu("h100", 79.1, 989, 67, 3.35, 300e9),
        _gpu("h20", 95.2, 148, 44, 4.0, 300e9),
        _gpu("a100-80", 79.2, 312, 19.5, 2.04, 200e9),
        _gpu("a100-40", 39.4, 312, 19.5, 1.55, 200e9),
        _gpu("l40s", 44.4, 362, 91.6, 0.864),
        _gpu("a10g", 22.0, 70, 31.2, 0.6),
        _gpu("l4", 22.0, 121, 30.3, 0.3),
        _gpu("rtx4090", 23.5, 165, 82.6, 1.008),
    )
}
"""By name: GiB that torch sees, dense TFLOP/s in bf16 and fp32, TB/s, link. From the makers' data sheets."""

_REPORTED = {"A100-SXM4-40GB": "a100-40", "A100-PCIE-40GB": "a100-40", "A100": "a100-80", "4090": "rtx4090"}


def find(name: str) -> Device:
    """A GPU of the table, `cpu`, or with `auto` what this machine has. Raises UserError for others."""
    if name == "cpu":
        return cpu()
    if name == "auto":
        return this_gpu() if torch.cuda.is_available() else cpu()
    if name not in GPUS:
        raise UserError(f"--gpu {name} is not known{hint(name, [*GPUS, 'cpu', 'auto'])}")
    return GPUS[name]


def cpu() -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(name="cpu", memory=float(memory), gpu=False)


def this_gpu() -> Device:
    """The first GPU of this machine: its own memory, and the table's speed where its name is known."""
    found, memory = torch.cuda.get_device_name(), float(torch.cuda.get_device_properties(0).total_memory)
    known = {**_REPORTED, **{name.upper(): name for name in GPUS}}
    entry = next((GPUS[name] for key, name in known.items() if key in found.upper()), None)
    if entry is None:
        return Device(name=found, memory=memory)
    return Device(
        name=entry.name,
        memory=memory,
        flops=entry.flops,
        fp32_flops=entry.fp32_flops,
        bandwidth=entry.bandwidth,
        link=entry.link,
    )


def count() -> int:
    """GPUs of this machine."""
    return torch.cuda.device_count()
