"""One rank: run an entry point with its output in a log, and leave a report if it fails.

`python -m rlvr_cli.rank OUT ENTRY PARENT` is what launch.py starts for each of several ranks.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from rlvr_cli import compose
from rlvr_cli.errors import UserError
from rlvr_cli.files import write_atomically
from rlvr_cli.terminal import redirect

OK, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


@dataclass
class Report:
    """Why a rank ended early. The earliest of several is the cause, the others its echo."""

    rank: int
    code: int
    cause: str
    where: str
    time: float


def log_path(out: Path, rank: int) -> Path:
    return out / "logs" / f"rank{rank}.log"


def report_path(out: Path, rank: int) -> Path:
    return out / "logs" / f"rank{rank}.error.json"


def read_report(out: Path, rank: int) -> Report | None:
    path = report_path(out, rank)
    return Report(**json.loads(path.read_text())) if path.is_file() else None


def run(recipe: compose.AnyRecipe, out: Path, entry: str) -> int:
    """Call `module:function` with the recipe and the stream for the user; returns the exit code."""
    rank = int(os.environ["RANK"])
    report_path(out, rank).unlink(missing_ok=True)
    module, function = entry.split(":")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with redirect(log_path(out, rank)) as terminal:
        faulthandler.enable()  # a crash in C++ leaves its Python stack in the log
        try:
            getattr(import_module(module), function)(recipe, terminal if rank == 0 else sys.stdout)
        except KeyboardInterrupt:
            return INTERRUPTED
        except Exception as error:
            traceback.print_exc()
            code = USER_ERROR if isinstance(error, UserError) else FAILED
            report = Report(rank, code, _cause(error), _where(error), time.time())
            write_atomically(report_path(out, rank), json.dumps(asdict(report)))
            return code
        finally:
            faulthandler.disable()
            for number, handler in handlers.items():  # the entry point installs its own
                signal.signal(number, handler)
    return OK


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _where(error: Exception) -> str:
    """The innermost frame of ours, else the innermost."""
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parent)
    ours = [frame for frame in frames if frame.filename.startswith(package) and frame.filename != __file__]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, however that happens."""
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the line above
        os._exit(FAILED)


def main() -> int:
    folder, entry, parent = sys.argv[1:]
    die_with_parent(int(parent))
    out = Path(folder)
    return run(compose.read(out / "recipe.yaml"), out, entry)


if __name__ == "__main__":
    sys.exit(main())
