"""Weights of a model's folder, read one after the other or a few rows at a time; no model is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json
from rlvr_cli.core.model_paths import resolve_model

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PREFIXES = re.compile(r"^(model\.|language_model\.|transformer\.|backbone\.)+")
LAYER = re.compile(r"^(.*?)\b(?:layers|h|blocks|block)\.(\d+)\.(.+)$")
MODULES = re.compile(r"^(self_attn|self_attention|attn|attention|mlp|feed_forward|block_sparse_moe)\.(?=\w)")


@dataclass(frozen=True)
class Stored:
    """How one weight lies in its file."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors calls it: BF16, F32, ..."""


def place(name: str) -> tuple[int | None, str]:
    """Layer and kind of a weight: (3, "q_proj") of model.layers.3.self_attn.q_proj.weight.

    The layer is None outside of layers. Numbers of experts are left out: those of a layer are one kind.
    """
    bare = PREFIXES.sub("", name).removesuffix(".weight")
    if (found := LAYER.match(bare)) is None:
        return None, bare
    tower, layer, rest = found.groups()
    rest = MODULES.sub("", re.sub(r"\.\d+(?=\.)", "", rest))
    return int(layer), tower + rest


class Readable(Protocol):
    """What has weights by name, of which a few rows can be read."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """As `Folder.read`."""


class Folder:
    """A Hugging Face folder. Files are opened for each read, so that no page of them stays in memory."""

    def __init__(self, path: str, key: str) -> None:
        """`path` may be a run directory; `key`: its name in messages. UserError for what cannot be read."""
        self.path = Path(resolve_model(path, key))
        if not self.path.is_dir():
            raise UserError(f"{key}: {path} is not a folder here; inspect reads files: download it first")
        self.weights: dict[str, Stored] = {}
        for file in sorted(self._files(key)):
            self._look(file, key)

    def _files(self, key: str) -> set[Path]:
        index = self.path / INDEX
        if not index.is_file():
            if not (self.path / SINGLE).is_file():
                raise UserError(f"{key}: {self.path} has neither {SINGLE} nor {INDEX}")
            return {self.path / SINGLE}
        try:
            names = {str(each) for each in from_json(index.read_text())["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{key}: {index} is no index of safetensors files") from None
        if missing := sorted(name for name in names if not (self.path / name).is_file()):
            raise UserError(f"{key}: {self.path} lacks {missing[0]}, which its index names")
        return {self.path / name for name in names}

    def _look(self, file: Path, key: str) -> None:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in list(opened.keys()):
                    part = opened.get_slice(name)
                    self.weights[name] = Stored(file, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise UserError(f"{key}: {file} cannot be read: {error}") from None

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """The rows from `start` to `stop` (along the first axis) of a weight, as stored; a copy."""
        with safe_open(self.weights[name].file, framework="pt") as opened:
            if not self.weights[name].shape:
                return opened.get_tensor(name).clone()
            return opened.get_slice(name)[start:stop].clone()


def check_weights(path: str, key: str) -> None:
    """UserError where a folder's weights are missing or damaged, which an engine says in a traceback.

    Those of a hub id, and files of PyTorch, are not looked at.
    """
    if Path(path).is_dir() and not any(Path(path).glob("*.bin")):
        Folder(path, key)
