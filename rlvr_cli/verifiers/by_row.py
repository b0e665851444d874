"""A verifier that a row names, with options that the row gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.verifiers import find

ALONE = ("limits", "verify_group", "of_group", "of_sample", "ready")
"""Of verifiers that need more than a response: workers of their own, a group, an episode, a machine."""
NOT_OF_ROWS = ("name", "weight", "gate")


def without_nulls(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are there: a struct of a parquet file has every key that any row has."""
    return {key: value for key, value in options.items() if value is not None}


def row_verifier(name: str, options: Mapping[str, Any]) -> Any:
    """ValueError for one that is not there, needs more than a response, or lacks or refuses an option."""
    try:
        return _built(name, json.dumps(options, sort_keys=True))
    except (OverflowError, TypeError, UserError) as error:
        raise ValueError(str(error)) from None


@lru_cache(maxsize=4096)
def _built(name: str, options: str) -> Any:
    kind = find(name)
    if any(hasattr(kind, each) for each in ALONE):
        raise ValueError(
            f"'{name}' needs workers, groups or a machine of its own and cannot be named in a row; route "
            "to it with verifiers_by"
        )
    hints = get_type_hints(kind)
    known = [each.name for each in fields(kind) if each.init and each.name not in NOT_OF_ROWS]
    given = {}
    for key, value in json.loads(options).items():
        if key not in known:
            raise ValueError(f"'{name}' has no option '{key}'{hint(key, known)}")
        given[key] = _typed(value, hints[key], f"{name}: {key}")
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if lacking := [key for key in missing if key not in given]:
        raise ValueError(f"'{name}' needs the option {lacking[0]}")
    return kind(**given)


def _typed(value: Any, wanted: Any, where: str) -> Any:
    """A value of JSON as a field of this type has it."""
    if get_origin(wanted) in (Union, UnionType):
        kinds = [kind for kind in get_args(wanted) if kind is not type(None)]
        return _typed(value, kinds[0], where) if len(kinds) == 1 else value
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        if value not in wanted.__members__:
            raise ValueError(f"{where} is {value!r}; it must be one of {', '.join(wanted.__members__)}")
        return wanted[value]
    plain = wanted if wanted in (str, bool, int, float) else get_origin(wanted)
    fits = isinstance(value, (int, float) if plain is float else plain or object)
    if not fits or (isinstance(value, bool) and plain is not bool):
        raise ValueError(f"{where} is {value!r}; it must be {getattr(plain, '__name__', plain)}")
    return float(value) if plain is float else value
