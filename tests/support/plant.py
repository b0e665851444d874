"""Plants the faults of faults.yaml in copies of the checkout, one at a time, and says which tests notice.

    python tests/support/plant.py [--only ID,ID] [--kind known|own] [--slow] [--jobs N] [--json FILE]

The checkout as it is (tracked files, and others that are not ignored) is copied first, and its fast suite
must pass there. Each fault then gets fresh copies, in which run, up to the first failure: the fast tests of
its room; the rest of the fast suite; with --slow the slow tests that it names, each of which must pass
without the fault. To save time the rest of the suite is run for several faults of different files together
(--batch), and then only the tests that failed for each of them alone. Nothing of one fault is left for the
next: no file, no bytecode, no examples of hypothesis, whose seed is fixed.

A row for each fault: who noticed (`fast`, `slow`, or it `survived`), seconds, the first failing test. Tests
that take longer than --limit count as a failure only where they took less than a third of that before.

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import monotonic

import psutil
import yaml

ROOT = Path(__file__).parents[2]  # of the checkout this file is in, a copy too
FAULTS = Path("tests", "support", "faults.yaml")
# Where a fault is planted, the test that all faults fit would be the first to notice.
FAST = ("-m", "not gpu and not slow and not long", "--ignore=tests/project/test_plant.py")
SLOW = ("-m", "not gpu")
VERDICTS = ("fast", "slow", "survived")


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
    """How a run of pytest ended: passed, empty (no such tests), failed (`tests`) or timeout."""

    status: str
    tests: list[str]
    seconds: float


@dataclass(frozen=True)
class Row:
    id: str
    room: str
    verdict: str
    test: str
    seconds: float


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
    """pytest in a copy."""
    command = [sys.executable, "-m", "pytest", "--tb=no", "--hypothesis-seed=0"]
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
        return Outcome("empty" if code else "passed", [], seconds)
    said = log.read_text(errors="replace").splitlines()
    named = [match[1] for line in said if (match := re.match(r"(?:FAILED|ERROR) (.+?)(?: - |$)", line))]
    last = next((line for line in reversed(said) if line.strip()), f"exit code {code}")
    return Outcome("failed" if code is not None else "timeout", named or [last], seconds)


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
        with self._lock:
            if tests not in self._controls:
                with self.fresh("control") as checkout:
                    self._controls[tests] = run_tests(checkout, tests, self.limit)
        return self._controls[tests]

    def planted(self, faults: Sequence[Fault], tests: Sequence[str]) -> Outcome:
        """The tests with these faults in the code."""
        with self.fresh("-".join(fault.id for fault in faults)) as checkout:
            for fault in faults:
                path = checkout / "rlvr_cli" / fault.file
                path.write_text(path.read_text().replace(fault.old, fault.new))
            return run_tests(checkout, tests, self.limit)

    def near(self, fault: Fault) -> Row | None:
        """The fast tests of the fault's own room; None: they do not notice."""
        if not (self.clean / "tests" / fault.room).is_dir():
            return None
        return self.row(fault, "fast", (f"tests/{fault.room}", "-x", *FAST), FAST)

    def rest(self, faults: Sequence[Fault]) -> list[Row | None]:
        """All fast tests, with the faults together; then those that fail with each alone."""
        failed = self.planted(faults, FAST).tests
        tests = [test for test in failed if "::" in test] or [
            "tests"
        ]  # where none was named, once more in full
        return [self.row(fault, "fast", (*tests, "-x", *FAST), FAST) if failed else None for fault in faults]

    def far(self, fault: Fault) -> Row | None:
        """The slow tests that the fault names."""
        rows = (self.row(fault, "slow", (test, "-x", *SLOW), (test, "-x", *SLOW)) for test in fault.tests)
        return next((row for row in rows if row is not None), None)

    def row(self, fault: Fault, stage: str, tests: Sequence[str], same: Sequence[str]) -> Row | None:
        """What these tests say of the fault; None: nothing. `same` is what must pass without it."""
        before = self.control(same)
        if before.status != "passed":
            return None
        after = self.planted([fault], tests)
        late = after.status == "timeout" and before.seconds < self.limit / 3
        if after.status != "failed" and not late:
            return None
        said = f"timeout of {tests[0]}" if late else after.tests[0]
        return Row(fault.id, fault.room, stage, said, round(after.seconds, 1))

    def examine(self, faults: Sequence[Fault], jobs: int, batch: int) -> Iterator[Row]:
        """A row for each fault, as soon as it is known."""
        with ThreadPoolExecutor(jobs) as pool:

            def asked(
                ask: Callable[[Fault], Row | None], of: list[Fault], left: list[Fault]
            ) -> Iterator[Row]:
                futures = {pool.submit(ask, fault): fault for fault in of}
                for done in as_completed(futures):
                    if (row := done.result()) is None:
                        left.append(futures[done])
                    else:
                        yield row

            unseen: list[Fault] = []
            yield from asked(self.near, list(faults), unseen)
            survivors: list[Fault] = []
            groups = batches(unseen, batch)
            for group, rows in zip(groups, pool.map(self.rest, groups), strict=True):
                yield from (row for row in rows if row is not None)
                survivors += [fault for fault, row in zip(group, rows, strict=True) if row is None]
            last: list[Fault] = []
            yield from asked(self.far, survivors if self.slow else [], last)
            for fault in last if self.slow else survivors:
                yield Row(fault.id, fault.room, "survived", "", 0.0)


def batches(faults: Sequence[Fault], size: int) -> list[list[Fault]]:
    """Groups of at most `size`, no two of which are in the same file."""
    groups: list[list[Fault]] = []
    for fault in faults:
        fits = (g for g in groups if len(g) < size and fault.file not in [other.file for other in g])
        group = next(fits, None)
        if group is None:
            groups.append(group := [])
        group.append(fault)
    return groups


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
    parser.add_argument("--kind", choices=("known", "own"))
    parser.add_argument("--slow", action="store_true", help="also the slow tests that a fault names")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="faults at a time (1)")
    parser.add_argument(
        "--batch", type=int, default=8, metavar="N", help="faults in one run of the suite (8)"
    )
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
        print(
            f"without a fault: {before.status} {' '.join(before.tests)} ({before.seconds:.0f} s)", flush=True
        )
        if before.status != "passed":
            return 1
        rows = []
        tried = [f for f in faults if f.id in wanted and options.kind in (None, f.kind)]
        for row in garden.examine(tried, options.jobs, options.batch):
            rows.append(row)
            print(f"{row.id:<13} {row.verdict:<9}{row.seconds:6.0f} s  {row.test}", flush=True)
    print("", *summary(rows), sep="\n")
    if options.json:
        content = vars(options) | {"control_s": before.seconds, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
