"""Import of a user's file or module, and the function in it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from rlvr_cli.core.errors import hint


class Unusable(Exception):
    """The user's code cannot be used; one line that says why."""


class _Source(Loader):
    """Runs the text of a file as it was read once, whatever has become of the file since."""

    def __init__(self, path: str, text: bytes) -> None:
        self._path, self._text = path, text

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._text, self._path, "exec"), module.__dict__)

    def get_source(self, name: str) -> str:
        """For the lines of a traceback."""
        return self._text.decode("utf-8", "replace")


class _Copies(MetaPathFinder):
    """Finds what a run has copied beside a file: by its text, with the name of the file it was made of.

    So whatever it opens or imports besides is looked for where it was.
    """

    def __init__(self, copies: Path, originals: Path) -> None:
        self._copies, self._originals = copies, originals

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        below = Path(*fullname.split("."))
        for file in (below / "__init__.py", below.with_name(f"{below.name}.py")):
            if (self._copies / file).is_file():
                package, original = file.name == "__init__.py", self._originals / file
                source = _Source(str(original), (self._copies / file).read_bytes())
                spec = ModuleSpec(fullname, source, origin=str(original), is_package=package)
                spec.has_location = True
                if package:
                    spec.submodule_search_locations = [str(original.parent)]
                return spec
        return None


def load(
    path: str | None, text: bytes, module: str | None, function: str, folders: Sequence[str] = ()
) -> tuple[ModuleType, Any]:
    """The module and what it calls `function` (dots go into classes and objects); Unusable without one."""
    loaded = load_module(path, text, module, folders)
    shown = Path(path).name if path is not None else str(module)
    found: Any = loaded
    for part in function.split("."):
        if not hasattr(found, part):
            having = [name for name, value in vars(loaded).items() if callable(value) and name[:1] != "_"]
            raise Unusable(f"{shown} has no '{function}'{hint(function, having, 'it has')}")
        found = getattr(found, part)
    if not callable(found):
        raise Unusable(f"{shown}: '{function}' is {type(found).__name__} and cannot be called")
    return loaded, found


def load_module(path: str | None, text: bytes, module: str | None, folders: Sequence[str] = ()) -> ModuleType:
    """The module; Unusable, with file and line, where it does not import.

    A file is imported under a name made of its path, so that files of one name are different modules.
    `folders` are searched first for what it imports. Where there are several, the first has copies of what is
    in the last, whose names they bear.
    """
    shown = Path(path).name if path is not None else str(module)
    sys.path[:0] = folders
    if path is not None and len(folders) > 1:
        sys.meta_path.insert(0, _Copies(Path(folders[0]), Path(folders[-1])))
        path = str(Path(folders[-1]) / shown)
    try:
        return import_module(str(module)) if path is None else _from_text(path, text)
    except (Exception, SystemExit) as error:
        raise Unusable(f"{_place(error, path, shown)}: {last_line(error)}") from error


def _from_text(path: str, text: bytes) -> ModuleType:
    name = f"rlvr_user_{sha256(path.encode()).hexdigest()[:16]}"
    spec = ModuleSpec(name, _Source(path, text), origin=path)
    spec.has_location = True
    module = module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look themselves up
    assert spec.loader is not None
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _place(error: BaseException, path: str | None, shown: str) -> str:
    """File and line of the user's own code that the error comes from."""
    if isinstance(error, SyntaxError):
        return f"{Path(error.filename or shown).name} line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if path is not None and f.filename == path]
    return f"{shown} line {frames[-1].lineno}" if frames else shown


def last_line(error: BaseException) -> str:
    """`ValueError: no number in it`, on one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split()).rstrip(": ")


def instance_of(found: Any, kwargs: Mapping[str, Any]) -> Any:
    """An object of a class, made with `kwargs`; Unusable where that fails."""
    try:
        return found(**kwargs)
    except Exception as error:
        raise Unusable(f"{found.__name__} cannot be made with kwargs: {last_line(error)}") from error
