"""Plants the faults of faults.yaml in copies of the checkout, one at a time, and says which tests notice.

    python tests/support/plant.py [--only ID,ID] [--kind review|own] [--slow] [--jobs N] [--json FILE]

The checkout as it is (tracked files, and others that are not ignored) is copied first, and its fast suite
must pass there. Each fault then gets fresh copies, in which run, up to the first failure: the fast tests of
its room and of tests/project; the rest of the fast suite; with --slow the slow tests that it names, each of
which must pass without the fault. Nothing of one fault is left for the next: no file, no bytecode, no
examples of hypothesis, whose seed is fixed.

A row for each fault: who noticed (`fast`, `slow`, or it `survived`), seconds, the first failing test. Tests
that take longer than --limit are a `timeout`, which counts as noticed only where they took less than a third
of that without the fault.

Exit code 0: all were tried, whatever was noticed; 1: tests fail without a fault; 2: a fault does not fit the
code as it stands (its `old` is not there exactly once), or there is none of that id.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import monotonic

import psutil
import yaml

ROOT = Path(__file__).parents[2]
FAULTS = Path("tests", "support", "faults.yaml")
# Where a fault is planted, the test that all faults fit would be the first to notice.
FAST = ("-m", "not gpu and not slow and not long", "--ignore=tests/project/test_plant.py")
SLOW = ("-m", "not gpu and not long")
VERDICTS = ("fast", "slow", "survived", "timeout")


@dataclass(frozen=True, kw_only=True)
class Fault:
    id: str
    kind: str
    file: str
    old: str
    new: str
    tests: list[str]
    why: str

    @property
    def room(self) -> str:
        return self.file.partition("/")[0]


@dataclass(frozen=True)
class Outcome:
    """How a run of pytest ended: passed, empty (no such tests), failed (at `test`) or timeout."""

    status: str
    test: str
    seconds: float


@dataclass(frozen=True)
class Row:
    id: str
    room: str
    verdict: str
    test: str
    seconds: float
    notes: list[str]


def read_faults(file: Path) -> list[Fault]:
    return [Fault(**entry) for entry in yaml.safe_load(file.read_text())]


def misfits(faults: Sequence[Fault], package: Path) -> list[str]:
    """`id: why` of every fault that cannot be planted in `package`, the folder rlvr_cli."""
    ids = Counter(fault.id for fault in faults)
    found = [f"{name}: {count} faults have this id" for name, count in ids.items() if count > 1]
    for fault in faults:
        path = package / fault.file
        text = path.read_text() if path.is_file() else ""
        if (count := text.count(fault.old)) != 1 or fault.old == fault.new:
            found.append(f"{fault.id}: `{fault.old}` is {count} times in {fault.file}, or the same as new")
    return found


def copy_checkout(root: Path, target: Path) -> None:
    """Tracked files, and others that are not ignored, as they are now."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    for source, place in ((root / name, target / name) for name in filter(None, names)):
        if source.is_symlink() or source.is_file():  # a tracked file may have been deleted
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place, follow_symlinks=False)


