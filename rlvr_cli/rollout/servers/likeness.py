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
}
"""Arguments of the engine that must be the same -> where they come from. Weights are sent and compared."""


def about(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a server says of itself."""
    return {"rlvr": __version__, "arguments": dict(arguments)}


def demand_likeness(wanted: Mapping[str, Any], said: Mapping[str, Any], name: str) -> None:
    """UserError for the first thing in which the server is not as the recipe wants it."""
    there = said["arguments"]
    again = "start it again with this run's recipe: rlvr rollout-server RECIPE"
    for key, source in ALIKE.items():
        if there.get(key) != wanted.get(key):
            raise UserError(
                f"{name} was started with {key}={there.get(key)}, and this recipe needs {wanted.get(key)} "
                f"({source}); {again}"
            )
    if there["max_model_len"] < wanted["max_model_len"]:
        raise UserError(
            f"{name} has room for {there['max_model_len']} tokens of prompt and response, and this recipe "
            f"needs {wanted['max_model_len']}; {again}"
        )
    if there["skip_tokenizer_init"] and not wanted["skip_tokenizer_init"]:
        raise UserError(f"{name} was started without rollout.stop, which this recipe has; {again}")
