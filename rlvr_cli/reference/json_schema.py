"""recipe.schema.json: what editors complete and check recipes with (JSON schema, draft 2020-12).

It knows types, values and names of keys, of groups and of the options of an algorithm. It lets pass what only
composing can tell: bounds that depend on other keys, and values that a preset or a plugin brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from rlvr_cli import algorithms
from rlvr_cli.core import shipped_recipes
from rlvr_cli.reference.docstrings import meanings, summary
from rlvr_cli.reference.keys import (
    REQUIRED,
    SHARED,
    Key,
    all_keys,
    is_enum,
    picked,
    section_of,
    without_null,
)
from rlvr_cli.schema import (
    Bench,
    DistillationRecipe,
    Distilling,
    EvalRecipe,
    ExperienceRecipe,
    OTVRecipe,
    Preference,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
    Stage,
)

Schema = dict[str, Any]
INTERPOLATION = {"type": "string", "pattern": r"\$\{"}
"""`${name}` may stand for any single value."""
ROOTS: dict[str, type] = {
    "rl": Recipe,
    "sft": SFTRecipe,
    "preference": PreferenceRecipe,
    "reward_model": RewardModelRecipe,
    "distillation": DistillationRecipe,
    "otv": OTVRecipe,
    "eval": EvalRecipe,
    "experience": ExperienceRecipe,
}


def text() -> str:
    """The file's content."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """Which kind of recipe it is, its defaults list says or a resolved recipe's algorithm; else any fits."""
    sft, scored, one_token, experience = (
        {"anyOf": [_names_algorithm({"const": name}), _resolved({"const": name})]}
        for name in shipped_recipes.WITHOUT_PRESET
    )
    compared, taught = (
        {"anyOf": [_names_algorithm({"enum": names}), _resolved({"enum": names})]}
        for names in (shipped_recipes.preference_presets(), shipped_recipes.distillation_presets())
    )
    rl = {"anyOf": [_names_algorithm({}), _resolved({})]}
    kinds = {name: {"$ref": f"#/$defs/{name}"} for name in ROOTS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rlvr recipe",
        "type": "object",
        "if": sft,
        "then": kinds["sft"],
        "else": {
            "if": scored,
            "then": kinds["reward_model"],
            "else": {
                "if": compared,
                "then": kinds["preference"],
                "else": {
                    "if": taught,
                    "then": kinds["distillation"],
                    "else": {
                        "if": experience,
                        "then": kinds["experience"],
                        "else": {"if": one_token, "then": kinds["otv"], "else": _else(rl, kinds)},
                    },
                },
            },
        },
        "$defs": {"defaults": _defaults(), **{name: _root(name) for name in ROOTS}, **_named(), **_shared()},
    }


def _else(rl: Schema, kinds: dict[str, Schema]) -> Schema:
    """Shipped presets are of one kind; one of a plugin's may be of either."""
    shipped: Schema = {"enum": sorted(shipped_recipes.presets())}
    return {
        "if": {"anyOf": [_names_algorithm(shipped), _resolved(shipped)]},
        "then": kinds["rl"],
        "else": {
            "if": rl,
            "then": {"anyOf": [kinds["rl"], kinds["preference"], kinds["distillation"]]},
            "else": {"anyOf": [*kinds.values()]},
        },
    }


def _names_algorithm(entry: Schema) -> Schema:
    one = {"type": "object", "properties": {"algorithm": entry}, "required": ["algorithm"]}
    return {"properties": {"defaults": {"type": "array", "contains": one}}, "required": ["defaults"]}


def _resolved(name: Schema) -> Schema:
    section = {"type": "object", "properties": {"name": name}, "required": ["name"]}
    return {"properties": {"algorithm": section}, "required": ["algorithm"]}


def _root(kind: str) -> Schema:
    found = _section(ROOTS[kind])
    found["properties"]["defaults"] = {"$ref": "#/$defs/defaults"}
    return found


def _named() -> dict[str, Schema]:
    """Verifiers and environments by the `name` in them, and the thirteen parts of an algorithm by their
    options."""
    found = {what.removesuffix("s"): _picked(classes, open_names=True) for what, classes in picked().items()}
    for axis in algorithms.PARTS:
        found[f"algorithm.{axis}"] = _picked(algorithms.options(axis), open_names=True)
    return found


def _shared() -> dict[str, Schema]:
    """Every section below these and below the recipes, by the name of its class."""
    waiting = [*ROOTS.values(), *(cls for classes in picked().values() for cls in classes.values())]
    waiting += [cls for axis in algorithms.PARTS for cls in algorithms.options(axis).values()]
    found: dict[str, Schema] = {}
    while waiting:
        cls = waiting.pop()
        hints = get_type_hints(cls)
        for section, _ in (section_of(hints[field.name]) for field in fields(cls)):
            if section is not None and section.__name__ not in found:
                found[section.__name__] = _section(section)
                waiting.append(section)
    return dict(sorted(found.items()))


