"""Reads the package as files and import statements: who knows whom, and where that may not be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

PARTS = ("algorithms", "engine", "rollout", "verifiers", "data", "tracking", "diagnosis", "checkpoints")
"""Siblings that do not know each other; only the rooms above them know two."""
LAYERS = (
    ("core",),
    ("schema", "gym", "otv", "vision"),
    PARTS,
    ("environments",),
    ("episodes",),
    ("compose",),
    ("convert", "reference"),
    ("sampling",),
    ("evaluation",),
    ("training", "preflight", "planning", "doctor", "experience", "inspect"),
    ("dry_run", "launch"),
    ("init",),
    ("sweep",),
    ("commands",),
    ("the package itself",),
)
"""A room may import from its own layer, PARTS excepted, and from those before it."""
EXCEPTIONS = {
    ("launch", "training"),
    ("launch", "evaluation"),
    ("launch", "preflight"),
    ("launch", "experience"),
}
"""What a launcher starts is named by a string: it must not be imported though the layers would allow it."""
ONLY_IN = {
    "hydra": ("compose",),
    "vllm": ("rollout",),
    "deepspeed": ("engine",),
    "peft": ("engine",),
    "wandb": ("tracking",),
    "rich": ("tracking",),
    "tensorboard": ("tracking",),
    "datasets": ("data",),
    "math_verify": ("verifiers",),
    "langdetect": ("verifiers",),
    "reasoning_gym": ("gym",),
    "bm25s": ("environments",),
}
NO_TORCH = (
    "commands",
    "reference",
    "sweep",
    "launch",
    "compose",
    "dry_run",
    "init",
    "convert",
    "schema",
    "verifiers",
    "environments",
    "diagnosis",
    "gym",
)
"""Rooms whose modules load without torch, with all that they import on the way, and import none later."""
LAZY_TORCH = (
    "rlvr_cli.verifiers.reward_model",
    "rlvr_cli.verifiers.offloaded",
    "rlvr_cli.environments.generators",
)
"""May import it inside functions: they run in a worker of their own."""
TOP = LAYERS[-1][0]


@dataclass(frozen=True)
class Import:
    """One name that a module imports."""

    name: str
    """`rlvr_cli.core.types.Batch`, `torch.nn`."""
    line: int
    when: Literal["load", "call", "typing"]
    """With the module, within a function, or for type checkers only."""


class Package:
    """The modules below a folder `rlvr_cli`, and their imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = sorted(folder.rglob("*.py"))
        self.paths = {self._name(path): path for path in paths}
        self.imports = {name: imports(path.read_text()) for name, path in self.paths.items()}

    def _name(self, path: Path) -> str:
        parts = path.relative_to(self.folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def room(self, module: str) -> str:
        """`engine` of `rlvr_cli.engine.trainer`; TOP for the modules that stand in no room."""
        parts = module.split(".")
        return parts[1] if len(parts) > 1 and (self.folder / parts[1]).is_dir() else TOP

    def target(self, name: str) -> str | None:
        """The module of ours that an imported name is, or stands in."""
        while name.startswith(self.folder.name):
            if name in self.paths:
                return name
            name = name.rpartition(".")[0]
        return None

    def known(self, module: str, *, loaded: bool = False) -> dict[str, int]:
        """Our modules that `module` imports (`loaded`: when it is itself) -> a line that does."""
        found = {}
        for each in self.imports[module]:
            other = self.target(each.name)
            if other is not None and other != module and (each.when == "load" or not loaded):
                found[other] = each.line
        return found

    def rooms_known(self, room: str) -> set[str]:
        """Rooms that the modules of `room` import."""
        mine = [module for module in self.paths if self.room(module) == room]
        return {self.room(other) for module in mine for other in self.known(module)} - {room, TOP}


@cache
def imports(text: str) -> list[Import]:
    """Every import statement in a file's text, also those within functions and for type checkers."""

    def walk(node: ast.AST, when: Literal["load", "call", "typing"]) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, when) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{ast.unparse(child)}: relative import"
                yield from (
                    Import(f"{child.module}.{alias.name}", child.lineno, when) for alias in child.names
                )
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from walk(child, "typing")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(child, "call")
            else:
                yield from walk(child, when)

    return list(walk(ast.parse(text), "load"))


def wrong_way(package: Package) -> list[str]:
    """Imports that the layers forbid: `file:line: room must not know room`."""
    height = {room: n for n, layer in enumerate(LAYERS) for room in layer}
    found = []
    for module, path in package.paths.items():
        room = package.room(module)
        for other, line in package.known(module).items():
            target = package.room(other)
            siblings = room in PARTS and target in PARTS and room != target
            upward = height[target] > height[room] and other != package.folder.name  # its version
            if siblings or upward or (room, target) in EXCEPTIONS:
                where = path.relative_to(package.folder)
                found.append(f"{where}:{line}: {room} must not know {target}")
    return found


def circles(package: Package) -> list[list[str]]:
    """Groups of modules each of which imports, over others, itself; every import counts."""
    graph = {module: set(package.known(module)) for module in package.paths}
    reached: dict[str, set[str]] = {}
    for module in graph:
        seen: set[str] = set()
        todo = list(graph[module])
        while todo:
            if (other := todo.pop()) not in seen:
                seen.add(other)
                todo += graph[other]
        reached[module] = seen
    rings = {frozenset(o for o in reached[m] if m in reached[o]) for m in graph if m in reached[m]}
    return sorted(sorted(ring) for ring in rings)


def libraries_out_of_place(package: Package) -> list[str]:
    """Heavy libraries that are imported in a room that has no business with them."""
    found = []
    for module, path in package.paths.items():
        for each in package.imports[module]:
            homes = ONLY_IN.get(each.name.split(".")[0])
            if homes is not None and package.room(module) not in homes:
                where = path.relative_to(package.folder)
                found.append(
                    f"{where}:{each.line}: {each.name.split('.')[0]} belongs in {' or '.join(homes)}"
                )
    return found


def ways_to_torch(package: Package) -> list[str]:
    """For each module of NO_TORCH that loads torch when it is imported, the way there."""
    found = []
    for module in package.paths:
        if package.room(module) not in (*NO_TORCH, TOP):
            continue
        ways = {module: module}
        todo = [module]
        while todo:
            this = todo.pop()
            lazily = this == module and module not in LAZY_TORCH  # what it may not do later either
            when = {"load", "call"} if lazily else {"load"}
            if any(i.when in when and i.name.split(".")[0] == "torch" for i in package.imports[this]):
                found.append(f"{ways[this]} -> torch")
                break
            parents = [".".join(this.split(".")[:n]) for n in range(1, this.count(".") + 1)]
            for other in [*package.known(this, loaded=True), *parents]:
                if other in package.paths and other not in ways:
                    ways[other] = f"{ways[this]} -> {other}"
                    todo.append(other)
    return found


def table(package: Package) -> str:
    """The rooms as a table of the documentation: name, what it is (its docstring), which rooms it knows."""
    rows = ["| room | what it is | knows |", "|---|---|---|"]
    for layer in LAYERS[:-1]:
        for room in layer:
            doc = ast.get_docstring(ast.parse((package.folder / room / "__init__.py").read_text())) or ""
            known = package.rooms_known(room)
            order = [f"`{each}`" for below in LAYERS for each in below if each in known]
            rows.append(f"| `{room}/` | {doc.splitlines()[0]} | {', '.join(order) or 'none'} |")
    return "\n".join(rows) + "\n"
