"""What is known of one key, section, option, verifier or metric, as lines of text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlvr_cli import algorithms
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.documentation import DOCS
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.reference.docstrings import first_sentence, summary
from rlvr_cli.reference.find import expanded, find, metric_named, near
from rlvr_cli.reference.inventory import GROUPS, entries, options
from rlvr_cli.reference.keys import Key, all_keys, picked
from rlvr_cli.reference.pages import GENERATED, Metric, in_tables, naming, page_of, same_elsewhere
from rlvr_cli.reference.readers import readers
from rlvr_cli.schema import foreign_names

WIDTH = 96
KINDS = {
    "rl": "reinforcement learning",
    "sft": "sft",
    "preference": "preferences",
    "reward_model": "reward_model",
    "distillation": "distillation on data",
    "otv": "otv",
    "eval": "rlvr eval",
    "experience": "rlvr experience",
    "verify": "rlvr verify",
}


def explain(given: str, folders: Iterable[Path] = ()) -> list[str]:
    """Lines on what the user has named; UserError, with the nearest names, where there is no such thing.

    `folders` hold entries of groups of the user's own.
    """
    word = expanded(given)
    if keys := find(word):
        return list(_keys(word, keys))
    if found := metric_named(word):
        return list(_metric(word, found))
    if re.fullmatch(r"algorithm\.\w+=\w+", word):
        return list(_option(word))
    if named := list(_entry(word, folders)):
        return named
    if theirs := same_elsewhere(word):
        return [f"{word} is {framework}'s name; that is {ours} here" for framework, ours in theirs]
    sections = {key.path.partition(".")[0] for key in all_keys()}
    if said := foreign_names.said(word, sections):
        return [f"{word}{said}"]
    raise UserError(f"explain: there is no key, metric or entry '{given}'{near(word)}")


def _keys(word: str, keys: list[Key]) -> Iterator[str]:
    yield word
    axis = re.fullmatch(r"algorithm\.(\w+)", word)
    if axis and axis[1] in algorithms.PARTS:
        yield from _axis(axis[1])
        own = [key for key in keys if key.path == word and key.section is None and not _open(key)]
        for alike in _alike(own):  # the same name in a kind of recipe without parts
            yield from ["", *_one(alike)]
        return
    for alike in _alike(keys):
        yield from _one(alike)
    first = keys[0]
    if first.path == "algorithm":
        parts = [(axis, "", ", ".join(algorithms.options(axis))) for axis in algorithms.PARTS]
        yield from ["", "parts, and their options:", *_table(parts)]
    if first.path in picked():
        rows = [(each.name, "", each.text) for each in entries(first.path, [])]
        yield from ["", f"{first.path}:", *_table(rows)]
    below = _below(first, keys)
    if below:
        yield ""
        yield "keys:"
        yield from _table([(_last(key), key.default, first_sentence(key.meaning)) for key in below])
    words = [word, *(key.path for key in keys if "<" in key.path)]
    main = [GENERATED, *in_tables(*words)]
    yield ""
    yield from _field("page", ", ".join(map(page_of, main)))
    yield from _field("named in", ", ".join(page_of(page) for page in naming(*words) if page not in main))


def _alike(keys: list[Key]) -> list[list[Key]]:
    """Keys that are the same thing in several kinds of recipe or several options, put together."""
    groups: dict[tuple[str, str, str], list[Key]] = {}
    for key in keys:
        groups.setdefault((key.type, key.default, key.meaning), []).append(key)
    return list(groups.values())


def _one(alike: list[Key]) -> Iterator[str]:
    key = alike[0]
    yield from textwrap.wrap(
        key.meaning or "(no description)", WIDTH, initial_indent="  ", subsequent_indent="  "
    )
    if key.section is None and not _open(key):
        yield from _field("type", key.type)
        yield from _field("default", key.default)
        if key.rule:
            yield from _field("must be", key.rule)
    if all(each.of for each in alike):
        yield from _field("of", ", ".join(dict.fromkeys(each.of for each in alike)))
    else:
        yield from _field("recipes", ", ".join(dict.fromkeys(KINDS[each.recipe] for each in alike)))
    if key.section is None:
        read = dict.fromkeys(module for each in alike for module in readers(each.owner, each.field))
        yield from _field("read by", ", ".join(read) or "nothing")


def _open(key: Key) -> bool:
    """Sections whose keys depend on a name in them."""
    return key.path in ("algorithm", *picked()) or (key.hint is Any and "." in key.path)


def _below(first: Key, keys: list[Key]) -> list[Key]:
    """Keys one level below a section, of all kinds of recipe that have it."""
    if first.path == "algorithm":
        return []
    prefixes = {f"{key.path}." for key in keys if key.section} | {
        f"{key.path}.<name>." for key in keys if key.section
    }
    owners = {key.of for key in keys}
    found: dict[str, Key] = {}
    for key in all_keys():
        head, _, last = key.path.rpartition(".")
        if f"{head}." in prefixes and key.of in owners:
            found.setdefault(last, key)
    return list(found.values())


def _last(key: Key) -> str:
    return key.path.rpartition(".")[2]


def _axis(axis: str) -> Iterator[str]:
    yield f"  One of the thirteen parts of an algorithm; another option: algorithm/{axis}=NAME"
    yield ""
    yield "options:"
    yield from _table([(each.name, "", each.text) for each in options(axis)])
    yield ""
    yield from _field("page", page_of("algorithms.md"))


def _option(word: str) -> Iterator[str]:
    axis, name = word.removeprefix("algorithm.").split("=")
    if axis not in algorithms.PARTS:
        raise UserError(f"explain: algorithms have no part '{axis}'{hint(axis, algorithms.PARTS)}")
    known = algorithms.options(axis)
    if name not in known:
        raise UserError(f"explain: algorithm.{axis} has no option '{name}'{hint(name, known)}")
    yield f"algorithm/{axis}={name}"
    yield from _about(known[name], [key for key in all_keys() if key.of == f"{axis}={name}"])
    yield from _field("page", ", ".join(map(page_of, ["algorithms.md", GENERATED])))


def _about(cls: type, own: list[Key]) -> Iterator[str]:
    """What an option, a verifier or an environment is, and its keys."""
    yield from textwrap.wrap(summary(cls), WIDTH, initial_indent="  ", subsequent_indent="  ")
    keys = [key for key in own if key.within != "name" and key.section is None]
    if keys:
        yield ""
        yield "keys:"
        yield from _table([(key.within, key.default, first_sentence(key.meaning)) for key in keys])
    yield ""


def _metric(word: str, found: Metric) -> Iterator[str]:
    yield word if word == found.name else f"{word}  ({found.name})"
    yield from textwrap.wrap(found.meaning, WIDTH, initial_indent="  ", subsequent_indent="  ")
    if found.unit:
        yield from _field("unit", found.unit)
    yield from _field("kind", "metric")
    yield from _field("page", page_of(found.page))


def _entry(word: str, folders: Iterable[Path]) -> Iterator[str]:
    """Every group that has an entry of that name; a verifier or an environment with its keys."""
    folders = list(folders)
    for what, group in GROUPS.items():
        for entry in entries(what, folders):
            if entry.name != word:
                continue
            yield f"{word}: an entry of the group `{group}`" + (f" ({entry.origin})" if entry.origin else "")
            file = shipped_recipes.CONF / group / f"{word}.yaml"
            text = shipped_recipes.comment(file) if not entry.origin and file.is_file() else entry.text
            yield from textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
            if (cls := picked().get(what, {}).get(word)) is not None:
                yield from [""] if summary(cls) else []
                yield from _about(cls, [key for key in all_keys() if key.belongs_to(what, word)])
            page = f"{what}/{word}.md" if what in ("algorithms", *picked()) else ""
            page = page if page and (DOCS / page).is_file() else f"{_PAGES[group]}"
            yield from _field("page", page_of(page))


_PAGES = {
    "verifier": "verifiers.md",
    "environment": "environments.md",
    "algorithm": "algorithms.md",
    "data": "data.md",
    "model": "recipes.md",
    "bench": "evaluation.md",
}


def _field(name: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent=f"  {name:<9}", subsequent_indent=" " * 11,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _table(rows: list[tuple[str, str, str]]) -> Iterator[str]:
    rows = [(name, textwrap.shorten(default, 40, placeholder=" ..."), text) for name, default, text in rows]
    name, default = (max((len(row[n]) for row in rows), default=0) for n in (0, 1))
    default = min(default, 24)
    for row in rows:
        head = f"  {row[0]:<{name}}  {row[1]:<{default}}  " if default else f"  {row[0]:<{name}}  "
        text = textwrap.shorten(row[2], max(WIDTH - len(head), 30), placeholder=" ...")
        yield f"{head}{text}".rstrip()
