"""The package's modules as syntax trees: which classes, functions and names they have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
ENVIRONMENT = "rlvr_cli.environments.environment.Environment"
"""What every environment derives from."""


class Source:
    """An index of a package's source by qualified names, `rlvr_cli.schema.training.Trainer`."""

    def __init__(self, package: Path) -> None:
        self.paths: dict[str, Path] = {}
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        texts = {name: path.read_text() for name, path in self.paths.items()}
        self.trees = {name: ast.parse(text) for name, text in texts.items()}
        self.asking = {name for name, text in texts.items() if "getattr(" in text}
        """Modules that may ask for attributes by names they compute."""
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, Function] = {}
        self.aliases: dict[str, ast.expr] = {}
        """What module-level names stand for."""
        self._imported: dict[str, dict[str, str]] = {}
        self._axis: dict[str, set[str]] = {}
        self._resolved: dict[tuple[str, str], str] = {}
        self._own_fields: dict[str, dict[str, ast.expr]] = {}
        for name, tree in self.trees.items():
            self._imported[name] = {
                alias.asname or alias.name: f"{node.module}.{alias.name}"
                for node in _statements(tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            self._index(name, tree.body)

    def _index(self, prefix: str, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                full = f"{prefix}.{node.name}"
                self.classes[full] = node
                for each in node.decorator_list:
                    if isinstance(each, ast.Call) and ast.unparse(each.func) == "option":
                        self._axis.setdefault(ast.literal_eval(each.args[0]), set()).add(full)
                self._index(full, node.body)
            elif isinstance(node, Function):
                self.functions[f"{prefix}.{node.name}"] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.aliases[f"{prefix}.{node.targets[0].id}"] = node.value

    def resolve(self, module: str, name: str) -> str:
        """Qualified name of what a module calls `name`, through imports; "" where it is not the package's."""
        if (module, name) not in self._resolved:
            self._resolved[module, name] = self._resolve(module, name)
        return self._resolved[module, name]

    def _resolve(self, module: str, name: str) -> str:
        for _ in range(8):  # a name may be passed on by several `__init__.py`
            full = f"{module}.{name}"
            if any(full in known for known in (self.classes, self.functions, self.aliases, self.paths)):
                return full
            imported = self._imported.get(module, {}).get(name)
            if imported is None or imported in self.paths:
                return imported or ""
            module, _, name = imported.rpartition(".")
        return ""

    def parameters(self, function: str) -> list[ast.arg]:
        """Of a function by its qualified name, `self` left out."""
        node = self.functions[function]
        found = [*node.args.posonlyargs, *node.args.args]
        method = function.rpartition(".")[0] in self.classes
        static = any(ast.unparse(each) == "staticmethod" for each in node.decorator_list)
        return [*(found[1:] if method and not static else found), *node.args.kwonlyargs]

    def is_protocol(self, cls: str) -> bool:
        """A class that others are like without deriving from it."""
        return any("Protocol" in ast.unparse(base) for base in self.classes[cls].bases)

    def like(self, cls: str) -> list[str]:
        """The class; of a protocol with fields, those that have all of them."""
        return self._protocols.get(cls, [cls])

    @cached_property
    def _protocols(self) -> dict[str, list[str]]:
        found = {}
        for cls in filter(self.is_protocol, self.classes):
            wanted = set(self.own_fields(cls))
            found[cls] = [name for name in self.classes if wanted <= set(self.fields(name))] if wanted else []
        return found

    def module_of(self, full: str) -> str:
        while full and full not in self.trees:
            full = full.rpartition(".")[0]
        return full

    def ancestry(self, cls: str) -> list[str]:
        """The class and those of the package that it derives from."""
        module = self.module_of(cls)
        bases = [self.resolve(module, ast.unparse(base)) for base in self.classes[cls].bases]
        return [cls, *(each for base in bases if base in self.classes for each in self.ancestry(base))]

    def heirs(self, cls: str) -> list[str]:
        return [each for each, above in self._derived.items() if cls in above]

    @cached_property
    def _derived(self) -> dict[str, list[str]]:
        return {each: above for each in self.classes if (above := self.ancestry(each)[1:])}

    def own_fields(self, cls: str) -> dict[str, ast.expr]:
        """Annotated names in the body of a class."""
        if cls not in self._own_fields:
            self._own_fields[cls] = {
                node.target.id: node.annotation
                for node in self.classes[cls].body
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            }
        return self._own_fields[cls]

    def fields(self, cls: str) -> list[str]:
        """With those of the classes above it."""
        return self._fields[cls]

    @cached_property
    def _fields(self) -> dict[str, list[str]]:
        return {
            cls: [name for each in self.ancestry(cls) for name in self.own_fields(each)]
            for cls in self.classes
        }

    def options(self, axis: str) -> frozenset[str]:
        """Classes of the options of an algorithm's axis."""
        return frozenset(self._axis.get(axis, ()))

    @cached_property
    def verifiers(self) -> frozenset[str]:
        return frozenset(
            name
            for name in self.classes
            if name.startswith("rlvr_cli.verifiers.") and {"name", "weight"} <= set(self.fields(name))
        )

    @cached_property
    def environments(self) -> frozenset[str]:
        return frozenset(each for each, above in self._derived.items() if ENVIRONMENT in above)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node; most of a tree are expressions."""
    for each in ast.iter_child_nodes(node):
        if not isinstance(each, ast.expr):
            yield each
            yield from _statements(each)


def is_property(method: Function) -> bool:
    return any("property" in ast.unparse(each) for each in method.decorator_list)
