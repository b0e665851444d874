"""A test in a process of its own: what it tests runs in another one and is reached by requests (remote.py).

Names the test uses and nobody defines are the tested program's. Arguments and results cross as copies
of exact builtin types (values.py), so no `__eq__`, no patched builtin and no exit of the tested code can
touch an assertion.
"""

from __future__ import annotations

import ast
import builtins
import errno
import importlib
import sys
from re import RegexFlag
from types import ModuleType
from typing import Any, BinaryIO

from rlvr_cli.verifiers.sandbox import numeric
from rlvr_cli.verifiers.sandbox.remote import (
    CLASS,
    CandidateError,
    Line,
    Module,
    Object,
    Tell,
    Unsupported,
)
from rlvr_cli.verifiers.sandbox.values import SHARED

NOT_HERE = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSYS)
"""What the sandbox says where it has no such file, and to a call that it refuses."""


DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Names(dict[str, Any]):
    """Globals of a test. Those that are tested are no entries, and asked for whenever they are read.

    `numpy`: whether it is the real one, which the program may have as well.
    """

    def __init__(self, line: Line, base: dict[str, Any], numpy: bool) -> None:
        super().__init__(base, __name__="test")
        self._line, self._numpy = line, numpy
        self.tested: set[str] = set()
        self.called: set[str] = set()
        self.mentioned: set[str] = set()
        """Those of the tested that stand before parentheses, and those that stand elsewhere."""

    def __missing__(self, name: str) -> Any:
        if name not in self.tested:
            raise KeyError(name)  # which sends Python on to the builtins
        rank = CLASS if name in self.called and name[:1].isupper() else 0
        if name not in self.mentioned:  # then there is no need to ask what it is
            return Object(self._line, name, rank)
        found = self._line.ask("name", name, rank)
        return self._module(found.name) if type(found) is Module else found

    def _module(self, name: str) -> Any:
        """The test's own copy of a module that the program has imported; it can name no other."""
        if name in sys.stdlib_module_names or (name == "numpy" and self._numpy):
            return importlib.import_module(name)
        raise CandidateError(f"the candidate has a module {name!r}")


def tested(tree: ast.AST, entry: str | None, known: set[str], standard: set[str]) -> set[str]:
    """Names in the test that mean the tested program.

    A `standard` name, of the library or a builtin, is meant only if it is the entry, or if nothing else
    can be (MBPP has tasks called `lcm`, `add` and even `sum`), and then the one that is called first:
    otherwise a program could define its own `isclose` or `all` and pass `assert isclose(...)`.
    """
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)} - known - _bound(nodes)
    if entry:
        names -= standard
        return names | {node.id for node in ast.walk(ast.parse(entry)) if isinstance(node, ast.Name)}
    if names - standard:
        return names - standard
    called = [name for name in _calls(tree) if name in names]
    order = sorted([*called, *sorted(names)], key=lambda name: hasattr(builtins, name))
    return set(order[:1])


def _bound(nodes: list[ast.AST]) -> set[str]:
    """Names that the test gives a value to, in whatever scope."""
    found = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    found |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    found |= {node.name for node in nodes if isinstance(node, DEFINITIONS)}
    found |= {node.name for node in nodes if isinstance(node, ast.ExceptHandler) and node.name}
    aliases = [node for node in nodes if isinstance(node, ast.alias)]
    return found | {(alias.asname or alias.name).partition(".")[0] for alias in aliases}


def _calls(tree: ast.AST) -> list[str]:
    """Names that are called, in the order of the calls: arguments come before what takes them."""
    inner = [name for child in ast.iter_child_nodes(tree) for name in _calls(child)]
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return [*inner, tree.func.id]
    return inner


def run(job: dict[str, Any], base: dict[str, Any], tell: Tell, answers: BinaryIO) -> int:
    """Run `setup`, find the tested names, run `test`; say {"passed": bool, "detail"}."""
    line = Line(tell, answers)
    real = "numpy" in sys.modules
    numpy = sys.modules.setdefault("numpy", numeric.numpy(Unsupported))
    # Whatever a program calls `np`; and its `X` is more likely its own than a flag of the module re.
    base = {name: value for name, value in base.items() if not isinstance(value, RegexFlag)}
    base |= {"numpy": numpy, "np": numpy}
    names = Names(line, base, real)
    try:
        exec(compile(job["setup"], "<setup>", "exec", dont_inherit=True), names)
        tree = ast.parse(job["test"])
        test = compile(tree, "<test>", "exec", dont_inherit=True)
        known = {name for name in names if name not in base or names[name] is not base[name]}
        modules = {name for name, value in base.items() if isinstance(value, ModuleType)}
        names.tested = tested(tree, job["entry"], known | modules, set(base) | set(vars(builtins)))
        names.called, names.mentioned = _places(tree)
        for name in names.tested:  # a prompt defines the function, too, without a body
            names.pop(name, None)
        made = {name: names[name] for name in known & set(names) if isinstance(names[name], type)}
        SHARED.update({name: kind for name, kind in made.items() if kind.__module__ == "test"})
    except Exception as error:
        tell({"unsupported": f"{type(error).__name__}: {error}"[:300]})
        return 1
    try:
        exec(test, names)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"[:300]
        tell({"unsupported": said} if lacking(error, tree, line.heard) else {"passed": False, "detail": said})
        return 1
    tell({"passed": True})
    return 0


def _places(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Names that stand before the parentheses of a call, and names that stand elsewhere."""
    nodes = list(ast.walk(tree))
    before = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {n.id for n in names if id(n) in before}, {n.id for n in names if id(n) not in before}


def lacking(error: BaseException, tree: ast.AST, heard: bool) -> bool:
    """Whether the test has failed for want of something in the sandbox, and by nothing the program did."""
    if isinstance(error, Unsupported):
        return True
    if isinstance(error, ImportError):
        # `name` has only what failed here: an ImportError of the program comes as a copy without it.
        return bool(error.name) and error.name in _imported(tree)
    return isinstance(error, OSError) and error.errno in NOT_HERE and not heard


def _imported(tree: ast.AST) -> set[str]:
    """Modules that the test says it imports, with the packages they are in."""
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {".".join(parts[:n]) for parts in (name.split(".") for name in named) for n in range(1, 9)}
