"""The house: who may import whom, where heavy libraries are imported, how large files and functions are."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path
from statistics import median

import pytest
from places import PACKAGE, ROOT
from rooms import LAYERS, TOP, Package, circles, libraries_out_of_place, table, ways_to_torch, wrong_way

PAGE = ROOT / "docs" / "architecture.md"
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FILE = 300, 60, 120


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(PACKAGE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package as files that a test may spoil."""
    ignored = shutil.ignore_patterns("__pycache__", "recipes", "conf")
    return Path(shutil.copytree(PACKAGE, tmp_path / "rlvr_cli", ignore=ignored))


def test_imports_go_down(package: Package) -> None:
    assert wrong_way(package) == []


def test_no_import_circle_between_files(package: Package) -> None:
    assert circles(package) == []


def test_heavy_libraries_stay_in_their_rooms(package: Package) -> None:
    assert libraries_out_of_place(package) == []


def test_what_runs_before_the_ranks_loads_no_torch(package: Package) -> None:
    assert ways_to_torch(package) == []


@pytest.mark.parametrize(
    ("file", "statement", "said"),
    [
        ("core/files.py", "import rlvr_cli.schema", "core must not know schema"),
        ("schema/stages.py", "from rlvr_cli.engine import pack", "schema must not know engine"),
        ("engine/pack.py", "from rlvr_cli.data.sampler import Sampler", "engine must not know data"),
        ("diagnosis/watch.py", "    from rlvr_cli.tracking import Timer", "diagnosis must not know tracking"),
        ("sampling/collect.py", "from rlvr_cli.evaluation import bench", "sampling must not know evaluation"),
        (
            "evaluation/bench.py",
            "from rlvr_cli.training.parts import Parts",
            "evaluation must not know training",
        ),
        ("launch/start.py", "from rlvr_cli.training.loop import rl", "launch must not know training"),
        ("training/loop.py", "from rlvr_cli.commands import main", "training must not know commands"),
    ],
)
def test_an_import_the_wrong_way_round_is_found(copy: Path, file: str, statement: str, said: str) -> None:
    """Also one inside a function."""
    lines = (copy / file).read_text().rstrip() + "\n\n"
    lines += f"def late():\n{statement}\n" if statement.startswith(" ") else f"{statement}\n"
    (copy / file).write_text(lines)
    [found] = wrong_way(Package(copy))
    assert found == f"{file}:{len(lines.splitlines())}: {said}"


def test_a_circle_is_found(copy: Path) -> None:
    """Even where the second import is for type checkers only."""
    with open(copy / "engine" / "pack.py", "a") as file:
        file.write("\nif TYPE_CHECKING:\n    from rlvr_cli.engine.optimised import Optimised\n")
    [ring] = circles(Package(copy))
    assert "rlvr_cli.engine.pack" in ring and "rlvr_cli.engine.optimised" in ring


def test_a_library_out_of_place_is_found(copy: Path) -> None:
    with open(copy / "training" / "loop.py", "a") as file:
        file.write("\ndef late():\n    import deepspeed\n")
    [found] = libraries_out_of_place(Package(copy))
    assert found.startswith("training/loop.py:") and found.endswith("deepspeed belongs in engine")


def test_a_way_to_torch_is_found(copy: Path) -> None:
    with open(copy / "launch" / "watchdog.py", "a") as file:
        file.write("\nfrom rlvr_cli.core.distributed import gather\n")
    found = ways_to_torch(Package(copy))
    assert "rlvr_cli.launch.watchdog -> rlvr_cli.core.distributed -> torch" in found


def test_every_room_has_its_layer(package: Package) -> None:
    rooms = {package.room(module) for module in package.paths} - {TOP, "conf"}
    assert rooms == {room for layer in LAYERS for room in layer} - {TOP}
    loose = sorted(path.name for path in PACKAGE.glob("*.py"))
    assert len(loose) <= 3, loose


def test_the_page_has_the_rooms_as_they_are(package: Package) -> None:
    """`PYTHONPATH=tests/support python tests/project/test_rooms.py` writes the table anew."""
    assert table(package) in PAGE.read_text()


def test_tests_mirror_the_rooms(package: Package) -> None:
    """A room's tests are found by its name; `project` has those of the whole, `support` what tests share."""
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "._"}
    rooms = {room for layer in LAYERS for room in layer} - {TOP}
    assert folders == rooms | {"golden", "project", "support"}
    assert not list((ROOT / "tests").glob("test_*.py"))


Function = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def functions(package: Package) -> list[tuple[str, int, bool]]:
    """Name, lines, and whether a public one lacks an annotation, of each function; files are parsed once."""
    return [
        (f"{name}.{node.name}", (node.end_lineno or 0) - node.lineno + 1, _bare(node))
        for name, path in package.paths.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function)
    ]


def _bare(node: Function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments = [a for a in arguments if a.arg not in ("self", "cls")]
    lacking = node.returns is None or any(a.annotation is None for a in arguments)
    return lacking and not node.name.startswith("_")


def test_sizes(package: Package, functions: list[tuple[str, int, bool]]) -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in package.paths.items()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}
    assert median(lengths.values()) <= MEDIAN_FILE
    assert len(functions) > 1000 and [(name, n) for name, n, _ in functions if n > LONGEST_FUNCTION] == []


def test_public_functions_are_annotated(functions: list[tuple[str, int, bool]]) -> None:
    assert [name for name, _, bare in functions if bare] == []


if __name__ == "__main__":
    text = PAGE.read_text()
    start = text.index("| room |")
    end = text.index("\n\n", start) + 1
    PAGE.write_text(text[:start] + table(Package(PACKAGE)) + text[end:])
    sys.exit(0)
