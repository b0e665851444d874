"""Which modules read a key: from the package's own source, followed by its annotations.

An attribute counts as read where the annotations of parameters, fields, functions and results say of which
class the object is, or, of a parameter that is left open, the calls do. What only copies, prints or checks a
section (`NO_READERS`, `NO_READING`) reads nothing.
"""

from __future__ import annotations

import ast
import gc
import inspect
import re
from functools import cache
from pathlib import Path

from rlvr_cli.core.unused_keys import NO_READERS, NO_READING
from rlvr_cli.reference.source import Source
from rlvr_cli.reference.source_types import NOTHING, Scope, Types

PACKAGE = Path(__file__).parents[1]
ROUNDS = 4
"""Calls through which what is passed on is followed."""


def readers(owner: type, field: str) -> list[str]:
    """Modules that read the field of a section, an option or a verifier, as paths in the package.

    Of a plugin's option or verifier the file of its class, if that does.
    """
    if owner.__module__.partition(".")[0] != PACKAGE.name:
        text = inspect.getsource(owner)
        return [str(inspect.getsourcefile(owner))] if re.search(rf"self\.{field}\b", text) else []
    return sorted(all_reads().get((f"{owner.__module__}.{owner.__qualname__}", field), ()))


@cache
def all_reads() -> dict[tuple[str, str], set[str]]:
    """Of this package."""
    searching = gc.isenabled()
    gc.disable()  # four million nodes, of which nothing is garbage until the end: a third of the time
    try:
        return reads_in(PACKAGE)
    finally:
        if searching:
            gc.enable()


def reads_in(package: Path) -> dict[tuple[str, str], set[str]]:
    """(class, field) -> modules, of a package named as ours is."""
    source = Source(package)
    given: dict[tuple[str, str], Types] = {}
    found: dict[tuple[str, str], set[str]] = {}
    todo: list[tuple[str, ast.AST, str]] = [(module, tree, "") for module, tree in source.trees.items()]
    for _ in range(ROUNDS):
        before, seen = dict(given), dict[tuple[str, str], Types]()
        for module, node, cls in todo:
            path = str(source.paths[module].relative_to(package))
            if any(f"/rlvr_cli/{path}".endswith(each) for each in NO_READERS):
                continue
            for read in _Reads(source, Scope(source, module, cls, given=given, seen=seen)).of(node):
                found.setdefault(read, set()).add(path)
        # Once more through the functions whose parameters are known better now.
        again = dict.fromkeys(
            name for name, parameter in given if given[name, parameter] != before.get((name, parameter))
        )
        todo = [
            (source.module_of(name), source.functions[name], owner if owner in source.classes else "")
            for name in again
            for owner in [name.rpartition(".")[0]]
        ]
    for (cls, field), modules in list(found.items()):  # a field is its own class's and that of its heirs
        for heir in source.heirs(cls):
            found.setdefault((heir, field), set()).update(modules)
    return found


class _Reads(ast.NodeVisitor):
    """Walks a module, keeping the types of names, and notes which fields of which classes are read."""

    def __init__(self, source: Source, scope: Scope) -> None:
        self.source, self.scope = source, scope
        self.found: set[tuple[str, str]] = set()

    def of(self, tree: ast.AST) -> set[tuple[str, str]]:
        self.visit(tree)
        return self.found

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.scope = self.scope, self.scope.inside(node.name)
        self.generic_visit(node)
        self.scope = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in NO_READING:
            return
        outer, self.scope = self.scope, self.scope.of_function(node)
        for statement in node.body:
            self.visit(statement)
        for getter in _dynamic(node) if self.scope.module in self.source.asking else ():
            self._all_named(node, getter)
        self.scope = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.scope.bind(target, self.scope.infer(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        said = self.scope.annotation(node.annotation)
        self.scope.bind(
            node.target, said | (self.scope.infer(node.value) if node.value is not None else NOTHING)
        )

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.scope.bind(node.target, self.scope.infer(node.value))

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.scope.bind(node.target, self.scope.element(node.iter))
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def _comprehension(self, node: ast.AST) -> None:
        for generator in node.generators:  # type: ignore[attr-defined]
            self.visit(generator.iter)
            self.scope.bind(generator.target, self.scope.element(generator.iter))
            for condition in generator.ifs:
                self.visit(condition)
        for name in ("key", "value", "elt"):
            if (part := getattr(node, name, None)) is not None:
                self.visit(part)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        if isinstance(node.ctx, ast.Load):
            self._read(self.scope.infer(node.value), node.attr)

    def visit_Call(self, node: ast.Call) -> None:
        """Besides its parts: keys that are named as text beside their section, `_given(stage, "lr")`."""
        self.generic_visit(node)
        words = [each.value for each in node.args if isinstance(each, ast.Constant)]
        for argument in node.args:
            if not isinstance(argument, ast.Constant):
                for word in words:
                    self._read(self.scope.infer(argument), word)
        if function := self.scope.called(node):
            self._give(function, node)

    def _give(self, function: str, node: ast.Call) -> None:
        """Note what a call gives to parameters whose annotation leaves it open."""
        parameters = self.source.parameters(function)
        by_name = {parameter.arg: parameter for parameter in parameters}
        pairs = list(zip(parameters, node.args, strict=False))
        pairs += [(by_name[each.arg], each.value) for each in node.keywords if each.arg in by_name]
        for parameter, value in pairs:
            types = self.scope.infer(value)
            if types != NOTHING and self.scope.left_open(function, parameter):
                key = (function, parameter.arg)
                self.scope.given[key] = self.scope.given.get(key, NOTHING) | types

    def _all_named(self, function: ast.FunctionDef, getter: ast.Call) -> None:
        """`getattr(section, name)`: the fields that the function names as text, or else all of them."""
        types = self.scope.infer(getter.args[0])
        words = {each.value for each in ast.walk(function) if isinstance(each, ast.Constant)}
        for cls in types.classes:
            known = set(self.source.fields(cls))
            for field in (known & words) or known:
                self.found.add((cls, field))

    def _read(self, types: Types, field: object) -> None:
        for cls in {each for found in types.classes for each in self.source.like(found)}:
            for owner in self.source.ancestry(cls):
                if field in self.source.own_fields(owner):
                    self.found.add((owner, str(field)))


def _dynamic(function: ast.FunctionDef) -> list[ast.Call]:
    """Calls `getattr(x, name)` whose name is no text."""
    return [
        each
        for each in ast.walk(function)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Name)
        and each.func.id == "getattr"
        and len(each.args) >= 2
        and not isinstance(each.args[1], ast.Constant)
    ]
