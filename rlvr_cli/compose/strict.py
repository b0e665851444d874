"""The strict schema of one recipe, built from the options and verifiers it names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf, StringNode
from omegaconf.errors import (
    ConfigKeyError,
    ConfigTypeError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

from rlvr_cli import algorithms, environments, verifiers
from rlvr_cli.compose.algorithm import PARTS_OF
from rlvr_cli.compose.interpolations import check_interpolations
from rlvr_cli.compose.near_keys import elsewhere, nearest
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.schema import Bench, Recipe, SFTRecipe, Source, Stage, VerifyRecipe, foreign_names

T = TypeVar("T")
Tree = dict[str, Any]


@dataclass
class Place:
    """Where a value may have come from, for messages."""

    file: str
    overrides: list[str]
    """Keys set on the command line."""
    places: Places = field(default_factory=Places)
    """Where paths of the user's code are looked for."""

    def of(self, key: str) -> str:
        parts = key.split(".")
        for other in self.overrides:
            known = other.split(".")
            if parts[: len(known)] == known[: len(parts)]:
                return "command line"
        return self.file

    def code(self, key: str, text: str) -> str:
        """The absolute path of a file of the user's code."""
        if "${" in text:
            raise UserError(f"{self.of(key)}: {key}: a path of code is written out, without ${{...}}")
        found = self.places.find(text)
        if found is None or not found.is_file():
            folders = " or ".join(map(str, dict.fromkeys(self.places.folders)))
            raise UserError(f"{self.of(key)}: {key}: there is no file {text}; looked in {folders}")
        return str(found)

    def complain(self, error: ValueError) -> UserError:
        """A rule that was broken; the rules name the key first."""
        text = " ".join(str(error).split())
        return UserError(f"{self.of(re.split('[ :=]', text)[0])}: {text}")


def build(root: type[T], tree: Tree, place: Place) -> T:
    """Merge the tree into the schema of `root` and return the object; every mistake is a UserError."""
    schema = _schema(root, tree, place)
    _check_sections(tree, schema, place)
    try:
        check_interpolations(tree)
        config = OmegaConf.unsafe_merge(schema, tree)  # into the schema itself: a copy takes as long
        if missing := sorted(OmegaConf.missing_keys(config) | set(_left_open(tree))):
            raise UserError(f"{place.file}: required keys are not set: {', '.join(missing)}")
        _check_shapings(config)
        return OmegaConf.to_object(config)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        schema = _schema(root, tree, place)  # as it was before the merge
        _check_sections(tree, schema, place)
        raise UserError(_explain(error, schema, place, tree)) from error
    except ValueError as error:  # __post_init__ of a section
        raise place.complain(error) from error
    except OverflowError as error:  # an integer where a float belongs, of more than 308 digits
        key = str(error).partition("full_key:")[2].split("\n")[0].strip()
        raise UserError(f"{place.of(key)}: {key or 'a number'} is too large") from error


def _check_shapings(config: Any) -> None:
    """A shaping's own rules speak of `algorithm.shaping`; here it is a stage's."""
    for key, stage in config.stages.items() if "stages" in config else ():
        try:
            if stage.shaping is not None:
                OmegaConf.to_object(stage.shaping)
        except ValueError as error:
            text = str(error).replace("algorithm.shaping", f"stages.{key}.shaping")
            raise ValueError(text) from error


@lru_cache(maxsize=512)
def blank(of: type) -> DictConfig:
    """The schema of a class, not to be changed: whoever changes it takes a copy. An assignment is one."""
    return OmegaConf.structured(of)


def _schema(root: type, tree: Tree, place: Place) -> DictConfig:
    schema = deepcopy(blank(root))
    if root is Recipe:
        schema.algorithm = blank(algorithms.Algorithm)
    parts = PARTS_OF.get(root, ())
    for part, section in _sections(tree, "algorithm").items():
        if part in parts:
            known = algorithms.options(part)
            schema.algorithm[part] = _named(section, f"algorithm.{part}", known, known.__getitem__, place)
    if issubclass(root, SFTRecipe) and "source" in _sections(tree, "eval"):
        schema.eval.source = blank(Source)
    if root is VerifyRecipe and "source" in tree:
        schema.source = blank(Source)
    for key in _sections(tree, "data") if "data" in schema else {}:
        schema.data[key] = blank(Source)
    for key, section in (_sections(tree, "verifiers") if "verifiers" in schema else {}).items():
        schema.verifiers[key] = _verifier(section, f"verifiers.{key}", place)
    for key, section in (_sections(tree, "environments") if "environments" in schema else {}).items():
        schema.environments[key] = _environment(section, f"environments.{key}", place)
    for key, section in (_sections(tree, "stages") if root is Recipe else {}).items():
        schema.stages[key] = blank(Stage)
        shaping = section.get("shaping") if isinstance(section, dict) else None
        if shaping is not None:
            found = algorithms.options("shaping")
            path = f"stages.{key}.shaping"
            schema.stages[key].shaping = _named(shaping, path, found, found.__getitem__, place)
    benches, holder = tree.get("benches"), schema
    if root is Recipe:
        benches, holder = _sections(tree, "eval").get("benches"), schema.eval
    prefix = "eval.benches" if root is Recipe else "benches"
    for key, section in (benches if isinstance(benches, dict) and "benches" in holder else {}).items():
        holder.benches[key] = _bench(section if isinstance(section, dict) else {}, f"{prefix}.{key}", place)
    return schema


