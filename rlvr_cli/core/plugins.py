"""Plugins: Python of the user that adds to the package, under the same module names in every process.

`use` imports the plugins of a recipe; what asks for options, verifiers or families then finds those in them
beside the package's own (`collect`). A plugin is imported by its plain name (`my_algo`), from the place that
`use` or `announce` says, whatever `sys.path` holds: ranks and verifier workers unpickle its classes by it.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from time import perf_counter
from typing import Any

from rlvr_cli.core.errors import UserError

PACKAGE = __name__.partition(".")[0]
NAME = "rlvr"
"""What messages call the package."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file, a package in a folder, or an installed module."""

    module: str
    """Name it is imported by."""
    shown: str
    """What messages call it."""
    path: Path | None = None
    """Its file or its folder; None: it is installed, and imported as anything else is."""
    sha256: str = ""
    """Of its files as they were when it was found."""
    files: Mapping[str, bytes]
    """They themselves, by path below `path` ("" for a single file); empty where it is installed."""
    installed_at: Path | None = None
    version: str | None = None
    """Of the distribution it was installed with."""
    everywhere: bool = False
    """It is an entry point: loaded for every recipe, named by none."""


class _Uncached(SourceFileLoader):
    """Compiled anew each time: a bytecode file knows seconds only, and a copy would get a `__pycache__`."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError("no bytecode file")


class _Finder(MetaPathFinder):
    """Finds the modules of plugins where they are; asked before `sys.path` is."""

    def __init__(self) -> None:
        self.places: dict[str, Path] = {}
        """Name of a plugin's module -> its file or folder."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        root, *below = fullname.split(".")
        if (place := self.places.get(root)) is None:
            return None
        base = place.joinpath(*below)
        if (base / "__init__.py").is_file():
            return _spec(fullname, base / "__init__.py", [str(base)])
        file = base if not below else base.with_name(f"{base.name}.py")
        return _spec(fullname, file, None) if file.is_file() else None


def _spec(name: str, file: Path, below: list[str] | None) -> ModuleSpec | None:
    loader = _Uncached(name, str(file))
    return spec_from_file_location(name, file, loader=loader, submodule_search_locations=below)


_finder = _Finder()
_active: list[Plugin] = []
_loaded: dict[str, tuple[Path, str]] = {}
"""Module of a plugin -> place and hash it was imported with."""
seconds: dict[str, float] = {}
"""Module of a plugin -> how long its import took in this process."""


def announce(places: Mapping[str, Path]) -> None:
    """From now on these modules are found at these places, when somebody imports them."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.places.update(places)


def places() -> dict[str, Path]:
    """What another process must announce in order to unpickle what this one has pickled."""
    return dict(_finder.places)


def active() -> list[Plugin]:
    """The plugins in use."""
    return list(_active)


def use(wanted: Sequence[Plugin]) -> None:
    """Have these plugins and no others; UserError, and none, where one does not import."""
    _active.clear()
    for plugin in wanted:
        if plugin.path is not None and _loaded.get(plugin.module) != (plugin.path, plugin.sha256):
            _forget(plugin.module)
    announce({plugin.module: plugin.path for plugin in wanted if plugin.path is not None})
    for plugin in wanted:
        started = perf_counter()
        try:
            _import(plugin)
        except (Exception, SystemExit) as error:  # of any kind: the user's own code
            for each in wanted:
                if each.path is not None:
                    _forget(each.module)
            raise UserError(f"plugins: {_failure(plugin, wanted, error)}") from error
        seconds.setdefault(plugin.module, perf_counter() - started)
        if plugin.path is not None:
            _loaded[plugin.module] = (plugin.path, plugin.sha256)
    _active.extend(wanted)


def _import(plugin: Plugin) -> None:
    """A package of the user's with all its modules, as the package's own folders are scanned."""
    module = import_module(plugin.module)
    if plugin.path is not None and plugin.path.is_dir():
        for found in pkgutil.walk_packages(module.__path__, f"{plugin.module}.", onerror=_raise):
            if not any(part.startswith("_") for part in found.name.split(".")):
                import_module(found.name)


def _raise(name: str) -> None:
    raise  # walk_packages calls this within its except clause


def _forget(module: str) -> None:
    _loaded.pop(module, None)
    seconds.pop(module, None)
    _finder.places.pop(module, None)
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        del sys.modules[name]


def _failure(plugin: Plugin, wanted: Sequence[Plugin], error: BaseException) -> str:
    """File, line and error; and what to do about a file that lies beside it and is not named."""
    where = plugin.shown
    if isinstance(error, SyntaxError):
        where = f"{error.filename or plugin.shown} line {error.lineno}"
        text = f"{type(error).__name__}: {error.msg}"
    else:
        places = [str(each.path) for each in wanted if each.path is not None]
        for frame in traceback.extract_tb(error.__traceback__):
            if any(frame.filename.startswith(place) for place in places):
                where = f"{frame.filename} line {frame.lineno}"
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    beside = plugin.path.parent / f"{(absent or '').partition('.')[0]}.py" if plugin.path else None
    hint = f"; name {beside.name} in plugins, too" if absent and beside and beside.is_file() else ""
    return f"{where}: {' '.join(text.split())}{hint}"


def members() -> Iterator[tuple[Plugin, Any]]:
    """Every class and function in the namespaces of the plugins in use, but those of the package."""
    for plugin in _active:
        seen: set[int] = set()
        for name, module in list(sys.modules.items()):
            if name != plugin.module and not name.startswith(f"{plugin.module}."):
                continue
            for value in list(vars(module).values()):
                if (not isinstance(value, type) and not inspect.isfunction(value)) or id(value) in seen:
                    continue
                seen.add(id(value))
                if str(value.__module__).partition(".")[0] != PACKAGE:
                    yield plugin, value


def collect(what: str, own: Mapping[str, Any], name_of: Callable[[Any], str | None]) -> dict[str, Any]:
    """`own`, which the package has, and what of it the plugins have; UserError where two have one name.

    `name_of`: the name of what is such a thing, None of what is not.
    """
    found = dict(own)
    origin = dict.fromkeys(own, NAME)
    for plugin, value in members():
        if (name := name_of(value)) is None:
            continue
        if found.setdefault(name, value) is not value:
            both = f"{origin[name]} and {plugin.shown}"
            raise UserError(f"plugins: {both} both have the {what} '{name}'; rename one of them")
        origin.setdefault(name, plugin.shown)
    return found
