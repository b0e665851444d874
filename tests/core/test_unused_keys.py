"""Every key does something: code reads each key there is, and a run names those it did not read."""

from __future__ import annotations

import ast
import inspect
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from rlvr_cli import algorithms, compose, schema, verifiers
from rlvr_cli.core.unused_keys import Usage

PACKAGE = Path(schema.__file__).parents[1]
NOT_READERS = ("schema/", "compose/values.py", "core/unused_keys.py")
"""They define, check or print keys; of the schema's files, one applies some."""
READER = "schema/stages.py"


@cache
def trees() -> list[tuple[str, ast.Module]]:
    paths = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    return [(path, ast.parse((PACKAGE / path).read_text())) for path in paths]


def class_names(annotation: ast.expr | None) -> set[str]:
    """Last parts of the names in an annotation: `schema.Bench | None` -> {schema, Bench}."""
    nodes = list(ast.walk(annotation)) if annotation is not None else []
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    return found | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@cache
def holders() -> dict[str, set[str]]:
    """Class -> the names that hold one somewhere: parameters, attributes and fields that say so."""
    found: dict[str, set[str]] = {}
    for _, tree in trees():
        renamed = {
            alias.asname: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname
        }
        for node in ast.walk(tree):
            name = node.arg if isinstance(node, ast.arg) else None
            if isinstance(node, ast.AnnAssign):
                name = getattr(node.target, "id", None) or getattr(node.target, "attr", None)
            if name is not None and isinstance(node, ast.arg | ast.AnnAssign):
                for each in class_names(node.annotation):
                    found.setdefault(renamed.get(each, each), set()).add(name)
    return found


@cache
def readings() -> list[tuple[str | None, str | None]]:
    """(name of what it is taken from, attribute) of everything that code takes by a dot or by getattr.

    A getattr whose attribute is computed (of each of a list of keys, of a rule's name) has None in its place.
    """
    found: list[tuple[str | None, str | None]] = []
    for node in (node for path, tree in trees() if reads(path) for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            found.append((name_of(node.value), node.attr))
        elif isinstance(node, ast.Call) and name_of(node.func) == "getattr":
            attribute = node.args[1]
            named = attribute.value if isinstance(attribute, ast.Constant) else None
            found.append((name_of(node.args[0]), named))
    return found


def read_from(names: set[str]) -> set[str]:
    """Attributes that code takes from something of one of these names; a computed one may be any text."""
    taken = {attribute for name, attribute in readings() if name in names}
    return {attribute for attribute in taken if attribute is not None} | (texts() if None in taken else set())


def name_of(node: ast.expr) -> str | None:
    """`settings` of `settings`, `self._settings` and `settings[key]`."""
    if isinstance(node, ast.Subscript):
        node = node.value
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return name.lstrip("_") if name else None


def reads(path: str) -> bool:
    return path == READER or not path.startswith(NOT_READERS)


@cache
def texts() -> set[str]:
    """Every text in the code that defines no keys, and the functions' names: a rule has that of its own."""
    nodes = [node for path, tree in trees() if reads(path) for node in ast.walk(tree)]
    named = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return named | {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@cache
def renamings() -> list[tuple[str, str]]:
    """(new name, name) of each `settings = recipe.controller`, also among several at once."""
    found = []
    for node in (node for _, tree in trees() for node in ast.walk(tree)):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            # Where one takes the rest (`a, *b = x, *y`), names and values do not stand side by side.
            pairs = zip(target.elts, value.elts, strict=False) if several else [(target, value)]
            found += [
                (new.id, old.attr)
                for new, old in pairs
                if isinstance(new, ast.Name) and isinstance(old, ast.Attribute)
            ]
    return found


def unread(section: type, names: set[str]) -> list[str]:
    """Fields of a schema class that nothing takes from a holder of it."""
    named = {section.__name__.lower(), *(name.lstrip("_") for name in names)}
    named |= {new for new, old in renamings() if old in named}
    found = read_from(named) | methods_read(section)
    return [f.name for f in fields(section) if f.name not in found]


def methods_read(section: type) -> set[str]:
    """What the methods of a class (and of its bases) read of itself; `__post_init__` only checks."""
    found = set()
    for base in section.__mro__[:-1]:
        for node in ast.walk(ast.parse(inspect.getsource(base))):
            if isinstance(node, ast.FunctionDef) and node.name != "__post_init__":
                loads = (
                    n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)
                )
                found |= {n.attr for n in loads if getattr(n.value, "id", None) == "self"}
    return found


SECTIONS = [each for each in vars(schema).values() if isinstance(each, type) and is_dataclass(each)]
OPTIONS = [cls for axis in algorithms.AXES for cls in algorithms.options(axis).values()]
VERIFIERS = [verifiers.find(name) for name in verifiers.names()]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS, ids=lambda cls: cls.__name__)
def test_code_reads_every_key(section: type) -> None:
    missing = [
        f"{section.__name__}.{name}" for name in unread(section, holders().get(section.__name__, set()))
    ]
    assert [key for key in missing if key != "Bench.note"] == []  # that speaks to people


@pytest.mark.slow
@pytest.mark.parametrize("option", [*OPTIONS, *VERIFIERS], ids=lambda cls: f"{cls.__module__}.{cls.name}")
def test_code_reads_every_option(option: type) -> None:
    holders_of_options = {"option", "verifier", "verifiers", "rule", "v", "settings", "spikes"}
    elsewhere = read_from({*algorithms.AXES, *holders_of_options})
    assert [f.name for f in fields(option) if f.name not in methods_read(option) | elsewhere] == []


@dataclass(kw_only=True)
class Trainer(schema.Trainer):
    """With a key that nobody reads."""

    dampening: float = 0.0


@pytest.mark.slow
def test_a_planted_key_is_found() -> None:
    assert unread(Trainer, holders()["Trainer"]) == ["dampening"]


def test_keys_are_told_apart_by_what_reads_them(tmp_path: Path) -> None:
    recipe = compose.load("tiny_dapo", ["rollout.kv_cache_gb=2", "+verifier@verifiers.form=format"])
    usage = Usage()
    usage.trace(recipe, tmp_path)
    asdict(recipe), replace(recipe.trainer), compose.dump(recipe), repr(recipe)  # these take all and use none
    assert {"trainer.lr", "rollout.kv_cache_gb", "verifiers.form"} <= set(usage.unused())
    assert not {"trainer.eps", "verifiers.math", "trainer"} & set(usage.unused())  # a default, one in use
    assert recipe.trainer.lr == 2e-4 and replace(recipe.rollout).kv_cache_gb == 2
    assert not {"trainer.lr", "rollout.kv_cache_gb"} & set(usage.unused())
    usage.keep()
    later = Usage()
    later.trace(recipe, tmp_path)
    assert later.read == usage.read != set()  # what the run read before it was resumed
    later.stop()
    assert "__getattribute__" not in vars(schema.Trainer) and later.unused() == []
    later.read.add("one more")
    later.keep()  # what has ended writes nothing any more, least of all by a relative path
    assert "one more" not in (tmp_path / "logs" / "keys_read.json").read_text()
