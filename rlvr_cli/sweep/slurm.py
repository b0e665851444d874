"""A sweep as a Slurm job array: the script that sbatch takes, and its submission."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import apart
from rlvr_cli.sweep.plan import LOGS, Planned, Sweep

SCRIPT = "sweep.sbatch"
SIGNAL = "--signal=B:TERM@180"
"""Three minutes before its time is up a job is told to stop, and saves a checkpoint."""


def script(sweep: Sweep, runs: list[Planned], jobs: int | None, options: str) -> str:
    """The batch script; `jobs` at most run at once, `options` go to sbatch as they are.

    UserError where `options` sets what the script has to set.
    """
    given = shlex.split(options)
    for word in given:
        if word.split("=")[0] in ("-a", "--array", "-D", "--chdir", "--wrap"):
            raise UserError(f"--sbatch: {word.split('=')[0]} is set by the sweep itself; leave it out")
    folder = sweep.folder.absolute()
    array = f"0-{len(runs) - 1}" + (f"%{jobs}" if jobs else "")
    lines = [f"--job-name={sweep.folder.name}", f"--array={array}", f"--chdir={Path.cwd()}"]
    lines += [f"--output={folder / LOGS / '%x.%A_%a.log'}"]
    lines += [] if any(word.startswith("--signal") for word in given) else [SIGNAL]
    recipes = [str(sweep.recipe_of(run).absolute()) for run in runs]
    [path] = apart.own_path().values()
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {line}" for line in lines),
            *([f"#SBATCH {options.strip()}"] if given else []),
            "recipes=(",
            *(f"  {shlex.quote(recipe)}" for recipe in recipes),
            ")",
            f"export PYTHONPATH={shlex.quote(path)}",
            f'exec {shlex.quote(sys.executable)} -P -m rlvr_cli train "${{recipes[$SLURM_ARRAY_TASK_ID]}}"',
            "",
        ]
    )


def check() -> None:
    """UserError where there is no sbatch."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "--slurm: there is no sbatch on this machine; start it where jobs are submitted, or "
            "take --dry-run, which prints the script"
        )


def submit(sweep: Sweep, text: str) -> str:
    """Write the script and submit it; returns the job's number. UserError in sbatch's words."""
    file = sweep.folder / SCRIPT
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"sbatch refused {file}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip().split(";")[0]