def environment(checkout: Path) -> dict[str, str]:
    """Python imports the copy, in child processes too, and leaves no bytecode: of a fault of the same size
    in the same second that of the code before it would be run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    own = {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return kept | own


def run_tests(checkout: Path, arguments: Sequence[str], limit: float) -> Outcome:
    """pytest in a copy, up to the first failure."""
    command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "--hypothesis-seed=0"]
    command += [f"--basetemp={checkout}.tmp", *arguments]
    began, log, place = monotonic(), Path(f"{checkout}.log"), environment(checkout)
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=checkout, env=place, stdout=out, stderr=out)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
            for member in [*psutil.Process(process.pid).children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()
    seconds = monotonic() - began
    if code in (0, 5):
        return Outcome("empty" if code else "passed", "", seconds)
    said = log.read_text(errors="replace").splitlines()
    first = (match[1] for line in said if (match := re.match(r"(?:FAILED|ERROR) (.+?)(?: - |$)", line)))
    last = next((line for line in reversed(said) if line.strip()), f"exit code {code}")
    return Outcome("failed" if code is not None else "timeout", next(first, last), seconds)


class Garden:
    """A copy of the checkout without faults, and fresh copies of it to plant them in, below `folder`."""

    def __init__(self, folder: Path, *, slow: bool, limit: float) -> None:
        self.folder, self.slow, self.limit = folder, slow, limit
        self.clean = folder / "clean"
        self._controls: dict[Sequence[str], Outcome] = {}
        self._lock = Lock()
        copy_checkout(ROOT, self.clean)
        command = [sys.executable, "-c", "import rlvr_cli; print(rlvr_cli.__file__)"]
        found = subprocess.run(command, cwd="/", env=environment(self.clean), capture_output=True, text=True)
        assert found.stdout.strip() == str(self.clean / "rlvr_cli" / "__init__.py"), found

    @contextmanager
    def fresh(self, name: str) -> Iterator[Path]:
        checkout = Path(shutil.copytree(self.clean, self.folder / name, symlinks=True))
        try:
            yield checkout
        finally:
            for left in (checkout, f"{checkout}.tmp"):
                shutil.rmtree(left, ignore_errors=True)

    def control(self, tests: Sequence[str]) -> Outcome:
        """The tests without a fault, run once."""
        if tests not in self._controls:
            with self._lock:
                if tests not in self._controls:
                    with self.fresh("control") as checkout:
                        self._controls[tests] = run_tests(checkout, tests, self.limit)
        return self._controls[tests]

    def stages(self, fault: Fault) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
        """(who notices, tests, what they are compared with), in the order in which they are tried."""
        near = [f"tests/{room}" for room in (fault.room, "project") if (self.clean / "tests" / room).is_dir()]
        if near:
            yield "fast", (*near, *FAST), FAST
        yield "fast", ("tests", *(f"--ignore={folder}" for folder in near), *FAST), FAST
        for test in fault.tests if self.slow else ():
            yield "slow", (test, *SLOW), (test, *SLOW)

    def examine(self, fault: Fault) -> Row:
        """Plant a fault and look for the first test that fails."""
        began, notes, verdict, test = monotonic(), [], "survived", ""
        for stage, tests, same in self.stages(fault):
            before = self.control(same)
            if before.status != "passed":
                notes.append(f"without the fault: {before.status} {tests[0]}")
                continue
            with self.fresh(fault.id) as checkout:
                path = checkout / "rlvr_cli" / fault.file
                path.write_text(path.read_text().replace(fault.old, fault.new))
                after = run_tests(checkout, tests, self.limit)
            late = after.status == "timeout"
            if after.status == "failed" or (late and before.seconds < self.limit / 3):
                verdict, test = stage, f"timeout of {tests[0]}" if late else after.test
                break
            verdict = "timeout" if late else verdict
        return Row(fault.id, fault.room, verdict, test, round(monotonic() - began, 1), notes)


def summary(rows: Sequence[Row]) -> list[str]:
    """A line for each room, and one for all."""
    lines = ["".join(f"{word:<12}" for word in ("room", "faults", *VERDICTS))]
    for room in [*dict.fromkeys(row.room for row in rows), "all"]:
        counts = Counter(row.verdict for row in rows if room in (row.room, "all"))
        lines.append("".join(f"{x:<12}" for x in (room, counts.total(), *(counts[v] for v in VERDICTS))))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="ID,ID", help="these faults alone")
    parser.add_argument("--kind", choices=("review", "own"))
    parser.add_argument("--slow", action="store_true", help="also the slow tests that a fault names")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="faults at a time (1)")
    parser.add_argument("--limit", type=float, default=300, metavar="S", help="seconds of a test run (300)")
    parser.add_argument("--json", metavar="FILE", help="also write the rows there")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="plant-", ignore_cleanup_errors=True) as folder:
        garden = Garden(Path(folder).resolve(), slow=options.slow, limit=options.limit)
        faults = read_faults(garden.clean / FAULTS)
        wanted = options.only.split(",") if options.only else [fault.id for fault in faults]
        unfit = [f"{name}: no such fault" for name in wanted if name not in [fault.id for fault in faults]]
        if unfit := unfit + misfits(faults, garden.clean / "rlvr_cli"):
            print(*unfit, sep="\n", file=sys.stderr)
            return 2
        before = garden.control(FAST)
        print(f"without a fault: {before.status} {before.test} ({before.seconds:.0f} s)", flush=True)
        if before.status != "passed":
            return 1
        rows = []
        tried = [f for f in faults if f.id in wanted and options.kind in (None, f.kind)]
        with ThreadPoolExecutor(options.jobs) as pool:
            try:
                for done in as_completed([pool.submit(garden.examine, fault) for fault in tried]):
                    rows.append(row := done.result())
                    said = "; ".join([row.test, *row.notes])
                    print(f"{row.id:<13} {row.verdict:<9}{row.seconds:6.0f} s  {said}", flush=True)
            finally:  # after a Ctrl-C, which has ended the tests under way
                pool.shutdown(cancel_futures=True)
    print("", *summary(rows), sep="\n")
    if options.json:
        content = vars(options) | {"control_s": before.seconds, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
