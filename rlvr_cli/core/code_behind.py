"""The user's code behind a plugin, a file that a verifier names, or a verifier: files with their SHA-256."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.imports_beside import imports_beside
from rlvr_cli.core.plugins import Plugin
from rlvr_cli.core.recorded_code import Code, contents, digest, origins


def of_plugin(plugin: Plugin) -> Code:
    """Of one that is installed nothing is copied."""
    key = f"plugins.{plugin.module}"
    if plugin.path is not None:
        copy = f"plugins/{plugin.path.name}"
        return Code(key=key, path=str(plugin.path), sha256=plugin.sha256, copy=copy, files=plugin.files)
    file = Path(str(sys.modules[plugin.module].__file__))
    if file.name != "__init__.py":
        return Code(key=key, path=str(file), sha256=digest(contents(file)), version=plugin.version)
    sources = {str(f.relative_to(file.parent)): f.read_bytes() for f in file.parent.rglob("*.py")}
    return Code(key=key, path=str(file.parent), sha256=digest(sources), version=plugin.version)


def of_file(key: str, path: Path) -> list[Code]:
    """A file that a verifier names under `key`, and what it imports from its folder, each as
    `<key>/<its path there>`."""
    folder = key.rpartition(".")[0]
    found = []
    for each in [path, *(imports_beside(path) if path.suffix == ".py" else [])]:
        below, files = each.relative_to(path.parent).as_posix(), contents(each)
        own = key if each == path else f"{key}/{below}"
        copy = f"{folder}/{below}"
        found.append(Code(key=own, path=str(each), sha256=digest(files), copy=copy, files=files))
    return found


def of_verifier(verifier: Any) -> list[dict[str, Any]]:
    """What a result file says of the code that has judged: {key, path, sha256, installed}.

    `path` is the user's own, also where a copy of it was used; empty of a verifier of this package that names
    no file. `key`: `plugins.<module>`, or `verifier.<field>`, and that with `/<path>` of what the file
    imports.
    """
    found = [of_plugin(each) for each in _plugins_behind(type(verifier))]
    for name in getattr(verifier, "code_paths", ()):
        if path := getattr(verifier, name):
            found += of_file(f"verifier.{name}", Path(path))
    return [
        {
            "key": code.key,
            "path": str(origins(Path(code.path))[-1]),
            "sha256": code.sha256,
            "installed": code.copy is None,
        }
        for code in found
    ]


def _plugins_behind(cls: type) -> list[Plugin]:
    """Those that have the class in their namespace, and those that these take anything from, by module."""
    waiting = [plugin for plugin, value in plugins.members() if value is cls]
    found: dict[str, Plugin] = {}
    while waiting:
        plugin = waiting.pop()
        if plugin.module in found:
            continue
        found[plugin.module] = plugin
        roots = {name.partition(".")[0] for name in _taken(plugin)}
        waiting += [each for each in plugins.active() if each.module.partition(".")[0] in roots]
    return [found[module] for module in sorted(found)]


def _taken(plugin: Plugin) -> Iterator[str]:
    """Names of the modules that what stands in a plugin's namespaces is from."""
    for name, module in list(sys.modules.items()):
        if name == plugin.module or name.startswith(f"{plugin.module}."):
            for value in list(vars(module).values()):
                yield (
                    value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
                )
