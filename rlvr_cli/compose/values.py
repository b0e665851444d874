"""What a single value must be to mean anything: a finite number in its range, text that can be written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from rlvr_cli import schema

INTEGERS = 2**63
"""Beyond, torch, numpy and Parquet have no integer."""
SHOWN = 60
"""Characters of a value that a message quotes."""


def least(low: float) -> tuple[str, Any]:
    return f"at least {low:g}", lambda value: value >= low


def is_holdout(value: float) -> bool:
    return 0 < value < 1 or (value >= 1 and value == int(value))


POSITIVE = ("above 0", lambda value: value > 0)
SHARE = ("above 0 and at most 1", lambda value: 0 < value <= 1)
PROBABILITY = ("from 0 to 1", lambda value: 0 <= value <= 1)
FRACTION = ("at least 0 and below 1", lambda value: 0 <= value < 1)
GIVEN = ("a text that is not empty", lambda value: bool(value.strip()))

RULES: dict[type, dict[str, tuple[str, Any]]] = {
    schema.Lora: {"rank": least(0), "alpha": POSITIVE, "dropout": FRACTION, "targets": GIVEN},
    schema.WeightMask: {"share": SHARE, "rank": least(1), "seed": least(0), "targets": GIVEN},
    schema.TinyModel: dict.fromkeys(
        ("hidden_size", "layers", "heads", "kv_heads", "max_positions", "experts", "experts_per_token"),
        least(1),
    ),
    schema.Model: {
        "path": GIVEN,
        "attention": GIVEN,
        "min_pixels": least(1),
        "max_pixels": least(1),
        "image_workers": least(0),
    },
    schema.Source: {
        "path": GIVEN,
        "split": GIVEN,
        "shots": least(0),
        "weight": least(0),
        "limit": least(1),
        "holdout": ("a share below 1, or from 1 on a number of prompts", is_holdout),
    },
    schema.Rollout: {
        "max_prompt_tokens": least(1),
        "max_rounds": least(1),
        "max_num_seqs": least(1),
        "max_staleness": least(0),
        "max_concurrent": least(1),
        "gpu_memory_utilization": SHARE,
        "kv_cache_gb": POSITIVE,
        "probe_tolerance": POSITIVE,
    },
    schema.Verification: {
        "workers": least(1),
        "timeout_s": POSITIVE,
        "start_s": POSITIVE,
        "memory_mb": least(0),
        "recycle_after": least(1),
    },
    schema.Trainer: {
        "warmup_steps": least(0),
        "min_lr": least(0),
        "weight_decay": least(0),
        "betas": FRACTION,
        "eps": POSITIVE,
    },
    schema.Bench: {"problems": least(1), "seed": least(0)},
    schema.Eval: {"every": least(1)},
    schema.SFT: {"max_length": least(2), "max_grad_norm": least(0)},
    schema.SFTEval: {"every": least(1), "limit": least(1)},
    schema.Preference: {"max_length": least(2), "max_grad_norm": least(0), "sft_coef": least(0)},
    schema.PreferenceEval: {"every": least(1), "limit": least(1)},
    schema.PreferenceRecipe: {"seed": least(0)},
    schema.RewardModeling: {"max_length": least(2), "max_grad_norm": least(0), "centre": least(0)},
    schema.RewardModelRecipe: {"seed": least(0)},
    schema.Distilling: {"max_length": least(2), "max_grad_norm": least(0)},
    schema.DistillationRecipe: {"seed": least(0)},
    schema.OTV: {
        "rank": least(1),
        "alpha": POSITIVE,
        "power": POSITIVE,
        "probes": least(1),
        "max_length": least(2),
        "max_grad_norm": least(0),
    },
    schema.OTVEval: {"every": least(1), "limit": least(1)},
    schema.OTVRecipe: {"seed": least(0)},
    schema.Select: {
        "every": least(1),
        "window": least(1),
        "keep": SHARE,
        "ema": FRACTION,
        "milestones": least(1),
        "below": PROBABILITY,
        "above": PROBABILITY,
        "min_tokens": least(0),
    },
    schema.Recipe: {"seed": least(0)},
    schema.SFTRecipe: {"seed": least(0)},
    schema.EvalRecipe: {"seed": least(0), "ranks": least(1)},
    schema.ExperienceRecipe: {"seed": least(0), "ranks": least(1)},
}
"""Section -> key -> what its value (of a list, each one) must be; null is not looked at."""


def check_values(recipe: object) -> None:
    """ValueError, key first, for the first value that is out of its range or is none at all."""
    for section, key, field, value in _values(recipe, ""):
        _check_any(key, value)
        wanted, allows = RULES.get(section, {}).get(field, ("", None))
        if allows is not None and value is not None and not allows(value):
            raise ValueError(f"{key} is {_short(value)}; it must be {wanted}")


def _values(node: Any, path: str) -> Iterator[tuple[type, str, str, Any]]:
    """(section, dotted key, name of the field, single value) of all that a recipe holds."""
    for field in fields(node):
        for key, value in _leaves(getattr(node, field.name), f"{path}{field.name}"):
            if is_dataclass(value):
                yield from _values(value, f"{key}.")
            else:
                yield type(node), key, field.name, value


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """What lists and mappings hold, under the key to name it by."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield key, name
            yield from _leaves(each, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each, key)
    else:
        yield key, value


def _check_any(key: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {value}; it must be a finite number")
    if isinstance(value, int) and not -INTEGERS <= value < INTEGERS:
        raise ValueError(f"{key} is {_short(value)}; it must fit into 64 bits")
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"{key} holds a NUL character; write the text without it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{key} holds half of a character pair; write the text anew") from error


def _short(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
