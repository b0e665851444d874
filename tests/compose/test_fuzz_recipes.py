"""500 bad recipes (50 in `make test`) through the command line: each one line on stderr, exit code 2,
nothing written.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from fuzz_mutations import Case, cases

from rlvr_cli.commands.main import main

BATCHES, EACH = 10, 50


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def outcome(case: Case, folder: Path) -> str | None:
    """The message that refuses the case, None where it is accepted; all else must be in order."""
    for path in list(folder.iterdir()):
        path.unlink()
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    before = listing(folder)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([case.verb, *case.arguments, *(["--dry-run"] if case.dry else [])])
    said = err.getvalue()
    assert listing(folder) == before, f"{case.label}: something was written"
    if code == 0 and case.dry:
        return None
    assert code == 2 and out.getvalue() == "", case.label
    assert said.startswith("rlvr: error: ") and said.count("\n") == 1 and said.endswith("\n"), (
        case.label,
        said,
    )
    assert any(name in said for name in case.names), f"{case.label}: no word of where it is: {said}"
    return said


LONG = [pytest.param(n, marks=pytest.mark.long if n >= 1 else pytest.mark.slow) for n in range(BATCHES)]


@pytest.mark.parametrize("batch", LONG)
def test_mistakes_are_one_line_each(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = accepted = 0
    for case in cases(batch):
        if outcome(case, tmp_path) is None:
            accepted += 1  # a mutation that happens to be right: not one of the 50
        else:
            refused += 1
        if refused == EACH:
            break
    assert accepted < EACH // 2
