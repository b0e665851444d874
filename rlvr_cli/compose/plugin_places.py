"""Where the user's Python is: paths beside the recipe or the working directory, copies, installed modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlvr_cli.core import plugins, recorded_code
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.plugins import PACKAGE, Plugin

ENTRY_POINTS = "rlvr"
"""Group of entry points; each names a module that is a plugin of every recipe."""


@dataclass(frozen=True)
class Places:
    """Where the paths of the user's code are looked for, and where copies are of what is gone."""

    folders: Sequence[Path] = ()
    copies: Mapping[str, Path] = field(default_factory=dict)
    """Original -> copy, of the run whose recipe is read."""
    only_copies: bool = False
    """A rank reads it: code is as it was when the run was started."""

    def find(self, text: str) -> Path | None:
        """A file or folder by its path: beside the recipe, in the working directory, or its copy."""
        copy = self.copies.get(text)
        if copy is not None and (self.only_copies or not Path(text).exists()):
            if not self.only_copies:
                say(f"{text} is gone; the run's copy of it is used: {copy}")
            return copy
        found = (folder / Path(text).expanduser() for folder in self.folders)
        return next((path.resolve() for path in found if path.exists()), None)


def say(line: str) -> None:
    print(f"rlvr: {line}", file=sys.stderr, flush=True)


def resolve(text: Any, where: str, places: Places, folders: list[Path]) -> list[Plugin]:
    """What one entry of `plugins` names; folders that may have groups are added to `folders`."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: plugins: '{text}' is no file, folder or module; write [my_algo.py]")
    path = places.find(text) or (places.find(f"{text}.py") if not text.endswith(".py") else None)
    if path is None:
        if text.endswith(".py") or "/" in text or not _importable(text, where):
            raise UserError(f"{where}: plugins: {_absent(text, places)}")
        return [_installed(text)]
    if path.is_dir():
        return of_folder(path, text, folders)
    if path.suffix != ".py":
        raise UserError(f"{where}: plugins: {text} is no Python file; its name must end in .py")
    folders.append(path.parent)
    return [_local(path, text)]


def of_folder(path: Path, shown: str, folders: list[Path]) -> list[Plugin]:
    """A package is one plugin; of any other folder each file and each package is one."""
    folders.append(path)
    if (path / "__init__.py").is_file():
        return [_local(path, shown)]
    inside = [each for each in sorted(path.iterdir()) if not each.name.startswith(("_", "."))]
    packages = [each for each in inside if (each / "__init__.py").is_file()]
    folders += packages
    found = [each for each in inside if each.is_file() and each.suffix == ".py"] + packages
    return [_local(each, f"{shown.rstrip('/')}/{each.name}") for each in found]


def _local(path: Path, shown: str) -> Plugin:
    module = path.stem if path.is_file() else path.name
    if not module.isidentifier():
        raise UserError(f"plugins: {shown} cannot be imported by its name; use letters, digits and _ only")
    if (other := _other_module(module, path)) is not None:
        raise UserError(f"plugins: {shown} has the name of the module {module} ({other}); rename yours")
    files = recorded_code.contents(path)
    return Plugin(module=module, shown=shown, path=path, sha256=recorded_code.digest(files), files=files)


def _other_module(module: str, path: Path) -> str | None:
    """What would be hidden by a plugin of that name: of the standard library, or installed."""
    if module in sys.stdlib_module_names or module == PACKAGE:
        return "of Python itself" if module != PACKAGE else "this package"
    if module in plugins.places():
        return None
    own = {str(path), str(path / "__init__.py")}
    imported = getattr(sys.modules.get(module), "__file__", None)
    elsewhere = [place for place in sys.path if place and Path(place).resolve() != Path.cwd()]
    spec = PathFinder.find_spec(module, elsewhere)
    for origin in (imported, spec.origin if spec is not None else None):
        if origin is not None and str(Path(origin).resolve()) not in own:
            return str(origin)
    return None


def _importable(text: str, where: str) -> bool:
    root = text.partition(".")[0]
    if not all(part.isidentifier() for part in text.split(".")) or root in plugins.places():
        return False
    try:
        return find_spec(text) is not None
    except ModuleNotFoundError:
        return False
    except Exception as error:  # a dotted name imports what stands before the dot
        raise UserError(f"{where}: plugins: {text}: {type(error).__name__}: {error}") from error


def _installed(module: str, shown: str | None = None, everywhere: bool = False) -> Plugin:
    try:
        version = metadata.version(module.partition(".")[0])
    except metadata.PackageNotFoundError:
        version = None
    return Plugin(module=module, shown=shown or module, files={}, version=version, everywhere=everywhere)


def entry_points(named: set[str]) -> list[Plugin]:
    """What installed distributions add to every recipe; `named` are there already."""
    places = [os.path.abspath(place) for place in sys.path]  # "" is the working directory
    looked = tuple((place, os.stat(place).st_mtime_ns) for place in places if os.path.exists(place))
    points = {point.module: point for point in _declared(looked)}
    found = []
    for module, point in sorted(points.items()):
        if module not in named:
            dist = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
            found.append(_installed(module, f"{module} of {dist}", everywhere=True))
    return found


@lru_cache(maxsize=4)
def _declared(looked: tuple[tuple[str, int], ...]) -> tuple[metadata.EntryPoint, ...]:
    """Of all that is installed in these folders as they are: hundreds of files, asked for by every recipe."""
    return tuple(metadata.entry_points(group=ENTRY_POINTS))


def _absent(text: str, places: Places) -> str:
    looked = [str(folder) for folder in dict.fromkeys(places.folders)]
    near = [file.name for folder in places.folders for file in folder.glob("*.py")]
    near += [file.parent.name for folder in places.folders for file in folder.glob("*/__init__.py")]
    module = "" if text.endswith(".py") or "/" in text else ", and no module of that name is installed"
    return f"there is no {text} in {' or '.join(looked)}{module}{hint(text, near, 'Python there')}"
