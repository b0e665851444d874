"""The command line's `key=value`: which name a group entry, which set a value, and in what grammar."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlvr_cli.algorithms import PARTS
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError, hint


@dataclass
class CommandLine:
    """Overrides, sorted by what they do."""

    preset: str | None = None
    """`algorithm=rloo`"""
    options: dict[str, str] = field(default_factory=dict)
    """`algorithm/advantage=leave_one_out`"""
    groups: list[str] = field(default_factory=list)
    """`model=tiny`, `+verifier@verifiers.format=format`: for Hydra, as written."""
    values: list[Override] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Keys that are set, for messages."""
        return [f"algorithm.{axis}" for axis in self.options] + [o.key_or_group for o in self.values]


def parse(overrides: list[str]) -> CommandLine:
    command = CommandLine()
    for text in overrides:
        override = _parse(text)
        key, value = override.key_or_group, None if override.is_delete() else override.value()
        axis = re.fullmatch(r"algorithm([/.])(\w+)(\.name)?", key)
        if axis and axis[1] == "/" and axis[2] not in PARTS:
            raise UserError(f"{text}: algorithms have no part '{axis[2]}'{hint(axis[2], PARTS)}")
        if axis and axis[2] in PARTS and isinstance(value, str):
            command.options[axis[2]] = value
        elif key == "algorithm" and not isinstance(value, str | dict):
            raise UserError(f"{text}: an algorithm is one preset{hint('', shipped_recipes.all_presets())}")
        elif key.split("/")[0] not in shipped_recipes.groups() or not (
            override.package or isinstance(value, str)
        ):
            command.values.append(override)
        elif key == "algorithm":
            command.preset = str(value)
        else:
            command.groups.append(text)
    return command


def _parse(text: str) -> Override:
    if "=" not in text and not text.startswith("~"):
        raise UserError(f"{text}: expected key=value, e.g. trainer.lr=1e-6")
    try:
        [override] = OverridesParser.create().parse_overrides([text])
    except (HydraException, RecursionError):
        key, _, value = text.partition("=")
        if not re.fullmatch(r"[+~]*[\w.@/-]+", key):
            raise UserError(f"{text}: '{key}' is not a key; expected e.g. trainer.lr=1e-6") from None
        quoted = shlex.quote(f'{key}="{value}"')
        raise UserError(f"{text}: the value has special characters; as text it is written {quoted}") from None
    if override.is_sweep_override():
        raise UserError(
            f"{text}: a run takes one value; several runs are a sweep (rlvr sweep); lists are written [a,b], "
            "text with a comma '\"a,b\"'"
        )
    return override


def apply(values: list[Override], tree: dict[str, Any]) -> dict[str, Any]:
    """Set and remove values; whether their keys exist is for the strict schema to say."""
    config = OmegaConf.create(tree)
    for override in values:
        key = override.key_or_group
        try:
            if override.is_delete():
                _remove(config, key)
            else:
                OmegaConf.update(config, key, override.value(), merge=True, force_add=True)
        except OmegaConfBaseException as error:
            raise UserError(f"command line: {key}: {str(error).splitlines()[0]}") from None
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def _remove(config: DictConfig, key: str) -> None:
    parent, _, last = key.rpartition(".")
    section = OmegaConf.select(config, parent) if parent else config
    if not isinstance(section, DictConfig) or last not in section:
        known = [str(name) for name in section] if isinstance(section, DictConfig) else []
        raise UserError(f"command line: ~{key}: there is no such key to remove{hint(last, known)}")
    del section[last]
