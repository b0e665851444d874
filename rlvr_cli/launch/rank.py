"""One rank: run an entry point with its output in a log, and leave a report if it fails.

rank_processes.py starts `python -m rlvr_cli.launch.rank OUT ENTRY PARENT HEART` for each rank of a run.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TextIO

from rlvr_cli import compose
from rlvr_cli.core import lost_machines
from rlvr_cli.core.errors import Hopeless, UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.rank_process import die_with_parent
from rlvr_cli.core.unused_keys import usage
from rlvr_cli.dry_run.unread import told
from rlvr_cli.launch import watchdog
from rlvr_cli.launch.redirect_output import redirect
from rlvr_cli.launch.started_code import check_installed

OK, FAILED, USER_ERROR, STOPPED, INTERRUPTED = 0, 1, 2, 75, 130
"""Exit codes. STOPPED (EX_TEMPFAIL of sysexits.h): saved before its end, and the same command goes on."""

TORCHRUN = "TORCHELASTIC_RUN_ID"
"""Set where torchrun has started this process."""


@dataclass
class Report:
    """Why a rank ended early. The earliest of several is the cause, the others its echo."""

    rank: int
    code: int
    cause: str
    where: str
    time: float
    final: bool = False
    """The run itself has decided to end."""


def log_path(out: Path, rank: int) -> Path:
    return out / "logs" / f"rank{rank}.log"


def report_path(out: Path, rank: int) -> Path:
    return out / "logs" / f"rank{rank}.error.json"


def read_report(out: Path, rank: int) -> Report | None:
    path = report_path(out, rank)
    return Report(**json.loads(path.read_text())) if path.is_file() else None


def run(recipe: compose.AnyRecipe, out: Path, entry: str, hang_s: float | None = None) -> int:
    """Call `module:function` with the recipe and the stream for the user; returns the exit code.

    The function returns False where it was stopped and has saved what there is to go on from.
    With `hang_s` the process watches itself, and ends with code 1 when it gives no sign of life.
    """
    rank = int(os.environ["RANK"])
    report_path(out, rank).unlink(missing_ok=True)
    module, function = entry.split(":")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with redirect(log_path(out, rank)) as terminal:
        faulthandler.enable()  # a crash in C++ leaves its Python stack in the log
        faulthandler.register(watchdog.DUMP)
        if hang_s is not None:
            watchdog.watch_own_rank(hang_s, partial(give_up, out, rank, terminal))
        lost_machines.on_loss(partial(lost, out, rank, terminal))
        usage.trace(recipe, out, told(recipe))
        ended, said = False, None
        try:
            said = getattr(import_module(module), function)(recipe, terminal if rank == 0 else sys.stdout)
            ended = True
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            code = USER_ERROR if isinstance(error, UserError) else FAILED
            final = isinstance(error, Hopeless)
            report = Report(rank, code, _cause(error), _where(error), time.time(), final)
            try:
                write_report(out, report)
                traceback.print_exc()
            except OSError:  # a full disk: where nothing can be written down, it can still be said
                print(f"rlvr: failed: {report.cause} ({report.where}, rank {rank})", file=terminal)
            return code
        finally:
            lost_machines.stop(ended=ended)
            usage.stop()
            faulthandler.unregister(watchdog.DUMP)
            faulthandler.disable()
            if said is not False:  # stopped, it ignores them
                for number, handler in handlers.items():  # the entry point installs its own
                    signal.signal(number, handler)
    return STOPPED if said is False else OK


def write_report(out: Path, report: Report) -> None:
    write_atomically(report_path(out, report.rank), json.dumps(asdict(report)))


def give_up(out: Path, rank: int, terminal: TextIO, cause: str, where: str) -> None:
    """End this process, which hangs, with its stacks in the log."""
    _last_words(out, rank, terminal, cause, where)
    os._exit(FAILED)


def lost(out: Path, rank: int, terminal: TextIO, cause: str) -> None:
    """End this process, which would wait for a machine that is gone, and its torchrun, which would too.

    Where torchrun's store was on that machine, it is in the middle of a question to it: until the kernel
    gives the connection up, after a quarter of an hour, it sees neither signals nor the end of its ranks.
    """
    _last_words(out, rank, terminal, cause, watchdog.phase(heart.read()))
    if TORCHRUN in os.environ and (launcher := os.getppid()) > 1:
        os.kill(launcher, signal.SIGKILL)
    os._exit(FAILED)


def _last_words(out: Path, rank: int, terminal: TextIO, cause: str, where: str) -> None:
    faulthandler.dump_traceback()
    write_report(out, Report(rank, FAILED, cause, where, time.time()))
    print(f"rlvr: failed: {cause} (rank {rank}); log: {log_path(out, rank)}", file=terminal, flush=True)


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _where(error: Exception) -> str:
    """The innermost frame of ours, else the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[1])
    ours = [frame for frame in frames if frame.filename.startswith(package) and frame.filename != __file__]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def main() -> int:
    folder, entry, parent, memory = sys.argv[1:]
    die_with_parent(int(parent))
    heart.attach(int(memory))
    out = Path(folder)
    try:
        recipe = compose.read(out / "recipe.yaml")
        check_installed(out)
    except UserError as error:  # a plugin that imports in the launcher only
        number = int(os.environ["RANK"])
        write_report(out, Report(number, USER_ERROR, _cause(error), _where(error), time.time()))
        return USER_ERROR
    return run(recipe, out, entry)


if __name__ == "__main__":
    sys.exit(main())