def _bench(section: Tree, key: str, place: Place) -> DictConfig:
    schema = deepcopy(blank(Bench))
    if "verifier" in section:
        schema.verifier = _verifier(section["verifier"], f"{key}.verifier", place)
    for name, each in _sections(section, "tracked").items():
        schema.tracked[name] = _verifier(each, f"{key}.tracked.{name}", place)
    if section.get("environment") is not None:
        schema.environment = _environment(section["environment"], f"{key}.environment", place)
    return schema


def _sections(tree: Tree, key: str) -> Tree:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _verifier(section: Any, key: str, place: Place) -> DictConfig:
    schema = _named(section, key, verifiers.names(), verifiers.find, place)
    for name in getattr(verifiers.find(section["name"]), "code_paths", ()):
        if isinstance(section.get(name), str):
            section[name] = place.code(f"{key}.{name}", section[name])
    return schema


def _environment(section: Any, key: str, place: Place) -> DictConfig:
    schema = _named(section, key, environments.known(), environments.find, place)
    found = environments.find(section["name"])
    for name in getattr(found, "code_paths", ()):
        if isinstance(section.get(name), str):
            section[name] = place.code(f"{key}.{name}", section[name])
    for name in getattr(found, "code_lists", ()):
        if isinstance(section.get(name), list):
            section[name] = [_code_entry(f"{key}.{name}", each, place) for each in section[name]]
        elif section.get(name) is not None:
            section[name] = _code_entry(f"{key}.{name}", section[name], place)
    for name in getattr(found, "code_words", ()):
        if section.get(name) is not None:
            section[name] = _words(section[name], place)
    return schema


def _words(command: Any, place: Place) -> Any:
    """A command whose words that name files have their absolute paths."""
    words = shlex.split(command) if isinstance(command, str) else command
    if not isinstance(words, list):
        return command
    found = [place.places.find(word) if isinstance(word, str) and word else None for word in words]
    return [str(path) if path and path.is_file() else word for path, word in zip(found, words, strict=True)]


def _code_entry(key: str, text: Any, place: Place) -> Any:
    """`file.py:function` with the absolute path of the file."""
    if not isinstance(text, str):
        return text
    try:
        entry = Entry.parse(text)
    except ValueError as error:
        raise UserError(f"{place.of(key)}: {key}: {error}") from None
    return text if entry.path is None else entry.with_path(place.code(key, entry.path)).text


def _named(section: Any, key: str, names: Any, find: Callable[[str], type], place: Place) -> DictConfig:
    """Schema of the class that a section's `name` picks."""
    if not isinstance(section, dict) or "name" not in section:
        raise UserError(f"{place.of(key)}: {key} must be a section with a name{hint('', names)}")
    if not isinstance(section["name"], str) or section["name"] not in names:
        where = place.of(f"{key}.name")
        raise UserError(
            f"{where}: {key}.name: there is no '{section['name']}'{hint(str(section['name']), names)}"
        )
    return blank(find(section["name"]))


def _left_open(node: Any, key: str = "") -> Iterator[str]:
    """Keys that a recipe gives as `???`. A merge skips them, so that a default would take their place."""
    if node == "???":
        yield key
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in below:
        yield from _left_open(child, f"{key}.{name}" if key else str(name))


def _explain(error: OmegaConfBaseException, schema: DictConfig, place: Place, tree: Tree) -> str:
    key = error.full_key or str(error.key or "")
    if isinstance(error, ConfigKeyError | ConfigTypeError) and "not in '" in str(error):
        whole = _first_below(key, tree)
        if not (other := elsewhere(key, schema)) and (theirs := foreign_names.said(whole, schema)):
            return f"{place.of(key)}: unknown key '{whole}'{theirs}"
        return f"{place.of(key)}: unknown key '{key}'{other or nearest(key, schema)}"
    message = str(error.msg or error).splitlines()[0]
    if isinstance(error, InterpolationToMissingValueError):  # out: runs/${name} without a name
        return f"{place.file}: required keys are not set: {message.rpartition(' ')[2]}"
    if "is not a ListConfig" in message:
        message = "it must be a list, written [a,b]"
    return f"{place.of(key)}: {key}: {message}" if key else f"{place.file}: {message}"


def _check_sections(tree: Tree, schema: DictConfig, place: Place, prefix: str = "") -> None:
    """A value where a section belongs; OmegaConf's message for it does not name the key."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaf = schema._get_node(key, validate_access=False)  # also where it is still missing
        if isinstance(leaf, StringNode) and isinstance(value, dict):
            raise UserError(
                f"{place.of(path)}: {path} is a section of keys, and it must be text; text in braces stands "
                "in quotation marks"
            )
        child = leaf if key in schema else None
        if not isinstance(child, DictConfig):
            continue
        if child._is_none() and isinstance(value, dict) and is_dataclass(child._metadata.ref_type):
            schema[key] = child = blank(child._metadata.ref_type)  # optional, and given
        if isinstance(value, dict):
            _check_sections(value, child, place, f"{path}.")
        elif value is not None:
            theirs = foreign_names.said(path, schema) if prefix else ""
            said = theirs or "; it must be a section of keys"
            raise UserError(f"{place.of(path)}: {path} is '{value}'{said}")
        elif not child._is_optional():
            raise UserError(f"{place.of(path)}: {path} is empty; are the lines below it indented?")


def _first_below(key: str, tree: Tree) -> str:
    """The whole key of the first value that stands under `key`: `a.b.c` for `a` where `a: {b: {c: 1}}`."""
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    while isinstance(node, dict) and node:
        part, node = next(iter(node.items()))
        key = f"{key}.{part}"
    return key
