"""What the rules of the diagnosis say about finished runs: `python benchmarks/diagnosis.py RUN [RUN ...]`.

Replays each run's metrics through the rules as they are now, with the thresholds of its own recipe, and says
in how many runs each rule found something. `--healthy` makes any finding an error (exit code 1).
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import defaultdict
from pathlib import Path

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.evaluation.stored_results import problems_of
from rlvr_cli.schema import Recipe
from rlvr_cli.schema.stages import stages_of
from rlvr_cli.tracking import read_metrics
from rlvr_cli.training.diagnose import make_watch


def findings(run: Path) -> dict[str, int]:
    """Rule -> step at which it first found something in the run."""
    recipe = compose.load(str(run / "recipe.yaml"), [])
    if not isinstance(recipe, Recipe):
        raise UserError(f"{run} is not a run of reinforcement learning")
    watch = make_watch(stages_of(recipe))
    if watch is None:
        raise UserError(f"{run}: diagnosis.enabled is false")
    found: dict[str, int] = {}
    for finding in watch.replay(read_metrics(run), problems_of(run)):
        found.setdefault(finding.rule, finding.step)
    return found


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of a finished run")
    parser.add_argument("--healthy", action="store_true", help="exit code 1 if there is any finding")
    options = parser.parse_args()
    steps: dict[str, list[int]] = defaultdict(list)
    try:
        for run in options.runs:
            for rule, step in findings(run).items():
                steps[rule].append(step)
    except UserError as error:
        parser.error(str(error))
    for rule, at in sorted(steps.items()):
        print(f"{rule:<24} in {len(at)} of {len(options.runs)} runs, first after step {min(at)} to {max(at)}")
    print(f"{len(options.runs)} runs, " + (f"{len(steps)} rules found something" if steps else "no finding"))
    return 1 if options.healthy and steps else 0


if __name__ == "__main__":
    raise SystemExit(main())
