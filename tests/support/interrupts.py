"""A run that is stopped by Ctrl-C."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from run_helpers import started, steps_of


def interrupt_after(out: Path, step: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a run and send SIGINT once `step` steps are recorded."""
    with tempfile.TemporaryFile() as shown, tempfile.TemporaryFile() as said:
        process = started(shown.fileno(), said.fileno(), *arguments)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if (out / "metrics.jsonl").exists() and len(steps_of(out)) >= step:
                os.kill(process.pid, signal.SIGINT)
                break
            time.sleep(0.05)
        code = process.wait(timeout=120)
        texts = [os.pread(file.fileno(), 1 << 24, 0).decode() for file in (shown, said)]
    return subprocess.CompletedProcess(arguments, code, *texts)
