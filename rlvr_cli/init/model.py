"""What a model is, by its files: how large, whether it chats, how far it sees. UserError where it cannot be
trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.dry_run import tokenizer as files
from rlvr_cli.schema import Model


@dataclass(kw_only=True)
class ModelFacts:
    given: str
    tokenizer: files.FileTokenizer | None
    """None: a hub id that is not on this machine."""
    parameters: int | None
    positions: int | None

    @property
    def said(self) -> str:
        size = f"{shortened(self.parameters)} parameters" if self.parameters else "of unknown size"
        chat = (
            ""
            if self.tokenizer is None
            else ", a chat template"
            if self.tokenizer.chat_template
            else ", no chat template"
        )
        return size + chat + (f", {self.positions:,} positions" if self.positions else "")


def shortened(count: int) -> str:
    """1543714304 -> `1.5 billion`"""
    for name, size in (("billion", 10**9), ("million", 10**6)):
        if count >= size / 10:
            return f"{count / size:.1f} {name}"
    return f"{count:,}"


def model_facts(given: str) -> ModelFacts:
    """Look at `--model`: a folder, a run directory, a hub id or builtin:tiny."""
    model = Model(path=resolve_model(given, "--model"))
    config = files.config_of(model)
    kinds = config.get("architectures") or []
    if any("ForSequenceClassification" in kind or "ForTokenClassification" in kind for kind in kinds):
        raise UserError(
            f"--model: {given} is a {kinds[0]}, which scores and does not write; it can be a --reward"
        )
    if config.get("is_encoder_decoder"):
        raise UserError(
            f"--model: {given} is an encoder-decoder model; rlvr trains decoders (causal language models)"
        )
    positions = config.get("max_position_embeddings")
    folder = files.folder_of(model)
    return ModelFacts(
        given=given,
        tokenizer=files.load(model),
        parameters=_parameters(folder) if folder is not None else None,
        positions=positions if isinstance(positions, int) else None,
    )


def _parameters(folder: Path) -> int | None:
    """Numbers in the weights, by the heads of the safetensors files; None where there are none."""
    found = 0
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as opened:
            head = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        for name, tensor in head.items():
            size = 1
            for length in tensor["shape"] if name != "__metadata__" else [0]:
                size *= length
            found += size
    return found or None
