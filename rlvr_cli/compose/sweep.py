"""Hydra's grammar of sweeps: which keys have several values, and the overrides of each run."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from rlvr_cli.compose.slips import entries
from rlvr_cli.core.errors import UserError, hint

MOST = 1000
"""Runs of one sweep; more are taken for a slip."""
INTEGERS = re.compile(r"([+~]*[\w.@/-]+)=(-?\d+)\.\.(-?\d+)")
"""`seed=0..2`: 0, 1, 2."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A key with its values: `texts` as an override holds them, `values` as they are."""

    key: str
    texts: list[str]
    values: list[Any]


@dataclass(frozen=True, slots=True)
class Grid:
    fixed: list[str]
    """Overrides of every run."""
    axes: list[Axis]

    def runs(self) -> list[dict[str, int]]:
        """Key -> number of its value, of each run; the last key changes fastest."""
        sizes = [range(len(axis.values)) for axis in self.axes]
        keys = [axis.key for axis in self.axes]
        return [dict(zip(keys, numbers, strict=True)) for numbers in itertools.product(*sizes)]

    def overrides(self, run: dict[str, int]) -> list[str]:
        return [f"{axis.key}={axis.texts[run[axis.key]]}" for axis in self.axes]


def grid(overrides: list[str]) -> Grid:
    """UserError for what is no list of values, for what comes twice, and where no key has several values."""
    fixed, axes = [], []
    for text in overrides:
        override = _parse(text)
        if override is None or not override.is_sweep_override():
            fixed.append(text)
            continue
        axes.append(_axis(text, override))
    keys = [axis.key for axis in axes] + [text.partition("=")[0] for text in fixed]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise UserError(f"{axis.key} is given twice; list all of its values once")
    if not axes:
        raise UserError(
            "a sweep needs a key with several values, e.g. trainer.lr=1e-6,3e-6 or seed=0..2; "
            "for one run: rlvr train"
        )
    found = Grid(fixed, axes)
    if (count := len(found.runs())) > MOST:
        raise UserError(f"the grid has {count:,} runs; {MOST:,} are the most: take fewer values")
    return found


def _parse(text: str) -> Override | None:
    """None: not to be read as a sweep; whoever composes the run says what is wrong with it."""
    if found := INTEGERS.fullmatch(text):
        first, last = int(found[2]), int(found[3])
        if last < first:
            raise UserError(f"{text}: {last} is below {first}; write the lower one first")
        text = f"{found[1]}=range({first},{last + 1})"
    if "=" not in text:
        return None
    try:
        [override] = OverridesParser.create().parse_overrides([text])
    except (HydraException, RecursionError):
        key, _, value = text.partition("=")
        if not re.fullmatch(r"[+~]*[\w.@/-]+", key):
            return None
        quoted = shlex.quote(f'{key}="{value}"')
        raise UserError(
            f"{text}: neither a value nor a list of values such as 1e-6,3e-6 or range(0,3); "
            f"as text it is written {quoted}"
        ) from None
    return override


def _axis(text: str, override: Override) -> Axis:
    key = override.get_key_element()
    if override.is_interval_sweep():
        raise UserError(f"{text}: an interval has no list of values; name them: {key}=1e-6,3e-6")
    if isinstance(override._value, Glob):
        known = entries(override.key_or_group)
        names = override._value.filter(known)
        if not names:
            raise UserError(f"{text}: no entry of {override.key_or_group} matches{hint('', known)}")
        return Axis(key, names, list(names))
    try:
        raw = list(override.sweep_iterator())  # once: shuffle() gives another order each time
    except (HydraException, ValueError, TypeError) as error:  # range(0,3,0)
        raise UserError(f"{text}: {str(error).splitlines()[0]}") from None
    if len(raw) > MOST:
        raise UserError(
            f"{text}: the grid has {len(raw):,} runs or more; {MOST:,} are the most: take fewer values"
        )
    texts = [Override._get_value_element_as_str(value) for value in raw]
    if not texts:
        raise UserError(f"{text}: the list has no value")
    if twice := [each for number, each in enumerate(texts) if each in texts[:number]]:
        raise UserError(f"{text}: {twice[0]} comes twice; each value is one run")
    return Axis(key, texts, [Override._convert_value(value) for value in raw])
