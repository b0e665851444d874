"""The data set and the reward functions of a TRL run."""

from __future__ import annotations

import re
from typing import Any

from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given
from rlvr_cli.convert.python_script import Reward
from rlvr_cli.convert.verl_data import place_verifier

CORRECT: dict[str, dict[str, Any]] = {
    **{name: {"name": "math"} for name in ("accuracy_reward", "reasoning_accuracy_reward", "accuracy")},
    **{name: {"name": "code"} for name in ("code", "code_reward", "binary_code")},
}
"""Function that compares with a gold answer -> verifier; the short names are Open R1's."""
FORMATS: dict[str, dict[str, Any]] = {
    "think_format_reward": {"name": "format", "require_think": True, "require_box": False},
    "format": {"name": "format", "tags": ["think", "answer"], "require_box": False},
}
OVERLONG = ("get_soft_overlong_punishment", "soft_overlong_punishment")


def convert(draft: Draft, rewards: list[Reward], runs_on_import: bool) -> None:
    given = draft.given
    names = given.get("reward_funcs") if given.has("reward_funcs") else []
    names = names if isinstance(names, list) else [names]
    rewards = rewards or [_named(str(name)) for name in names]
    if given.has("reward_model_name_or_path") and given.get("reward_model_name_or_path"):
        rewards = [Reward(given.get("reward_model_name_or_path"), model=True), *rewards]
    weights = given.get("reward_weights") if given.has("reward_weights") else None
    weights = weights if isinstance(weights, list) else [weights] if weights is not None else []
    judging: list[tuple[bool, str]] = []
    for number, reward in enumerate(rewards):
        weight = float(weights[number]) if number < len(weights) else 1.0
        if reward.name in OVERLONG:
            _overlong(draft, reward, weight)
        elif key := _verifier(draft, reward, weight, runs_on_import):
            judging.append((reward.name in FORMATS, key))
    given.take("reward_funcs", "reward_weights", "reward_model_name_or_path")
    if not judging:
        given.settle("verifiers: the script names no reward that is known here; `math` is a guess")
        place_verifier(draft, "math", {"name": "math"}, "a guess")
        judging = [(False, "math")]
    keys = [key for _, key in sorted(judging, key=lambda each: each[0])]  # the first one says what is correct
    _source(draft, keys, any(reward.name in CORRECT for reward in rewards))
    _bench(draft, keys[0])


def _named(name: str) -> Reward:
    """A function by its name on the command line: TRL's own, or a path with dots."""
    if "." not in name:
        return Reward(name)
    module, _, function = name.rpartition(".")
    return Reward(function, file=f"{module.replace('.', '/')}.py")


def _verifier(draft: Draft, reward: Reward, weight: float, runs_on_import: bool) -> str | None:
    """Its key in `verifiers`; None where there is none in its place."""
    given = draft.given
    if reward.model:
        settings: dict[str, Any] = {"name": "reward_model", "path": reward.name, "scale": "own"}
        key = "reward_model"
    elif reward.file is not None:
        key = re.sub(r"\W+", "_", reward.name)
        settings = {"name": "python", "path": reward.file, "function": reward.name}
        if reward.arguments:
            given.settle(
                f"verifiers.{key}: the script makes it by a call with {', '.join(reward.arguments)}; write a "
                "function that does"
            )
        reason = "whose import would start TRL's training" if runs_on_import else ""
        reason = "where it stands within a block" if reward.nested else reason
        if reason and reward.file == given.source:
            settings["path"] = f"{reward.name}.py"
            given.settle(
                f"verifiers.{key}: move {reward.name} out of the script, {reason}, into {reward.name}.py"
            )
    elif (known := (CORRECT | FORMATS).get(reward.name)) is not None:
        settings, key = dict(known), str(known["name"])
    else:
        given.settle(f"verifiers: nothing is in the place of {reward.name}; write it as the verifier python")
        return None
    place_verifier(draft, key, settings | {"weight": weight}, reward.name if not reward.model else "")
    return key


def _overlong(draft: Draft, reward: Reward, weight: float) -> None:
    """Its penalty falls from 0 to -1 over the last tokens, as the shaping's does."""
    length = reward.arguments.get("max_completion_len", 1280)
    buffer = reward.arguments.get("soft_punish_cache", 256)
    draft.choose("shaping", "soft_overlong", reward.name)
    draft.put("algorithm.shaping.max_length", length, "max_completion_len")
    draft.put("algorithm.shaping.buffer", buffer, "soft_punish_cache")
    draft.put("algorithm.shaping.factor", weight, "its weight")


def _source(draft: Draft, keys: list[str], compares: bool) -> None:
    given, at = draft.given, ("data", "train")
    if not given.has("dataset_name"):
        given.settle("data: the training set is not named; add a source")
        return
    place(draft, at, "dataset_train_split")
    given.take("dataset_name", "dataset_config", "dataset_train_split")
    if compares:
        draft.put((*at, "columns", "answer"), "solution", "what accuracy_reward compares with")
    draft.put((*at, "verifiers"), keys, "the first says what is correct")


def place(draft: Draft, at: tuple[str, ...], split_key: str) -> None:
    given: Given = draft.given
    draft.put((*at, "path"), given.get("dataset_name"), "dataset_name")
    if given.has("dataset_config") and given.get("dataset_config"):
        draft.put((*at, "config"), given.get("dataset_config"), "dataset_config")
    split = given.get(split_key)
    split = str(split[0] if isinstance(split, list) and split else split)
    draft.put((*at, "split"), split.partition("[")[0], draft.origin(split_key))
    if "[" in split:
        given.settle(
            f"{'.'.join(at)}.limit: the script takes {split}; limit is a number of rows, the first of them"
        )
    if given.has("dataset_prompt_column"):
        draft.put((*at, "columns", "prompt"), given.get("dataset_prompt_column"), "", "dataset_prompt_column")
    if given.has("system_prompt") and given.get("system_prompt"):
        draft.put((*at, "system"), given.get("system_prompt"), "", "system_prompt")


def _bench(draft: Draft, key: str) -> None:
    """The test split, measured by the verifier that says what is correct."""
    given, at = draft.given, ("eval", "benches", "test")
    if given.get("eval_strategy") in ("no", None) or not given.has("dataset_name"):
        return
    place(draft, (*at, "source"), "dataset_test_split")
    given.take("dataset_test_split", "eval_strategy")
    answer = draft.get("data.train.columns.answer")
    if answer is not None:
        draft.put((*at, "source", "columns", "answer"), answer)
    for path, (value, _) in list(draft.values.items()):
        if path[:2] == ("verifiers", key) and path[2] != "weight":
            draft.put((*at, "verifier", path[2]), value)
    count = (
        given.get("num_generations_eval")
        if given.has("num_generations_eval")
        else given.get("num_generations")
    )
    draft.put((*at, "k"), count, "num_generations_eval, or num_generations", "num_generations_eval")
    draft.put((*at, "temperature"), float(given.get("temperature")), "temperature")
    draft.put((*at, "max_tokens"), given.get("max_completion_length"), "max_completion_length")
