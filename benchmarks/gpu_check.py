"""Whether training works on this machine's GPUs, and how fast: `python benchmarks/gpu_check.py`.

Stage 1 (two minutes) is the update; it needs torch, transformers, DeepSpeed and omegaconf. Stage 2 is the
engine beside the trainer; it needs vLLM and what else rlvr installs. Stage 3 needs two GPUs. What cannot run
here is skipped with the reason. Each group of checks is a process of its own. Without CUDA, or with
`--device cpu`, all that can runs on the CPU with tiny models: a rehearsal of this script, whose figures say
nothing about GPUs. Exit code 1 where a check fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]  # an environment that has torch and DeepSpeed need not have rlvr installed

from gpu_checks.findings import FAILED, SKIPPED, Finding, Findings, read  # noqa: E402

UPDATE = ("torch", "transformers", "deepspeed", "omegaconf")
PATIENCE = 3.0
"""Times as long a rehearsal may take: CPUs are shared."""
ENGINE = (*UPDATE, "vllm", "hydra", "datasets", "math_verify")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Checks that share a process."""

    stage: int
    needs: tuple[str, ...]
    limit_s: float
    gpus: int = 1


GROUPS = {
    "numerics": Group(stage=1, needs=UPDATE, limit_s=100),
    "speed": Group(stage=1, needs=UPDATE, limit_s=100),
    "engine": Group(stage=2, needs=ENGINE, limit_s=150),
    "short_run": Group(stage=2, needs=ENGINE, limit_s=120),
    "ranks": Group(stage=3, needs=UPDATE, limit_s=120, gpus=2),
    "servers": Group(stage=3, needs=ENGINE, limit_s=240, gpus=2),
}
"""File of gpu_checks/ -> its group."""


def missing(group: Group, gpus: int, *, rehearsal: bool) -> str | None:
    """Why the group cannot run here."""
    absent = [name for name in group.needs if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if not rehearsal and gpus < group.gpus:
        return f"needs {group.gpus} GPUs; there is {gpus}"
    return None


def run_group(name: str, folder: Path, options: Namespace, environment: dict[str, str]) -> list[Finding]:
    """The findings of a group, run as a process of its own; one more where it did not end well."""
    group, into, log = GROUPS[name], folder / f"{name}.jsonl", folder / f"{name}.log"
    command = [sys.executable, __file__, "--group", name, "--into", str(into)]
    command += ["--tiny"] if options.tiny else []
    limit = group.limit_s * (PATIENCE if options.tiny else 1)
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
    found = read(into)
    if code != 0:
        words = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        said = f"exit code {code}: {words[-1]}"
        if code is None:
            said = f"not finished within {limit:.0f} s"
        print("\n".join(words[-20:]), file=sys.stderr)
        seconds = time.monotonic() - began
        found.append(Finding(stage=group.stage, name=name, status=FAILED, said=said, seconds=seconds))
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(options: Namespace, gpus: int) -> list[Finding]:
    from rlvr_cli.core.rank_process import library_defaults

    rehearsal = gpus == 0
    environment = os.environ | library_defaults(1, gpus) | {"PYTHONPATH": str(ROOT)}
    if rehearsal:
        environment |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    found: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        for name, group in GROUPS.items():
            if group.stage not in options.stages or (options.only and name not in options.only):
                continue
            print(f"stage {group.stage}: {name}", file=sys.stderr, flush=True)
            reason = missing(group, gpus, rehearsal=rehearsal)
            if reason is None:
                found += run_group(name, Path(folder), options, environment)
            else:
                found.append(Finding(stage=group.stage, name=name, status=SKIPPED, said=reason))
    return found


def machine(gpus: int) -> dict[str, Any]:
    """What the figures hold for."""
    import torch

    versions, known = {"torch": torch.__version__}, metadata.packages_distributions()
    for name in ("transformers", "deepspeed", "vllm"):
        if name in known:
            versions[name] = metadata.version(known[name][0])
    device = f"{gpus} x {torch.cuda.get_device_name()}" if gpus else "CPU"
    return {"device": device, "cuda": torch.version.cuda if gpus else None, "versions": versions}


def show(found: list[Finding], about: dict[str, Any], seconds: float, *, rehearsal: bool) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    title = f"{about['device']}; {versions}; {seconds:.0f} s"
    if rehearsal:
        title = f"Rehearsal on a CPU: nothing here is about GPUs. {title}"
    cells = [(str(f.stage), f.name, f.status, f.said, f"{f.seconds:.1f}") for f in found]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print("\n".join([title, *("  ".join(row) for row in cells)]))
        return
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "check", "", "", "s"):
        table.add_column(heading, justify="right" if heading == "s" else "left")
    styles = {FAILED: "red", SKIPPED: "dim"}
    for row in cells:
        table.add_row(*row, style=styles.get(row[2], ""))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def count(options: Namespace) -> int:
    """GPUs to check; 0: a rehearsal."""
    import torch

    if options.device == "cpu":
        return 0
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch finds no GPU here")
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def parser() -> ArgumentParser:
    found = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    found.add_argument("--stages", type=int, nargs="+", choices=(1, 2, 3), default=[1, 2, 3])
    found.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    found.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    found.add_argument("--tiny", action="store_true", help="tiny models, as in a rehearsal")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    found.add_argument("--group", help=SUPPRESS)
    found.add_argument("--into", type=Path, help=SUPPRESS)
    return found


def main() -> int:
    options = parser().parse_args()
    gpus = count(options)
    if options.group:
        group = GROUPS[options.group]
        findings = Findings(options.into, group.stage, rehearsal=gpus == 0)
        importlib.import_module(f"gpu_checks.{options.group}").run(
            findings, options.into.parent, tiny=options.tiny
        )
        return 0
    if gpus == 0:
        print("no GPU: a rehearsal with tiny models on the CPU", file=sys.stderr)
        options.tiny = True
    began = time.monotonic()
    found = run_all(options, gpus)
    seconds, about = time.monotonic() - began, machine(gpus)
    show(found, about, seconds, rehearsal=gpus == 0)
    if options.json:
        whole = {"rehearsal": gpus == 0, "seconds": seconds} | about | {"checks": [asdict(f) for f in found]}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")
    return int(any(f.status == FAILED for f in found))


if __name__ == "__main__":
    sys.exit(main())
