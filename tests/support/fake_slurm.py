"""srun and scontrol as far as the example scripts need them: tasks are processes of this machine.

`install(folder)` puts both into `folder`, which a test puts first into PATH. As Slurm does, srun gives each
task its place in SLURM_ variables, ends the others when one ends badly, and returns the highest exit code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

SCONTROL = """#!/usr/bin/env bash
if [ "$1 $2" = "show hostnames" ]; then
    tr ',' '\\n' <<< "$3"
else
    echo "$@" >> "$FAKE_SLURM/scontrol"
fi
"""


def install(folder: Path) -> None:
    folder.mkdir()
    for name, text in (
        ("srun", f'#!/usr/bin/env bash\nexec {sys.executable} {__file__} "$@"\n'),
        ("scontrol", SCONTROL),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def variables(job: int, folder: Path, nodes: list[str]) -> dict[str, str]:
    """Those of a batch script."""
    return {
        "FAKE_SLURM": str(folder),
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": ",".join(nodes),
        "SLURM_JOB_NUM_NODES": str(len(nodes)),
    }


def main() -> int:
    """Each node has one task; both are this machine."""
    words = sys.argv[1:]
    options = {}
    while words[0].startswith("--"):
        name, _, value = words.pop(0).partition("=")
        options[name] = value
    nodes = int(options.get("--nodes", os.environ["SLURM_JOB_NUM_NODES"]))
    first = int(options.get("--relative", 0))
    hosts = os.environ["SLURM_JOB_NODELIST"].split(",")[first : first + nodes]
    step = {
        "SLURM_STEP_NUM_TASKS": str(nodes),
        "SLURM_STEP_TASKS_PER_NODE": f"1(x{nodes})",
        "SLURM_STEP_NODELIST": ",".join(hosts),
        "SLURM_STEP_ID": str(first),
        "SLURM_LOCALID": "0",
    }
    tasks = [
        subprocess.Popen(words, env=os.environ | step | {"SLURM_PROCID": str(n)}, start_new_session=True)
        for n in range(nodes)
    ]
    note = Path(os.environ["FAKE_SLURM"]) / f"tasks{first}"
    note.with_suffix(".new").write_text(" ".join(str(task.pid) for task in tasks))
    note.with_suffix(".new").rename(note)

    def cancel(number: int, frame: FrameType | None) -> None:
        for task in tasks:
            if task.poll() is None:
                os.killpg(task.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, cancel)
    told = False
    while any(task.poll() is None for task in tasks):
        if not told and "--kill-on-bad-exit" in options and any(task.returncode for task in tasks):
            told = True
            cancel(0, None)
        time.sleep(0.1)
    return max(code if (code := task.returncode) >= 0 else 128 - code for task in tasks)


if __name__ == "__main__":
    sys.exit(main())
