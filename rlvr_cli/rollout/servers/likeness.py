"""Whether a server that was there already samples as the recipe of a run says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlvr_cli import __version__
from rlvr_cli.core.errors import UserError

ALIKE = {
    "dtype": "rollout.dtype",
    "logprobs_mode": "the version of rlvr",
    "generation_config": "the version of rlvr",
    "hf_overrides": "model.overrides",
    "enable_lora": "rollout.lora",
    "max_lora_rank": "model.lora.rank",
    "lora_target_modules": "model.lora.targets",
}
"""Arguments of the engine that must be the same -> where they come from. Weights are sent and compared."""


def about(
    arguments: Mapping[str, Any], images: Mapping[str, Any] | None = None, *, gpu: bool = False
) -> dict[str, Any]:
    """What a server says of itself; `images`: how it reads these (`Processor.settings`), where it does."""
    seeing = {} if images is None else {"images": dict(images)}
    return {"rlvr": __version__, "arguments": dict(arguments), "gpu": gpu} | seeing


def demand_likeness(
    wanted: Mapping[str, Any],
    said: Mapping[str, Any],
    name: str,
    images: Mapping[str, Any] | None = None,
    start: str | None = None,
) -> None:
    """UserError for the first thing in which the server is not as the recipe wants it; `images`: how the
    trainer reads these, where it does; `start`: digest of the model that it is to keep, where it does."""
    there = said["arguments"]
    again = "start it again with this run's recipe: rlvr rollout-server RECIPE"
    for key, source in ALIKE.items():
        if there.get(key) != wanted.get(key):
            raise UserError(
                f"{name} was started with {key}={there.get(key)}, and this recipe needs {wanted.get(key)} "
                f"({source}); {again}"
            )
    if start is not None and said.get("start") != start:
        raise UserError(
            f"{name} was started with another model than model.path, and rollout.lora=adapter sends it the "
            f"adapters alone; {again}"
        )
    if there["max_model_len"] < wanted["max_model_len"]:
        raise UserError(
            f"{name} has room for {there['max_model_len']} tokens of prompt and response, and this recipe "
            f"needs {wanted['max_model_len']}; {again}"
        )
    if images is not None:
        _demand_same_reading(images, wanted, said, name, again)
    if there["skip_tokenizer_init"] and not wanted["skip_tokenizer_init"]:
        raise UserError(f"{name} was started without rollout.stop, which this recipe has; {again}")


def _demand_same_reading(
    images: Mapping[str, Any], wanted: Mapping[str, Any], said: Mapping[str, Any], name: str, again: str
) -> None:
    if (theirs := said.get("images")) is None:
        raise UserError(f"{name} was started with a model that reads text alone; {again}")
    for key, value in images.items():
        if theirs.get(key) != value:
            where = f"model.{key}" if key in ("min_pixels", "max_pixels") else "its processor of images"
            if key == "transformers":
                where = "both sides need the same version"
            raise UserError(
                f"{name} reads images with {key}={theirs.get(key)}, and the trainer with {value} ({where}); "
                f"{again}"
            )
    room, most = (arguments["limit_mm_per_prompt"]["image"] for arguments in (said["arguments"], wanted))
    if room < most:
        raise UserError(
            f"{name} takes {room} images in a prompt, and this run has prompts with {most}; let the run "
            "start its servers (leave rollout.servers.urls out)"
        )
