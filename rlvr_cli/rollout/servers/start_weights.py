"""The start model's weights as they are on disk, for a server that may hold those of another run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from rlvr_cli.core.errors import UserError

PIECE = 4096
"""Bytes of each end of a tensor."""


def start_weights(path: str, revision: str | None) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of each, as vLLM reads them when it starts. UserError for another format."""
    from safetensors import safe_open

    for file in _files(path, revision):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                yield name, weights.get_tensor(name)


def digest(path: str, revision: str | None) -> str:
    """Of the names, shapes and types of all tensors, and of the first and last numbers of each: two models
    that were trained differently have others. UserError for another format."""
    found = hashlib.blake2b(digest_size=16)
    for file in _files(path, revision):
        with open(file, "rb") as data:
            length = int.from_bytes(data.read(8), "little")
            header = json.loads(data.read(length))
            for name in sorted(header.keys() - {"__metadata__"}):
                first, end = header[name]["data_offsets"]
                found.update(f"{name} {header[name]['dtype']} {header[name]['shape']}".encode())
                for place in (first, max(first, end - PIECE)):
                    data.seek(8 + length + place)
                    found.update(data.read(min(PIECE, end - first)))
    return found.hexdigest()


def _files(path: str, revision: str | None) -> list[Path]:
    from huggingface_hub import snapshot_download

    folder = Path(path)
    if not folder.is_dir():
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=["*.safetensors"]))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"model.path: {path} has no weights in the format of safetensors, which servers given by "
            "rollout.servers.urls are sent at the start; convert it, or let the run start its servers"
        )
    return files