def _picked(classes: dict[str, type], open_names: bool) -> Schema:
    """A section whose keys are those of the class its `name` picks; without a name, of any of them."""
    properties: dict[str, list[Schema]] = {}
    for cls in classes.values():
        for name, each in _section(cls)["properties"].items():
            known = properties.setdefault(name, [])
            known += [each] if each not in known else []
    merged = {name: each[0] if len(each) == 1 else {"anyOf": each} for name, each in properties.items()}
    described = [{"const": name, "description": summary(cls)} for name, cls in sorted(classes.items())]
    merged["name"] = {"anyOf": [*described, {"type": "string"}] if open_names else described}
    ours = {"enum": sorted(classes)}
    rules: list[Schema] = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"propertyNames": {"enum": [field.name for field in fields(cls)]}},
        }
        for name, cls in sorted(classes.items())
    ]
    # Of a plugin's own the keys are not known; of all others they are.
    rules.append(
        {
            "if": {"anyOf": [{"not": {"required": ["name"]}}, {"properties": {"name": ours}}]},
            "then": {"propertyNames": {"enum": sorted(merged)}},
        }
    )
    return {"type": "object", "properties": merged, "allOf": rules}


@cache
def _rules() -> dict[tuple[type, str], Key]:
    return {(key.owner, key.field): key for key in all_keys()}


def _section(cls: type) -> Schema:
    hints, said = get_type_hints(cls), meanings(cls)
    properties: dict[str, Schema] = {}
    for field in fields(cls):
        if field.name in getattr(cls, "OF_EVAL", ()):
            continue  # inherited, and refused
        found = _special(cls, field.name) or value_schema(hints[field.name])
        meaning = said.get(field.name) or SHARED.get(field.name, "")
        key = _rules().get((cls, field.name))
        if key is not None and key.section is None and key.default not in ("", REQUIRED):
            found = found | {"default": yaml.safe_load(key.default)}
        properties[field.name] = found | ({"description": meaning} if meaning else {})
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _special(cls: type, name: str) -> Schema | None:
    """The fields that compose fills with the classes their names pick."""
    if cls is Recipe and name == "algorithm":
        axes = {axis: {"$ref": f"#/$defs/algorithm.{axis}"} for axis in algorithms.AXES}
        return {
            "type": "object",
            "properties": {"name": {"type": "string"}, **axes},
            "additionalProperties": False,
        }
    if cls is Preference and name == "preference":
        return {"$ref": "#/$defs/algorithm.preference"}
    if cls is Distilling and name == "distillation":
        return {"$ref": "#/$defs/algorithm.distillation"}
    if name in picked() and cls in (Recipe, ExperienceRecipe):
        return {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{name.removesuffix('s')}"}}
    if cls is Bench and name == "verifier":
        return {"$ref": "#/$defs/verifier"}
    if cls is Bench and name == "tracked":
        return {"type": "object", "additionalProperties": {"$ref": "#/$defs/verifier"}}
    if cls is Bench and name == "environment":
        return {"anyOf": [{"$ref": "#/$defs/environment"}, {"type": "null"}]}
    if cls is Stage and name == "shaping":
        return {"anyOf": [{"$ref": "#/$defs/algorithm.shaping"}, {"type": "null"}]}
    return None


def value_schema(hint: Any) -> Schema:
    """Of one value, a section, or named sections."""
    kind, null = without_null(hint)
    section, named = section_of(hint)
    if section is not None:
        found: Schema = {"$ref": f"#/$defs/{section.__name__}"}
        if named:
            found = {"type": "object", "additionalProperties": found}
    else:
        found = _plain(kind)
    return {"anyOf": [found, {"type": "null"}]} if null else found


def _plain(kind: Any) -> Schema:
    origin, inside = get_origin(kind), get_args(kind)
    if is_enum(kind):
        return {"anyOf": [{"enum": [each.value for each in kind]}, INTERPOLATION]}
    if origin is list:
        return {"type": "array", "items": _plain(inside[0])} if inside else {"type": "array"}
    if origin is dict:
        return {"type": "object", "additionalProperties": value_schema(inside[1])}
    types = {bool: "boolean", int: "integer", float: "number"}
    if kind in types:
        return {"anyOf": [{"type": types[kind]}, INTERPOLATION]}
    return {"type": ["string", "number"]} if kind is str else {}


def _defaults() -> Schema:
    """The defaults list: recipes to build on, and entries of groups."""
    properties: dict[str, Schema] = {}
    names = {group: shipped_recipes.options(group) for group in shipped_recipes.groups()}
    names["algorithm"] = [*names["algorithm"], *shipped_recipes.WITHOUT_PRESET]
    for axis in algorithms.PARTS:
        names[f"algorithm/{axis}"] = sorted(algorithms.options(axis))
    for group, known in names.items():
        properties[group] = properties[f"override {group}"] = _choice(known)
    groups = "|".join(shipped_recipes.groups())
    places = {
        rf"^(override )?/?{group}@[\w.]+$": _choice(known)
        for group, known in names.items()
        if "/" not in group
    }
    plain = rf"^(override )?/?({groups})(/\w+)?$"
    entry = {
        "type": "object",
        "properties": properties,
        "patternProperties": places | {plain: {"type": "string"}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    recipe = _choice([*shipped_recipes.recipes(), "_self_"])
    return {"type": "array", "items": {"anyOf": [entry, recipe]}}


def _choice(known: Iterable[str]) -> Schema:
    """Names to complete; another may be the user's own."""
    return {"anyOf": [{"enum": sorted(known)}, {"type": "string"}]}
