"""Every key of every recipe, from the schema: its type, its default, its values and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from rlvr_cli import algorithms, environments, verifiers
from rlvr_cli.compose.values import RULES
from rlvr_cli.core.defaults import default_of
from rlvr_cli.reference.docstrings import meanings
from rlvr_cli.schema import (
    DistillationRecipe,
    EvalRecipe,
    ExperienceRecipe,
    OTVRecipe,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
    VerifyRecipe,
)

ROOTS: dict[str, type] = {
    "rl": Recipe,
    "sft": SFTRecipe,
    "preference": PreferenceRecipe,
    "reward_model": RewardModelRecipe,
    "distillation": DistillationRecipe,
    "otv": OTVRecipe,
    "eval": EvalRecipe,
    "experience": ExperienceRecipe,
    "verify": VerifyRecipe,
}
"""Kind of recipe -> its schema."""
REQUIRED = "required"
NAMED = "<name>"
"""Stands in a path for a name that the recipe gives: of a source, a verifier, a bench, a stage."""
SHARED = {
    "name": "Its name, which picks it.",
    "weight": "Share in the reward of a problem with several verifiers.",
}
"""Meaning of what every option, verifier or environment has."""


def picked() -> dict[str, dict[str, type]]:
    """Section -> name -> class, of the sections whose entries are picked by a `name`."""
    return {"verifiers": verifiers.known(), "environments": environments.known()}


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of one kind of recipe, a section with keys of its own included."""

    path: str
    """`trainer.lr`, `data.<name>.path`, `algorithm.kl.coef`, `environments.<name>.max_turns`."""
    owner: type
    """The dataclass it is a field of."""
    recipe: str
    """A key of ROOTS."""
    hint: Any
    default: str
    """As YAML has it; REQUIRED where there is none."""
    meaning: str
    of: str = ""
    """`kl=loss` or `math` where it belongs to an option of an axis, a verifier or an environment."""
    section: type | None = None
    """Dataclass of the keys below it."""

    @property
    def field(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def within(self) -> str:
        """Path within what it belongs to: `max_turns`, `retrieval.index`."""
        return ".".join(self.path.split(".")[2:]) if self.of else self.field

    def belongs_to(self, section: str, name: str) -> bool:
        """Whether it is one of the verifier or environment `name`, apart from the name itself."""
        return self.of == name and self.path.startswith(f"{section}.") and self.within != "name"

    @property
    def type(self) -> str:
        """In words."""
        return type_text(self.hint)

    @property
    def values(self) -> tuple[str, ...]:
        """All it may be; empty where that is no list."""
        kind, _ = without_null(self.hint)
        return tuple(str(each.value) for each in kind) if is_enum(kind) else ()

    @property
    def rule(self) -> str:
        """What its value must be besides, `at least 0`."""
        return str(RULES.get(self.owner, {}).get(self.field, ("",))[0])


@cache
def all_keys() -> tuple[Key, ...]:
    """Of all kinds of recipe, then those of options, verifiers and environments."""
    found = [key for kind, root in ROOTS.items() for key in _walk(root, root(), "", kind)]
    for axis in algorithms.PARTS:
        kind = "preference" if axis == algorithms.PREFERENCE else "rl"
        for name, option in sorted(algorithms.options(axis).items()):
            found += _walk(option, None, f"algorithm.{axis}.", kind, f"{axis}={name}")
    for section, classes in picked().items():
        for name, cls in classes.items():
            found += _walk(cls, None, f"{section}.{NAMED}.", "rl", name)
    return tuple(found)


def _walk(cls: type, node: Any, prefix: str, recipe: str, of: str = "") -> Iterator[Key]:
    hints, said = get_type_hints(cls), meanings(cls)
    for field in fields(cls):
        if field.name in getattr(cls, "OF_EVAL", ()):
            continue  # inherited, and refused
        value = vars(node)[field.name] if node is not None else default_of(field, required="???")
        path, hint = f"{prefix}{field.name}", hints[field.name]
        section, named = section_of(hint)
        meaning = said.get(field.name) or (SHARED.get(field.name, "") if of else "")
        if cls in ROOTS.values():  # what kinds of recipe share is said once
            meaning = meaning or meanings(Recipe).get(field.name, "")
        if not meaning and section is not None:
            meaning = " ".join((section.__doc__ or "").split("\n\n")[0].split())
            meaning = "" if meaning.startswith(f"{section.__name__}(") else meaning
        yield Key(
            path=path,
            owner=cls,
            recipe=recipe,
            hint=hint,
            default=yaml_text(value) if section is None or value is None else "",
            meaning=meaning,
            of=of,
            section=section,
        )
        if section is not None:
            inner = value if isinstance(value, section) else None
            yield from _walk(section, inner, f"{path}.{NAMED}." if named else f"{path}.", recipe, of)


def section_of(hint: Any) -> tuple[type | None, bool]:
    """The dataclass a hint holds, and whether under names of the recipe's own."""
    kind, _ = without_null(hint)
    if get_origin(kind) is dict and is_dataclass(held := get_args(kind)[1]):
        return held, True  # type: ignore[return-value]
    return (kind, False) if isinstance(kind, type) and is_dataclass(kind) else (None, False)


def without_null(hint: Any) -> tuple[Any, bool]:
    """`int, True` of `int | None`."""
    if get_origin(hint) in (Union, UnionType):
        rest = [each for each in get_args(hint) if each is not NoneType]
        return (rest[0] if len(rest) == 1 else hint), len(rest) < len(get_args(hint))
    return hint, False


def is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "anything"}


def type_text(hint: Any) -> str:
    """`whole number or null`."""
    kind, null = without_null(hint)
    origin, inside = get_origin(kind), get_args(kind)
    if origin is list:
        text = f"list of {_plural(type_text(inside[0]))}" if inside else "list"
    elif origin is dict:
        text = "section of named sections" if is_dataclass(inside[1]) else f"name: {type_text(inside[1])}"
    elif is_enum(kind):
        text = "one of " + ", ".join(str(each.value) for each in kind)
    elif isinstance(kind, type) and is_dataclass(kind):
        text = "section"
    else:
        text = WORDS.get(kind, str(getattr(kind, "__name__", kind)))
    return f"{text} or null" if null else text


def _plural(word: str) -> str:
    return {"text": "texts", "number": "numbers", "whole number": "whole numbers"}.get(word, word)


def yaml_text(value: Any) -> str:
    """A default as one writes it in YAML."""
    if value == "???":
        return REQUIRED
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return re.sub(r"e([+-])0(\d)$", r"e\1\2", repr(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {yaml_text(each)}' for name, each in value.items())}}}"
    text = str(value)
    return f"'{text}'" if not text.strip() or "\n" in text else text
