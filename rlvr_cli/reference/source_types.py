"""Types of expressions in the package's source, as far as its annotations say: enough to follow a recipe."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace

from rlvr_cli.algorithms import AXES
from rlvr_cli.reference.source import Function, Source, is_property

RECIPE = "rlvr_cli.schema.recipes.Recipe"
BENCH = "rlvr_cli.schema.evaluation.Bench"
ALGORITHM = "rlvr_cli.algorithms.Algorithm"
SEQUENCES = ("list", "tuple", "set", "Sequence", "Iterable", "Iterator", "Collection", "deque")
MAPPINGS = ("dict", "Mapping")
SAME = ("replace", "copy", "deepcopy", "sorted", "list", "reversed", "iter", "set", "tuple")
"""Functions whose result has the type of their first argument."""


@dataclass(frozen=True)
class Types:
    """What a value may be: classes of the package, and what it holds, if it is a collection."""

    classes: frozenset[str] = frozenset()
    element: Types | None = None
    parts: tuple[Types, ...] = ()
    """Of a tuple of fixed length."""
    function: str = ""
    """Qualified name of the function it is."""

    def __or__(self, other: Types) -> Types:
        held = self.element | other.element if self.element and other.element else None
        return Types(
            self.classes | other.classes,
            held or self.element or other.element,
            self.parts or other.parts,
            self.function or other.function,
        )


NOTHING = Types()


@dataclass
class Scope:
    """The names a place in a module knows, and their types."""

    source: Source
    module: str
    inside_class: str = ""
    known: dict[str, Types] = field(default_factory=dict)
    given: dict[tuple[str, str], Types] = field(default_factory=dict)
    """(function, parameter) -> what calls give it, where its annotation leaves that open."""
    seen: dict[tuple[str, str], Types] = field(default_factory=dict)
    """(class, attribute) -> what it is, as far as that is known already."""
    depth: int = 0
    """Of a chain of attributes and calls that is being followed; some lead back to themselves."""

    def inside(self, name: str) -> Scope:
        return replace(
            self, inside_class=f"{self.inside_class or self.module}.{name}", known=dict(self.known)
        )

    def elsewhere(self, full: str) -> Scope:
        """The scope of another class's or function's module."""
        cls = full if full in self.source.classes else ""
        return Scope(
            self.source,
            self.source.module_of(full),
            cls,
            given=self.given,
            seen=self.seen,
            depth=self.depth + 1,
        )

    def of_function(self, node: Function) -> Scope:
        """Within a function: its parameters, and what was known around it."""
        known = dict(self.known)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        full = f"{self.inside_class or self.module}.{node.name}"
        for argument in arguments:
            said = self.annotation(argument.annotation)
            known[argument.arg] = said | self.given.get((full, argument.arg), NOTHING)
        if self.inside_class in self.source.classes and arguments and arguments[0].arg in ("self", "cls"):
            known[arguments[0].arg] = Types(frozenset({self.inside_class}))
        return replace(self, inside_class="", known=known)

    def annotation(self, node: ast.expr | None) -> Types:
        """The types an annotation names."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.annotation(ast.parse(node.value, mode="eval").body)
        if isinstance(node, ast.BinOp):
            return self.annotation(node.left) | self.annotation(node.right)
        if isinstance(node, ast.Subscript):
            return self._generic(ast.unparse(node.value).rpartition(".")[2], node.slice)
        if isinstance(node, ast.Name | ast.Attribute):
            full = self._full(node)
            if full in self.source.classes:
                return Types(frozenset({full}))
            if full in self.source.aliases:
                return self.elsewhere(full).annotation(self.source.aliases[full])
        return NOTHING

    def _generic(self, name: str, inside: ast.expr) -> Types:
        parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        if name in MAPPINGS:
            return Types(element=self.annotation(parts[-1]))
        if name == "tuple" and not (isinstance(parts[-1], ast.Constant) and parts[-1].value is ...):
            return Types(parts=tuple(map(self.annotation, parts)))
        if name in SEQUENCES:
            return Types(element=self.annotation(parts[0]))
        return self.annotation(parts[0]) if name in ("Optional", "ClassVar", "Final") else NOTHING

    def _full(self, node: ast.expr) -> str:
        """Qualified name of a dotted expression; "" where it is none of the package's."""
        if isinstance(node, ast.Name):
            return self.source.resolve(self.module, node.id)
        if isinstance(node, ast.Attribute) and (base := self._full(node.value)) in self.source.paths:
            return self.source.resolve(base, node.attr)
        return ""

    def infer(self, node: ast.expr) -> Types:
        """The types of an expression; NOTHING where they are not the package's or not known."""
        if self.depth > 12:
            return NOTHING
        if isinstance(node, ast.Name):
            full = self._full(node)
            return self.known.get(node.id, Types(function=full) if full in self.source.functions else NOTHING)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            return self._item(node)
        if isinstance(node, ast.IfExp):
            return self.infer(node.body) | self.infer(node.orelse)
        if isinstance(node, ast.BoolOp):
            return self.infer(node.values[0]) | self.infer(node.values[-1])
        if isinstance(node, ast.NamedExpr | ast.Starred | ast.Await):
            return self.infer(node.value)
        if isinstance(node, ast.Tuple):
            return Types(parts=tuple(map(self.infer, node.elts)))
        if isinstance(node, ast.List):
            return Types(element=self.infer(node.elts[0])) if node.elts else NOTHING
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            for generator in node.generators:
                self.bind(generator.target, self.element(generator.iter))
            return Types(element=self.infer(node.elt))
        if isinstance(node, ast.DictComp):
            for generator in node.generators:
                self.bind(generator.target, self.element(generator.iter))
            return Types(element=self.infer(node.value))
        return NOTHING

    def _attribute(self, node: ast.Attribute) -> Types:
        found, base = NOTHING, self.infer(node.value)
        for cls in base.classes:
            found = found | self.attribute(cls, node.attr)
        if not base.classes:
            full = self._full(node)
            return Types(function=full) if full in self.source.functions else NOTHING
        return found

    def attribute(self, cls: str, name: str) -> Types:
        """What `object.name` is, of an object of the class."""
        if (cls, name) not in self.seen:
            self.seen[cls, name] = NOTHING  # to what leads back to itself
            self.seen[cls, name] = self._attribute_of(cls, name)
        return self.seen[cls, name]

    def _attribute_of(self, cls: str, name: str) -> Types:
        for owner in self.source.ancestry(cls):
            if (special := self._open(owner, name)) is not None:
                return special
            scope = self.elsewhere(owner)
            if (annotation := self.source.own_fields(owner).get(name)) is not None:
                return scope.annotation(annotation)
            if (method := self.source.functions.get(f"{owner}.{name}")) is not None:
                result = scope.annotation(method.returns)
                return result if is_property(method) else Types(function=f"{owner}.{name}")
            if (found := scope.assigned(owner, name)) != NOTHING:
                return found
        return NOTHING

    def _open(self, owner: str, name: str) -> Types | None:
        """Fields whose type the schema leaves open, as compose fills them in."""
        if owner == RECIPE and name == "algorithm":
            return Types(frozenset({ALGORITHM}))
        if owner == ALGORITHM and name in AXES:
            return Types(self.source.options(name))
        if owner.endswith(".Stage") and name == "shaping":
            return Types(self.source.options("shaping"))
        if owner.startswith("rlvr_cli.schema.recipes.") and name == "verifiers":
            return Types(element=Types(self.source.verifiers))
        if owner == BENCH and name == "tracked":
            return Types(element=Types(self.source.verifiers))
        if owner == RECIPE and name == "environments":
            return Types(element=Types(self.source.environments))
        picked = {"verifier": self.source.verifiers, "environment": self.source.environments}
        return Types(picked[name]) if owner == BENCH and name in picked else None

    def assigned(self, cls: str, name: str) -> Types:
        """What the constructor of a class assigns to `self.name`."""
        made = self.source.functions.get(f"{cls}.__init__")
        if made is None:
            return NOTHING
        scope = self.of_function(made)
        for node in ast.walk(made):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == f"self.{name}":
                return scope.annotation(node.annotation)
            for target, value in _pairs(node):
                if ast.unparse(target) == f"self.{name}":
                    return scope.infer(value)
        return NOTHING

    def _call(self, node: ast.Call) -> Types:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        mapping = isinstance(node.func, ast.Attribute) and name in ("values", "get", "pop", "items")
        held = self.infer(node.func.value).element if mapping else None  # type: ignore[attr-defined]
        if held is not None:
            pair = Types(element=Types(parts=(NOTHING, held)))
            return {"values": Types(element=held), "items": pair}.get(name, held)
        full = self._full(node.func)
        if full in self.source.classes:
            return Types(frozenset({full}))
        function = full if full in self.source.functions else self.infer(node.func).function
        if (made := self.source.functions.get(function)) is not None:
            return self.elsewhere(function).annotation(made.returns)
        first = self.infer(node.args[0]) if node.args and name in SAME else NOTHING
        if name in ("next", "max", "min") and node.args:
            return self.element(node.args[0])
        if name == "enumerate" and node.args:
            return Types(element=Types(parts=(NOTHING, self.element(node.args[0]))))
        if name == "zip":
            return Types(element=Types(parts=tuple(self.element(each) for each in node.args)))
        return first

    def called(self, node: ast.Call) -> str:
        """Qualified name of the function a call runs, a class's constructor included; "" where not known."""
        full = self._full(node.func)
        full = f"{full}.__init__" if full in self.source.classes else full or self.infer(node.func).function
        return full if full in self.source.functions else ""

    def left_open(self, function: str, parameter: ast.arg) -> bool:
        """Whether an annotation does not say what a parameter is: Any, or a protocol."""
        types: Types | None = self.elsewhere(function).annotation(parameter.annotation)
        while types is not None:
            if not all(self.source.is_protocol(cls) for cls in types.classes):
                return False
            types = types.element
        return True

    def _item(self, node: ast.Subscript) -> Types:
        base = self.infer(node.value)
        if base.parts and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            return base.parts[node.slice.value] if node.slice.value < len(base.parts) else NOTHING
        return base if isinstance(node.slice, ast.Slice) else base.element or NOTHING

    def element(self, node: ast.expr) -> Types:
        """What iterating over an expression gives."""
        types = self.infer(node)
        found = types.element or NOTHING
        for part in types.parts:
            found = found | part
        return found

    def bind(self, target: ast.expr, types: Types) -> None:
        """Let the names of an assignment's left side have these types."""
        if isinstance(target, ast.Name):
            self.known[target.id] = types
        elif isinstance(target, ast.Tuple | ast.List):
            for n, each in enumerate(target.elts):
                self.bind(each, types.parts[n] if n < len(types.parts) else types.element or NOTHING)


def _pairs(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """Single targets of an assignment and their values; `a, b = x, y` has two."""
    if not isinstance(node, ast.Assign):
        return []
    found = []
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            found += list(zip(target.elts, node.value.elts, strict=False))
        else:
            found.append((target, node.value))
    return found
