"""A profile that vLLM's own server samples: killed in the middle, gone on with, and the server killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_helpers import RECIPE, rlvr
from vllm_server import served

from rlvr_cli.data.profiles import read_profile

pytestmark = pytest.mark.long


def begun(words: list[str], parts: Path, rows: int) -> subprocess.Popen[str]:
    """A profile that has finished so many problems."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlvr_cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    file, end = parts / "rows.partial.0.jsonl", time.monotonic() + 120
    while not file.is_file() or file.read_bytes().count(b"\n") <= rows:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)
    return process


def test_killed_at_either_end_it_goes_on(tmp_path: Path, tiny_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(RECIPE)
    target, parts = tmp_path / "p.jsonl", tmp_path / "p.jsonl.parts"
    with served(tiny_path, tmp_path / "server.log") as (url, server):
        given = [str(tmp_path / "my.yaml"), f"model.path={tiny_path}", "data.train.limit=300"]
        words = ["profile", *given, "-k", "2", "-o", str(target), "--server", url, "server.connections=1"]
        killed = begun(words, parts, 5)
        killed.kill()
        killed.wait()
        assert not target.exists()
        gone = begun(words, parts, 12)
        os.killpg(server.pid, signal.SIGKILL)
        _, error = gone.communicate(timeout=120)
        assert gone.returncode == 2
        assert "it has answered before: start it again, and the same command goes on" in error
        assert f"finished problems are kept in {parts}" in error and "Traceback" not in error
    with served(tiny_path, tmp_path / "server.log") as (url, _):
        words[words.index("--server") + 1] = url
        last = rlvr(*words)  # at another address
    assert last.returncode == 0, last.stderr
    assert "of 300 problems are there already" in last.stdout and not parts.exists()
    rows = read_profile(target).rows
    assert len({row["key"] for row in rows}) == len(rows) == 300 and all(row["judged"] == 2 for row in rows)
