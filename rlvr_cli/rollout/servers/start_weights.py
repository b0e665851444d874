"""The start model's weights as they are on disk, for a server that may hold those of another run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from rlvr_cli.core.errors import UserError


def start_weights(path: str, revision: str | None) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of each, as vLLM reads them when it starts. UserError for another format."""
    from huggingface_hub import snapshot_download
    from safetensors import safe_open

    folder = Path(path)
    if not folder.is_dir():
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=["*.safetensors"]))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"model.path: {path} has no weights in the format of safetensors, which servers given by "
            "rollout.servers.urls are sent at the start; convert it, or let the run start its servers"
        )
    for file in files:
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                yield name, weights.get_tensor(name)
