"""docs/reference.md: a line for every key of every recipe, option, verifier and environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlvr_cli import algorithms
from rlvr_cli.reference.docstrings import summary
from rlvr_cli.reference.keys import Key, all_keys, picked

HEAD = """\
# Every key

What a recipe may hold, with type, default and meaning, made from the schema by `make reference`.
`rlvr explain KEY` says the same of one key, and which modules read it; a name in angle brackets is the
recipe's own. `required` has no default. Editors complete and check these keys with
[recipe.schema.json](recipe.schema.json)
([recipes.md](recipes.md#in-an-editor)).
"""
KINDS = {
    "rl": "RL",
    "sft": "sft",
    "preference": "preferences",
    "reward_model": "reward_model",
    "distillation": "distillation on data",
    "otv": "otv",
    "eval": "eval",
    "experience": "experience",
    "verify": "verify",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_recipes(), *_options(), *_picked()]).rstrip() + "\n"


def _recipes() -> Iterator[str]:
    """By section; keys that kinds of recipe share stand once, and say whose they are where that differs."""
    sections: dict[str, list[Key]] = {}
    for key in (key for key in all_keys() if not key.of):
        head, _, _ = key.path.rpartition(".")
        sections.setdefault(head, []).append(key)
    for head, keys in sections.items():
        leaves = [key for key in keys if key.section is None]
        if not leaves:
            continue
        kinds = list(dict.fromkeys(KINDS[key.recipe] for key in keys))
        yield f"## {f'`{head}`' if head else 'At the top of a recipe'}\n"
        about = _about(head)
        if about:
            yield f"{about}\n"
        if head:
            yield f"In recipes of: {', '.join(kinds)}.\n"
        yield from _table(leaves, kinds)


def _about(head: str) -> str:
    return next((key.meaning for key in all_keys() if key.path in (head, head.removesuffix(".<name>"))), "")


def _options() -> Iterator[str]:
    yield "## Options of an algorithm\n"
    page = "algorithms.md#the-parts-and-their-options"
    yield f"Chosen with `algorithm/<part>=<option>`; what they compute: [algorithms.md]({page}).\n"
    for axis in algorithms.PARTS:
        yield f"### `algorithm.{axis}`\n"
        for name, option in sorted(algorithms.options(axis).items()):
            keys = [key for key in all_keys() if key.of == f"{axis}={name}" and key.field != "name"]
            yield f"**`{axis}={name}`**: {_cell(summary(option)).rstrip(':')}\n"
            if keys:
                yield from _table(keys, [])


ABOUT = {
    "verifiers": "what each accepts: [verifiers.md](verifiers.md)",
    "environments": "what each says to a policy: [environments.md](environments.md)",
}


def _picked() -> Iterator[str]:
    """Verifiers and environments."""
    for section, classes in picked().items():
        yield f"## {section.capitalize()}\n"
        yield f"Entries of `{section}`, picked by `name`; {ABOUT[section]}.\n"
        for name in classes:
            yield f"### `{name}`\n"
            own = [key for key in all_keys() if key.belongs_to(section, name) and key.section is None]
            yield from _table(own, [])


def _table(keys: Iterable[Key], kinds: list[str]) -> Iterator[str]:
    """Rows of equal keys are one; whose a key is stands with it where not all kinds have it."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for key in keys:
        kind = KINDS[key.recipe]
        row = (key.within, key.type, key.default, _text(key))
        rows.setdefault(row, []).append(kind)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for (field, kind, default, meaning), owners in rows.items():
        mark = f" ({', '.join(owners)})" if kinds and set(owners) != set(kinds) else ""
        yield f"| `{field}`{mark} | {_cell(kind)} | {_code(default)} | {_cell(meaning)} |"
    yield ""


def _text(key: Key) -> str:
    return " ".join(part for part in (key.meaning, f"Must be {key.rule}." if key.rule else "") if part)


def _code(text: str) -> str:
    """A default as code; one of several lines by its first."""
    first, *more = text.split("\n")
    text = f"{first} ..." if more else first
    if not text:
        return ""
    mark = "``" if "`" in text else "`"
    return f"{mark}{_pipes(text)}{mark}"


def _cell(text: str) -> str:
    return _pipes(" ".join(text.split())).replace("<", "&lt;") if "`" not in text else _outside_code(text)


def _outside_code(text: str) -> str:
    """`<` is written out where Markdown would take it for a tag, and left within code."""
    parts = " ".join(text.split()).split("`")
    parts = [part.replace("<", "&lt;") if n % 2 == 0 else part for n, part in enumerate(parts)]
    return _pipes("`".join(parts))


def _pipes(text: str) -> str:
    return text.replace("|", "\\|")
