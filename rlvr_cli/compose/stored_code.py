"""The user's code that judged earlier results, found again by its SHA-256: for `rlvr eval --from`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlvr_cli.compose.plugin_places import say
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import FOLDER, Code, around, contents, copies_of, digest, recorded
from rlvr_cli.core.result_files import read_result

Tree = dict[str, Any]
PLUGINS = "plugins."


def plugins_of_run(run: Path) -> list[str]:
    """What `plugins` is of a recipe of this run: its copies, and what is installed."""
    found = [code for code in recorded(run) if code.key.startswith(PLUGINS)]
    return [_kept(code, run) or code.key.removeprefix(PLUGINS) for code in found]


def as_run_had_it(benches: dict[str, Tree], run: Path | None) -> dict[str, Tree]:
    """Benches of a run's recipe, whose verifiers have their files as the run has kept them."""
    codes = {code.path: code for code in recorded(run)} if run is not None else {}

    def kept(value: Any) -> Any:
        return (_kept(codes[value], run) or value) if isinstance(value, str) and value in codes else value

    return {
        name: bench | {"verifier": {key: kept(value) for key, value in bench["verifier"].items()}}
        if isinstance(bench.get("verifier"), dict)
        else bench
        for name, bench in benches.items()
    }


def _kept(code: Code, run: Path | None) -> str | None:
    """The copy that a run has; told, where the file itself is another one by now. None: it has none."""
    if run is None or code.copy is None or not (copy := run / FOLDER / code.copy).exists():
        return None
    if (now := _sum(Path(code.path))) is not None and now != code.sha256:
        say(f"{code.path} has changed since the run was started; its copy of then is used: {copy}")
    return str(copy.resolve())


def plugins_of_results(results: Mapping[str, Path]) -> list[str]:
    """What `plugins` is where these result files (by bench) are judged anew and nobody names any.

    UserError where two of them were judged by different files of one plugin.
    """
    judged: dict[str, tuple[str, str]] = {}
    names: dict[str, str] = {}
    for bench, file in results.items():
        result = read_result(file)
        if "code" not in result:  # of an earlier version: all that the run has
            run = around(file.parent)
            names |= {name: name for name in (plugins_of_run(run) if run is not None else ())}
        for row in result.get("code", ()):
            if not row["key"].startswith(PLUGINS):
                continue
            other, sha256 = judged.setdefault(row["key"], (bench, row["sha256"]))
            if sha256 != row["sha256"]:
                raise UserError(
                    f"--from: {other} and {bench} were judged by different files of {row['key']} (sha256 "
                    f"{sha256[:8]}, {row['sha256'][:8]}); judge one at a time with --bench, or name the file "
                    "for both: plugins=[...]"
                )
            module = row["key"].removeprefix(PLUGINS)
            names[row["key"]] = module if row["installed"] else str(_place(row, result["code"], file))
    return list(names.values())


def verifier_of(result: Tree, file: Path) -> Tree:
    """The verifier of a result file, with the code that it had then."""
    rows = result.get("code", [])
    named = {row["key"].removeprefix("verifier."): row for row in rows}
    places = {
        name: str(_place(named[name], rows, file)) for name in result["verifier"] if name in named
    }  # what a file imports lies beside it
    return dict(result["verifier"]) | places


def _place(row: Tree, rows: list[Tree], file: Path) -> Path:
    """A copy of it that has its imports beside it as they were, or where it was itself."""
    begin, path = f"{row['key']}/", Path(row["path"])
    beside = {
        each["key"].removeprefix(begin): each["sha256"] for each in rows if each["key"].startswith(begin)
    }
    for copy in copies_of(file.parent, path, row["sha256"]):
        if all(_sum(copy.parent / below) == sha256 for below, sha256 in beside.items()):
            return copy
    for each in (row, *(other for other in rows if other["key"].startswith(begin))):
        name, now = each["path"], _sum(Path(each["path"]))
        if now is not None and now != each["sha256"]:
            say(
                f"no copy is left of the {Path(name).name} that judged {file} (sha256 {each['sha256'][:8]}); "
                f"where no other one is named, it is judged by what {name} is now (sha256 {now[:8]})"
            )
    return path


def _sum(path: Path) -> str | None:
    return digest(contents(path)) if path.exists() else None
