"""`rlvr sweep`: one recipe, several values of some keys, a run for each combination."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError

if TYPE_CHECKING:
    from rlvr_cli.sweep.plan import Planned, Sweep

SWEEP = """\
Lists of values are Hydra's: trainer.lr=1e-6,3e-6  seed=range(0,3)  algorithm=grpo,rloo
'trainer.schedule=choice(constant,cosine)'; seed=0..2 is 0,1,2, and a list in brackets, [a,b], is one value.
All other key=value go to every run, and all combinations are checked before the first one starts.

The runs are in `out` (runs/NAME-sweep), with sweep.json, the index. The same command again skips what is
finished, continues what was stopped and tries again what failed; more values add runs.

examples:
  rlvr sweep my.yaml trainer.lr=1e-6,3e-6 seed=0..2 --dry-run
  rlvr sweep my.yaml trainer.lr=1e-6,3e-6 seed=0..2 --jobs 2
  rlvr sweep my.yaml trainer.lr=1e-6,3e-6 --slurm --sbatch "--partition=gpu --gpus=8 --time=8:00:00"
  rlvr sweep my.yaml seed=0..9 --launcher submitit_slurm hydra.launcher.timeout_min=480
  rlvr report runs/my-sweep --group-by trainer.lr
"""
LAUNCHER = "hydra.launcher."


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, SWEEP, "RECIPE key=value,value [key=value ...] [--jobs N | --slurm] [--dry-run]")
    add(parser)
    options, recipe, overrides = parse(parser, arguments)
    if recipe is None:
        raise UserError("a sweep needs a recipe: rlvr sweep RECIPE trainer.lr=1e-6,3e-6")
    settings = [text for text in overrides if text.lstrip("+~").startswith(LAUNCHER)]
    _check(options, settings)
    from rlvr_cli.sweep.plan import plan

    values = [text for text in overrides if text not in settings]
    for text in values:
        if text.lstrip("+~").startswith(("hydra.", "hydra/")):
            raise UserError(
                f"{text}: of Hydra's own settings only its launcher's have a place: --launcher NAME"
            )
    sweep = plan(recipe, values)
    for line in sweep.news:
        print(f"rlvr: {line}", file=sys.stderr)
    if options.dry_run:
        print("\n".join(_listing(sweep, options)))
        return 0
    return _start(sweep, options, settings)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs beside each other (1); with --slurm at most"
    )
    parser.add_argument("--slurm", action="store_true", help="submit a job array instead of running here")
    parser.add_argument("--sbatch", metavar="OPTIONS", help="what else sbatch is told, as one word")
    parser.add_argument("--launcher", metavar="NAME", help="a launcher of Hydra's, e.g. submitit_slurm")
    parser.add_argument("--dry-run", action="store_true", help="check and list the runs, write nothing")


def _check(options: argparse.Namespace, settings: list[str]) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs is {options.jobs}; it is how many runs are beside each other, 1 or more")
    if options.slurm and options.launcher:
        raise UserError("--slurm and --launcher are two ways to start the runs; choose one")
    if options.launcher and options.jobs is not None:
        raise UserError(
            "--jobs has no place beside --launcher; set what that one offers, with hydra.launcher.*"
        )
    if options.sbatch is not None and not options.slurm:
        raise UserError("--sbatch goes with --slurm")
    if settings and not options.launcher:
        raise UserError(f"{settings[0]}: goes with --launcher NAME")
    if options.slurm and not options.dry_run:
        from rlvr_cli.sweep import slurm

        slurm.check()
    if options.launcher:
        from rlvr_cli.compose import launchers

        launchers.check(options.launcher)


def _listing(sweep: Sweep, options: argparse.Namespace) -> list[str]:
    if options.slurm:
        from rlvr_cli.sweep.slurm import script

        return [
            script(sweep, _open(sweep) or sweep.runs, options.jobs, options.sbatch or ""),
            *_runs(sweep, "# "),
        ]
    return _runs(sweep, "")


def _runs(sweep: Sweep, before: str) -> list[str]:
    width = max(len(run.entry.name) for run in sweep.runs)
    lines = [f"{before}{len(sweep.runs)} runs in {sweep.folder}"]
    for run in sweep.runs:
        lines.append(
            f"{before}  {run.entry.name:<{width}}  {run.entry.state:<9}  {' '.join(run.entry.overrides)}"
        )
    return lines


def _open(sweep: Sweep) -> list[Planned]:
    """Runs that somebody has to start."""
    return [run for run in sweep.runs if run.entry.state not in ("finished", "running")]


def _start(sweep: Sweep, options: argparse.Namespace, settings: list[str]) -> int:
    from rlvr_cli.launch.directory_lock import lock

    todo = _open(sweep)
    if not todo:
        states = ", ".join(sorted({run.entry.state for run in sweep.runs}))
        said = f"nothing to start: {states}; to go on, raise trainer.steps or add values"
        print(f"rlvr: {said}; rlvr report {sweep.folder}", file=sys.stderr)
        return 0
    with lock(sweep.folder):  # nothing of a new one stays where it is refused after all
        if options.slurm:
            return _submit(sweep, todo, options)
        if options.launcher:
            return _launch(sweep, todo, options.launcher, settings)
        return _run_here(sweep, todo, options)


def _run_here(sweep: Sweep, todo: list[Planned], options: argparse.Namespace) -> int:
    from rlvr_cli.launch.prerequisites import count_gpus
    from rlvr_cli.sweep.run import run_here
    from rlvr_cli.sweep.shares import shares

    jobs = min(options.jobs or 1, len(todo))
    ranks = [run.recipe.trainer.ranks for run in todo]
    places = shares(jobs, ranks, count_gpus(), len(os.sched_getaffinity(0)))
    sweep.write()
    return run_here(sweep, places, sys.stdout)


def _submit(sweep: Sweep, todo: list[Planned], options: argparse.Namespace) -> int:
    from rlvr_cli.sweep.slurm import script, submit

    text = script(sweep, todo, options.jobs, options.sbatch or "")
    sweep.write()
    number = submit(sweep, text)
    sweep.index.jobs.append(number)
    sweep.index.write(sweep.folder)
    said = f"submitted {len(todo)} runs as job {number}; squeue -j {number}"
    print(f"rlvr: {said}; once it is over, the same command submits what is not finished", file=sys.stderr)
    return 0


def _launch(sweep: Sweep, todo: list[Planned], name: str, settings: list[str]) -> int:
    from rlvr_cli.compose import launchers
    from rlvr_cli.sweep.plan import look
    from rlvr_cli.sweep.run import following
    from rlvr_cli.sweep.task import train

    sweep.write()
    recipes = [sweep.recipe_of(run).absolute() for run in todo]
    problems: list[str | None] = [None] * len(todo)
    code, lost = 0, None
    try:
        problems = launchers.start(name, recipes, settings, sweep.folder / name, train)
    except launchers.LauncherFailed as error:
        code, lost = 1, str(error)
    except KeyboardInterrupt:
        code, lost = 130, "interrupted"
    for run, problem in zip(todo, problems, strict=True):
        run.entry.state, run.entry.cause = ("failed" if problem else "stopped"), problem
        look(run)
        print(f"{run.entry.name}: {run.entry.state}" + (f": {problem}" if problem else ""))
        code = code or int(problem is not None)
    sweep.index.write(sweep.folder)
    if lost is not None:
        said = f"--launcher {name}: {lost}; jobs that it has started may go on: see to them first"
        print(f"rlvr: {said}, the same command then continues", file=sys.stderr)
    else:
        print(f"rlvr: next: {following(sweep)}", file=sys.stderr)
    return code
