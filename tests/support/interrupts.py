"""A run that is stopped by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from run_helpers import steps_of


def interrupt_after(out: Path, step: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a run and send SIGINT once `step` steps are recorded."""
    command = [sys.executable, "-m", "rlvr_cli", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "metrics.jsonl").exists() and len(steps_of(out)) >= step:
            os.kill(process.pid, signal.SIGINT)
            break
        time.sleep(0.05)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
