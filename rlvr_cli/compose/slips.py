"""What Hydra and the reader of YAML say of a recipe, in one line with what to do."""

from __future__ import annotations

import re
from typing import Any

from omegaconf.errors import GrammarParseError
from yaml import YAMLError

from rlvr_cli import algorithms
from rlvr_cli.compose import find_plugins
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import hint

QUOTED = "stands in quotation marks as a whole"
SLIPS = {
    "\\t": "indent with spaces, not with tabs",
    "<block end>, but found '<scalar>'": f"text that begins with {{ or [ or a quotation mark {QUOTED}",
    "expected ',' or ": f"a bracket is not closed, or text with brackets of its own {QUOTED}",
    "mapping values are not": "a key is followed by a colon and a space and indented as its neighbours; "
    f"text with a colon and a space {QUOTED}",
    "could not find expected ':'": "a key is followed by a colon and a space, as in `lr: 1e-6`",
    "cannot start any token": f"text that begins so {QUOTED}",
    "undefined alias": f"text that begins with * {QUOTED}",
    "expected alphabetic or numeric": f"text that begins with * or & {QUOTED}",
    "unexpected end of stream": "a quotation mark is not closed",
    "expected <block end>": "the keys of a section are indented alike",
}
"""Part of what the YAML reader says -> what to do; the first that is in it."""


def model_path(group: str, value: Any) -> str:
    """What to do where something else than an entry is called a model."""
    if group != "model":
        return ""
    return f"; a folder or hub id goes into model.path: `model: {{path: {value}}}`, or model.path={value}"


def explain(error: Exception) -> str:
    """One line of what Hydra says, with the advice that leads nowhere here left out."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return "a number has more digits than any key takes; as text it is written in quotation marks"
    if isinstance(error, RecursionError):
        return "nested too deeply, or an anchor (&) holds itself; write it flatter"
    if isinstance(error, GrammarParseError):
        return f"{error.full_key}: ${{ begins an interpolation, and this is none; as text it is \\${{"
    if isinstance(error, YAMLError):
        return yaml_fault(error)
    text = f"{error} {error.__cause__ or ''}"
    absent = re.search(r"Could not (?:find|load) '([\w./@-]+)'", text)
    if absent:
        group, _, entry = absent[1].rpartition("/")
        if absent[1].startswith("model/"):  # a path, or a hub id
            group, _, entry = absent[1].partition("/")
        known = entries(group) if group else shipped_recipes.recipes()
        return f"there is no {group or 'recipe'} '{entry}'{hint(entry, known)}{model_path(group, entry)}"
    twice = re.search(r"Multiple values for ([\w./@-]+)\.|([\w./@-]+) appears more than once", text)
    if twice:
        group = twice[1] or twice[2]
        return f"defaults: {group} is named twice; inherited entries change by `- override {group}: ...`"
    early = re.search(r"Override '([\w./@-]+) : .*is defined before", text)
    if early:
        return f"defaults: `override {early[1]}` must stand behind all entries that are no overrides"
    text = re.sub(r"^.*raised while composing config:\s*", "", text)
    return re.split(r"\n|full_key:|object_type=|To append to your config", text.strip())[0].strip()


def yaml_fault(error: YAMLError) -> str:
    """Where it is, what the reader says of it, and what to do about the commonest slips."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    said = getattr(error, "problem", None) or str(error).splitlines()[0]
    advice = next((f"; {advice}" for part, advice in SLIPS.items() if part in said), "")
    return f"{where}not valid YAML: {said}{advice}"


def entries(group: str) -> list[str]:
    """Names a group offers: options of an algorithm's axis, or files of the package and of plugins."""
    parent, _, axis = group.partition("/")
    if axis in algorithms.PARTS:
        return list(algorithms.options(axis))
    return [*shipped_recipes.options(parent), *find_plugins.entries(parent)]
