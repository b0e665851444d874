"""A verifier on disk: adapters, token and head in one small folder, with the identity of its base."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import directory_atomically
from rlvr_cli.otv.verifier import OneTokenVerifier

WEIGHTS, NOTE = "one_token.safetensors", "one_token.json"
SAMPLED = 4096
"""Numbers of each tensor that a fingerprint looks at."""


def fingerprint(model: Any) -> str:
    """Of a base model: names and shapes of all its weights, and 4096 numbers of each as bfloat16.

    In bfloat16, so that a base read in fp32 and in bf16 is the same one.
    """
    found = blake2b(digest_size=16)
    for name, weight in sorted(model.named_parameters()):
        flat = weight.detach().flatten()
        picked = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.bfloat16)
        found.update(f"{name}{tuple(weight.shape)}".encode())
        found.update(picked.view(torch.int16).numpy().tobytes())
    return found.hexdigest()


def save(folder: Path, verifier: OneTokenVerifier, base: str, note: dict[str, Any]) -> None:
    """Write it, all or nothing. `base`: where the model came from; `note`: what else is to be known of it."""
    state: dict[str, Tensor] = {name: x.detach().float().cpu() for name, x in verifier.state_dict().items()}
    identity = {"base": base, "fingerprint": fingerprint(verifier.model)}
    shape = {"rank": verifier.rank, "alpha": verifier.alpha}
    with directory_atomically(folder) as aside:
        save_file(state, aside / WEIGHTS)
        (aside / NOTE).write_text(json.dumps(identity | shape | note, indent=1) + "\n")


def find(given: str, key: str = "select.verifier") -> Path:
    """The folder of a verifier: itself, or `final/` of the run that trained it. UserError for another one."""
    folder = Path(given).expanduser()
    for place in (folder, folder / "final"):
        if (place / NOTE).is_file() and (place / WEIGHTS).is_file():
            return place
    raise UserError(f"{key}: {given} holds no one-token verifier ({NOTE}); train one with rlvr otv")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        note = json.loads((folder / NOTE).read_text())
        missing = [key for key in ("base", "fingerprint", "rank", "alpha") if key not in note]
        if not missing:
            return note, load_file(folder / WEIGHTS)
        said = f"{NOTE} has no {missing[0]}"
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        said = str(error)
    raise UserError(f"select.verifier: {folder} is damaged: {said}; train it again with rlvr otv")


def load(folder: Path, model: Any) -> OneTokenVerifier:
    """The verifier in `folder`, reading `model`. UserError where it was trained on another base."""
    note, state = _read(folder)
    if fingerprint(model) != note["fingerprint"]:
        raise UserError(
            f"select.verifier: {folder} was trained on {note['base']}, and the weights of this model are "
            "others: its confidence means nothing here; train one for it with rlvr otv"
        )
    weight = model.get_input_embeddings().weight
    verifier = OneTokenVerifier(model, rank=note["rank"], alpha=note["alpha"])
    try:
        verifier.load_state_dict(state)
    except RuntimeError:  # names or shapes
        raise UserError(f"select.verifier: {folder} is damaged: {WEIGHTS} does not fit {NOTE}") from None
    for adapter in verifier.adapters.values():
        adapter.to(weight.dtype)
    return verifier.to(weight.device).eval().requires_grad_(False)
