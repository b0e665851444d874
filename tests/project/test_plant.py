"""The planted faults fit the code as it stands, and the program that plants them tells who notices."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import plant
import pytest
from places import PACKAGE, ROOT, SUPPORT

FAULTS = plant.read_faults(ROOT / plant.FAULTS)
MODULE = '''def total(values):
    """A room with one function."""
    return sum(values)


def largest(values):
    return max(values)


def smallest(values):
    return min(values)


def count(values):
    while values:
        return len(values)
    return 0
'''
TESTS = {
    "core/test_sums.py": """import pytest
from rlvr_cli.core.sums import count, largest, total

def test_total():
    assert total([1, 2]) == 3 and count([]) == 0

@pytest.mark.slow
def test_largest():
    assert largest([1, 2]) == 2
""",
    "project/test_whole.py": "def test_nothing():\n    pass\n",
    "schema/test_other.py": """from rlvr_cli.core.sums import count

def test_count():
    assert count([7, 7]) == 2
""",
}
PLANTED = [  # old, new, verdict, what notices
    ("return sum(values)", "return sum(values) + 1", "fast", "tests/core/test_sums.py::test_total"),
    ("return len(values)", "return len(set(values))", "fast", "tests/schema/test_other.py::test_count"),
    ("return max(values)", "return min(values)", "slow", "tests/core/test_sums.py::test_largest"),
    ("return min(values)", "return max(values)", "survived", ""),
    ("return 0", "while True: pass", "fast", "timeout of tests/core"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A miniature of one: a package with a function or four, their tests, the program and its faults."""
    if shutil.which("git") is None:
        pytest.skip("a checkout needs git")
    root = tmp_path / "checkout"
    files = {"rlvr_cli/__init__.py": "", "rlvr_cli/core/__init__.py": "", "rlvr_cli/core/sums.py": MODULE}
    files |= {f"tests/{name}": text for name, text in TESTS.items()}
    entries = [
        {"id": f"core{n}", "kind": "own", "file": "core/sums.py", "old": old, "new": new, "why": "a reason"}
        | {"tests": ["tests/core/test_sums.py::test_largest"]}
        for n, (old, new, *_) in enumerate(PLANTED, 1)
    ]
    files[str(plant.FAULTS)] = json.dumps(entries)
    files["pytest.ini"] = "[pytest]\npythonpath = .\naddopts = -q\nmarkers =\n    slow: slow\n    gpu: gpu\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(SUPPORT / "plant.py", root / "tests" / "support")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


def planted(checkout: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "tests" / "support" / "plant.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=checkout)


def test_every_fault_fits_the_code() -> None:
    """Its `old` is there exactly once: where code changes, its faults must."""
    assert plant.misfits(FAULTS, PACKAGE) == []


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "sums.py").write_text("a = 1\nb = 1\nc = 2\n")
    made = [("F1", "= 1", "= 3"), ("F2", "= 4", "= 3"), ("F3", "= 2", "= 2"), ("F3", "c =", "d =")]
    faults = [
        plant.Fault(id=name, kind="own", file="core/sums.py", old=old, new=new, tests=[], why="")
        for name, old, new in made
    ]
    found = plant.misfits(faults, tmp_path)
    assert [said.partition(":")[0] for said in found] == ["F3", "F1", "F2", "F3"]
    assert "2 faults have this id" in found[0] and "2 times" in found[1] and "0 times" in found[2]


def test_the_fast_suite_is_that_of_the_makefile() -> None:
    fast = f'test-fast: $(READY)\n\t$(TESTS) -m "{plant.FAST[1]}" --examples 0.25\n'
    assert fast in (ROOT / "Makefile").read_text()


def test_every_faulty_file_compiles() -> None:
    """A crash at the import is no fault worth planting."""
    for fault in FAULTS:
        text = (PACKAGE / fault.file).read_text()
        compile(text.replace(fault.old, fault.new), fault.file, "exec")


def test_the_slow_tests_that_faults_name_are_there() -> None:
    for fault in FAULTS:
        for test in fault.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text()
            assert f"def {name.partition('[')[0]}(" in text if name else "slow" in text or "long" in text, (
                fault.id,
                test,
            )


def test_faults_are_of_every_room_that_has_logic() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"conf"}
    own = Counter(fault.room for fault in FAULTS if fault.kind == "own")
    assert own.keys() == rooms


@pytest.mark.long
def test_who_notices_a_fault_is_told(checkout: Path, tmp_path: Path) -> None:
    """Of a room's own fast tests, those of another, slow ones, none, and one that makes tests hang."""
    report = tmp_path / "report.json"
    done = planted(checkout, "--slow", "--jobs", "2", "--limit", "15", "--json", str(report))
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text())["rows"]
    found = {row["id"]: (row["verdict"], row["test"]) for row in rows}
    assert found == {f"core{n}": (verdict, test) for n, (*_, verdict, test) in enumerate(PLANTED, 1)}
    assert done.stdout.splitlines()[-1].split() == ["all", "5", "3", "1", "1"]
    assert (checkout / "rlvr_cli" / "core" / "sums.py").read_text() == MODULE


@pytest.mark.slow
def test_faults_that_have_rotted_and_a_suite_that_fails_are_told_apart(checkout: Path) -> None:
    """Code that has changed under its fault ends with 2, tests that fail without a fault with 1."""
    assert planted(checkout, "--only", "core9").stderr == "core9: no such fault\n"
    sums = checkout / "rlvr_cli" / "core" / "sums.py"
    sums.write_text(MODULE.replace("return sum(values)", "return sum(values) + 2"))
    done = planted(checkout, "--only", "core1")
    assert done.returncode == 1 and "failed tests/core/test_sums.py::test_total" in done.stdout
    sums.write_text(MODULE.replace("return max(values)", "return sorted(values)[-1]"))
    done = planted(checkout, "--only", "core1")
    assert done.returncode == 2 and done.stderr.startswith("core3: `return max(values)` is 0 times")
