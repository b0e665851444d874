"""A model's folder written anew with some layers in another basis: the rest is copied byte for byte."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.files import directory_atomically, from_json
from rlvr_cli.inspect.folder import Folder
from rlvr_cli.inspect.rotate import EDITS, Heads, Layer, check, heads_of

ATTENTION = re.compile(r"^(.*\blayers\.(\d+)\.self_attn\.)(.+)$")
TOWERS = re.compile(r"vision|visual|audio")


def write(model: str, out: Path, layers: Sequence[int], edits: Sequence[str], seed: int) -> list[str]:
    """Copy the model to `out` with `layers` edited; returns what was done, a line each.

    UserError where the model cannot be read, or a layer is of another kind or not there; OUT is whole
    or absent.
    """
    folder = Folder(model, "MODEL")
    heads = heads_of(_config(folder.path), folder.path)
    if edits == ["heads"] and heads.queries == 1:
        raise UserError(f"{model} has one attention head: there is no other order of heads")
    attention = _attention(folder)
    for layer in layers:
        if layer not in attention:
            raise UserError(f"--layer {layer}: {model} has no such layer with self_attn{_there(attention)}")
        check(_read(folder, attention[layer]), heads, attention[layer])  # before anything is copied
    said = []
    try:
        with directory_atomically(out) as aside:
            shutil.copytree(folder.path, aside, dirs_exist_ok=True)
            for layer in layers:
                edited = _edited(folder, attention[layer], heads, edits, seed + layer)
                for name, tensor in edited.items():
                    file = aside / folder.weights[name].file.relative_to(folder.path)
                    _overwrite(file, name, tensor)
                said.append(
                    f"layer {layer}: {' and '.join(edits)}, {len(edited)} weights, seed {seed + layer}"
                )
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    return said


def _config(folder: Path) -> dict[str, object]:
    try:
        return dict(from_json((folder / "config.json").read_text()))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{folder}/config.json cannot be read") from None


def _attention(folder: Folder) -> dict[int, str]:
    """Layer -> what the names of its attention's weights begin with; towers of images and sound left out."""
    found = {}
    for name in folder.weights:
        match = ATTENTION.match(name)
        if match is not None and TOWERS.search(match[1]) is None:
            found[int(match[2])] = match[1]
    return found


def _there(attention: dict[int, str]) -> str:
    return hint("", map(str, attention), "there are") if attention else ""


def _edited(folder: Folder, prefix: str, heads: Heads, edits: Sequence[str], seed: int) -> Layer:
    """The weights that are other ones, by their full names."""
    before = after = _read(folder, prefix)
    for edit in edits:
        after = EDITS[edit](after, heads, seed)
    return {prefix + name: tensor for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def _read(folder: Folder, prefix: str) -> Layer:
    names = [name for name in folder.weights if name.startswith(prefix)]
    return {name.removeprefix(prefix): folder.read(name) for name in names}


def _overwrite(file: Path, name: str, tensor: Tensor) -> None:
    """Replace a tensor of a safetensors file by one of its shape and type, where it lies."""
    with open(file, "r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        start, stop = json.loads(opened.read(size))[name]["data_offsets"]
        data = tensor.contiguous().view(torch.uint8).numpy().tobytes()
        assert len(data) == stop - start
        opened.seek(8 + size + start)
        opened.write(data)
