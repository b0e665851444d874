"""Recipe -> its run, launched by a process of its own: for programs that go on when the run has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from rlvr_cli import compose
from rlvr_cli.core.errors import RunFailed, UserError
from rlvr_cli.core.rank_process import die_with_parent
from rlvr_cli.core.stop_signals import taken
from rlvr_cli.launch import rank, start
from rlvr_cli.launch.external_ranks import joined_ranks


def launch_apart(recipe: compose.AnyRecipe) -> Path:
    """Run the recipe to its end; returns its directory.

    A process of its own launches it: libraries, environment variables and whatever goes wrong stay out of
    this one, and a second Ctrl-C, which ends a launcher at once, leaves it alive.
    """
    if joined_ranks(os.environ):  # one group of ranks is all that a launcher of theirs has a place for
        raise UserError(
            "train and evaluate start ranks themselves; under torchrun or srun use the command: "
            "torchrun ... -m rlvr_cli train RECIPE"
        )
    recipe, out = start.resolve(recipe)
    began = time.time()
    with TemporaryDirectory() as folder:
        file, said = Path(folder) / "recipe.yaml", Path(folder) / "mistake"
        compose.save(recipe, file)
        code, received = _wait([str(os.getpid()), str(file), str(said)])
        mistake = said.read_text() if said.is_file() else None
    for number in received[:1]:
        signal.raise_signal(number)  # a KeyboardInterrupt, or what else it would have done here
    if mistake is not None:
        raise UserError(mistake)
    if code == rank.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (rank.OK, rank.STOPPED):
        raise RunFailed(cause_of(out, code, began))
    return out


def own_path() -> dict[str, str]:
    """The variable that lets a process of its own find this very package."""
    root = str(Path(__file__).parents[2])
    return {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _wait(words: list[str]) -> tuple[int, list[int]]:
    """Exit code of a launcher, and the signals that came meanwhile, all of which it was given."""
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)

    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "rlvr_cli.launch.apart", *words],
        env=os.environ | own_path(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is forwarded; from the terminal it would come twice
    )
    in_main = threading.current_thread() is threading.main_thread()
    with taken(forward) if in_main else nullcontext():
        try:
            return process.wait(), received
        except BaseException:  # this program is ended by other means, as a job whose time is up
            process.terminate()  # the run saves a checkpoint
            process.wait()
            raise
        finally:
            process.kill()


def cause_of(out: Path, code: int, began: float) -> str:
    """Why a launcher that began then has failed, and which log says more."""
    report = rank.read_report(out, 0)
    found = [vars(report)] if report else []
    if (noted := out / "restarts.jsonl").is_file():
        found += [json.loads(line) for line in noted.read_bytes().splitlines()]
    found = [row for row in found if row["time"] >= began]
    if not found:
        return f"the launcher of {out} ended with code {code}; logs: {out / 'logs'}"
    last = found[-1]
    where = f"{last['where']}, rank {last['rank']}"
    return f"{last['cause']} ({where}); log: {rank.log_path(out, last['rank'])}"


def main() -> int:
    """`python -m rlvr_cli.launch.apart PARENT RECIPE MISTAKE`: launch; a user's mistake is written there."""
    parent, recipe, mistake = sys.argv[1:]
    die_with_parent(int(parent))
    try:
        return start.launch(compose.read(Path(recipe)))
    except UserError as error:
        Path(mistake).write_text(" ".join(str(error).split()))
        return rank.USER_ERROR
    except KeyboardInterrupt:
        return rank.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
