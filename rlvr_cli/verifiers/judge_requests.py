"""V-Triune's `POST /judge` (2505.18129, reward_server): its payload in, its rewards out."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core import progress
from rlvr_cli.core.files import from_json
from rlvr_cli.core.flatten import deeper
from rlvr_cli.core.types import Verdict
from rlvr_cli.verifiers.messages import MAX_LEVELS, BadRequest, Item, content_of
from rlvr_cli.verifiers.vtriune import Vtriune

TEXTS = ("response", "prompt", "answer", "solution", "data_source", "reward_verifier", "reward_verifier_parm")
RATIOS = ("accuracy_ratio", "format_ratio")
OF_RUN = ("is_training", "step", "total_steps", "image_grid_thw", "image_path", "verifier_style")
"""Of `reward_verifier_parm`: what the client adds to the row's own parameters."""


def judge_of(verifiers: dict[str, Any]) -> tuple[str, Vtriune]:
    """The verifier of a server that speaks V-Triune's rows; BadRequest (404) without one, or with several."""
    found = [(name, each) for name, each in verifiers.items() if isinstance(each, Vtriune)]
    if len(found) != 1:
        raise BadRequest(f"/judge is answered by one verifier vtriune, and this server has {len(found)}", 404)
    return found[0]


def parse_judge(text: str, verifiers: dict[str, Any]) -> Item:
    """A payload as an item of the pool. BadRequest where something is missing or wrong.

    `solution` is the gold; the grid of an image comes in pixels, as V-Triune's client sends it.
    """
    name, verifier = judge_of(verifiers)
    content = content_of(text)
    if not isinstance(content, dict):
        raise BadRequest("the body must be an object")
    for key in TEXTS:
        if not isinstance(content.get(key), str):
            raise BadRequest(f"{key} must be there, and text")
    given = _parameters(content["reward_verifier_parm"])
    row = {
        "verifier": content["reward_verifier"],
        "verifier_parm": {key: value for key, value in given.items() if key not in OF_RUN},
        **{key: content[key] for key in RATIOS if content.get(key) is not None},
    }
    extra: dict[str, Any] = {verifier.column: row, "prompt": content["prompt"]}
    if (grid := given.get("image_grid_thw")) is not None:
        extra[verifier.grid] = _in_patches(grid, verifier.patch)
    if given.get("is_training"):
        extra[progress.KEY] = _progress(given)
    try:
        verifier.check_row(extra)
    except ValueError as error:
        raise BadRequest(str(error)[:300]) from None
    return Item(name, content["response"], content["solution"], extra)


def _parameters(text: str) -> dict[str, Any]:
    try:
        given = from_json(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or deeper(given, MAX_LEVELS):
        raise BadRequest("reward_verifier_parm must be the JSON text of an object")
    return given


def _progress(given: dict[str, Any]) -> progress.Progress:
    try:
        return progress.Progress(given.get("step"), given.get("total_steps"))  # type: ignore[arg-type]
    except ValueError:
        raise BadRequest("reward_verifier_parm has no step from 0 to its total_steps") from None


def _in_patches(grid: Any, patch: int) -> list[list[int]]:
    """A grid in pixels, (t, h·patch, w·patch) of each image, as the processor has it."""
    try:
        found = [[t, h // patch, w // patch] for t, h, w in grid]
        if all(type(n) is int for row in grid for n in row) and all(n > 0 for row in found for n in row):
            return found
    except (TypeError, ValueError):
        pass
    raise BadRequest(
        "image_grid_thw must have (t, height, width) of each image, in pixels that the model sees"
    )


def rewards_of(verdict: Verdict) -> dict[str, Any]:
    """The answer to a payload. BadRequest (500) without a verdict, which V-Triune's client counts as 0."""
    if not verdict.scored:
        raise BadRequest(f"no verdict ({verdict.reason.value}): {verdict.detail[:300]}", 500)
    more = {name: value for name, value in verdict.more.items() if not isinstance(value, str)}
    accuracy, form = more.pop("accuracy", verdict.score), more.pop("format", 0.0)
    rewards = {
        "format_reward": form,
        "accuracy_reward": accuracy,
        "reflection_reward": 0.0,
        "final_reward": verdict.score,
    }
    return {"rewards": rewards | {f"{name}_reward": value for name, value in more.items()}}
