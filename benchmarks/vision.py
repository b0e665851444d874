"""What reinforcement learning on images gains, its control, and four ways to pay for a box:

    python benchmarks/vision.py --plot docs/vision.png

`recipes/tiny_vision_sft.yaml` and then `recipes/tiny_vision_grpo.yaml`, as they are shipped, several seeds;
the same with rewards that are drawn, on first seeds; both under a KL penalty, as noise alone walks a tiny
model away from what it can do; and boxes alone, of squares that begin at any pixel
and not on the lattice of the fine-tuning. These earn their IoU: any, from a fixed one on, and from V-Triune's
threshold on, which rises in the run.
Before and after are avg@4 of counting and the mean IoU on 256 images each that training never has.

A run that is there is not made again: an interrupted benchmark goes on, and seeds can be added.
Writes tables (Markdown) and a plot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import started
from seeds import QUIET, interval, show

from rlvr_cli.tracking import read_metrics
from rlvr_cli.tracking.plots import COLOURS, STYLE, smooth

BOXES = [  # The square begins at any pixel, where the start model has only seen a lattice of 7
    *("~data@data.count", "~bench@eval.benches.count", "preflight.enabled=false"),
    *("data.box.options.step=1", "eval.benches.box.source.options.step=1"),
]
DRAWN = [
    *("+verifier@verifiers.chance=random", "preflight.enabled=false"),  # which would refuse the control
    *("data.count.verifiers=[chance,match]", "data.box.verifiers=[chance,iou]"),
    *("verifiers.match.weight=0", "verifiers.iou.weight=0"),  # seen in the metrics, without a say
]
KL = ["algorithm/kl=loss", "algorithm.kl.coef=1.0"]
ARMS = {
    "grpo": [],
    "random reward": DRAWN,
    "grpo, KL": KL,
    "random reward, KL": [*DRAWN, *KL],
    "IoU itself": BOXES,
    "from 0.5": [*BOXES, "verifiers.iou.count=fixed", "verifiers.iou.threshold=0.5"],
    "from 0.95": [*BOXES, "verifiers.iou.count=fixed", "verifiers.iou.threshold=0.95"],
    "dynamic": [*BOXES, "verifiers.iou.count=dynamic"],
}
LEARNING = ("grpo", "random reward", "grpo, KL", "random reward, KL")
PAID = ("IoU itself", "from 0.5", "from 0.95", "dynamic")
COUNT, IOU = "eval/count/avg@4", "eval/box/score"
SEEN = {"reward/match/mean": "counted right", "reward/iou/iou": "mean IoU"}
"""Metrics of a step's samples that every arm has, whatever it is rewarded for."""
POINTS, OVERLAP = 0.15, 0.1
"""What a seed has to gain in counting and in IoU."""


@dataclass(kw_only=True)
class Run:
    """What one run left in its metrics."""

    seed: int
    first: dict[str, float]
    last: dict[str, float]
    """COUNT and IOU on held-out images before and after."""
    curves: dict[str, list[float]]
    """Metric of SEEN -> its value at each step."""

    def gain(self, metric: str) -> float:
        return self.last[metric] - self.first[metric]


def folder(options: Namespace, arm: str, seed: int) -> Path:
    """Seed 0 begins with the start of seed 0 either way."""
    name = arm.replace(", ", "_").replace(" ", "_") + ("_own_starts" if options.own_starts and seed else "")
    return Path(options.out) / name / f"seed{seed}"


def seeds_of(options: Namespace, arm: str) -> range:
    wanted = {"random reward": options.control_seeds, **dict.fromkeys(PAID, options.box_seeds)}
    return range(wanted.get(arm, options.seeds))


def start_of(options: Namespace, seed: int) -> Path:
    """Where the fine-tuned model is that a seed's runs begin with: one for all, or its own."""
    return Path(options.out) / "sft" / f"seed{seed if options.own_starts else 0}"


def run(out: Path, *arguments: str) -> None:
    """`rlvr` with one thread, unless its model is there; the seconds it took go into a file there, but for
    a copy's, which is not what a run takes."""
    if (out / "final").is_dir():
        return
    words = [*arguments, f"out={out}", *QUIET]
    out.parent.mkdir(parents=True, exist_ok=True)
    said = out.parent / f"{out.name}.log"
    with said.open("w") as log:
        if started.forked:
            status, cost = started.copied(words, log.fileno(), log.fileno()), dict[str, float]()
        else:
            status, cost = timed(words, log.fileno())
    if status:
        sys.exit(f"{out}: {said.read_text().strip().splitlines()[-1]}")
    if cost:
        (out / "seconds.json").write_text(json.dumps(cost) + "\n")
    took = ", ".join(f"{kind} {used:.0f} s" for kind, used in cost.items())
    print(f"{out}: {took or 'done'}", flush=True)


def timed(words: list[str], log: int) -> tuple[int, dict[str, float]]:
    """A command's exit code, and the seconds it took: of the clock and of a core."""
    began = time.time()
    command = [sys.executable, "-m", "rlvr_cli", *words]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    _, status, used = os.wait4(process.pid, 0)  # of the run's ranks and verifiers too, which it waits for
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, {"wall": time.time() - began, "cpu": used.ru_utime + used.ru_stime}


def train(options: Namespace, arm: str, seed: int) -> None:
    more = [*ARMS[arm], f"seed={seed}", f"model.path={start_of(options, seed)}", *options.overrides]
    run(folder(options, arm, seed), "grpo", "tiny_vision_grpo", *more)


def train_all(options: Namespace) -> None:
    wanted = sorted(
        ((arm, seed) for arm in options.only for seed in seeds_of(options, arm)), key=lambda e: e[1]
    )
    starts = sorted({start_of(options, seed) for _, seed in wanted})

    def start(out: Path) -> None:
        run(out, "sft", "tiny_vision_sft", f"seed={out.name.removeprefix('seed')}")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(start, starts))
        list(pool.map(lambda each: train(options, *each), wanted))


def read(options: Namespace, arm: str) -> list[Run]:
    """The finished runs of an arm, by seed."""
    found = []
    for seed in seeds_of(options, arm):
        out = folder(options, arm, seed)
        if not (out / "final").is_dir():
            continue
        rows = read_metrics(out)
        seen = {m: [row[m] for row in rows if m in row] for m in (COUNT, IOU)}
        first, last = ({m: seen[m][at] for m in seen if seen[m]} for at in (0, -1))
        steps = [row for row in rows if "timing_s/step" in row]
        curves = {name: [row[name] for row in steps if name in row] for name in SEEN}
        found.append(Run(seed=seed, first=first, last=last, curves=curves))
    return found


def by_seed(options: Namespace, arm: str, runs: Sequence[Run]) -> Iterator[str]:
    """Each seed's figures and whether both gains are what is asked for."""
    yield "| seed | count before | after | points | mean IoU before | after | gained | s | of a core |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for each in runs:
        count = f"{each.first[COUNT]:.1%} | {each.last[COUNT]:.1%} | {100 * each.gain(COUNT):+.1f}"
        iou = f"{each.first[IOU]:.3f} | {each.last[IOU]:.3f} | {each.gain(IOU):+.3f}"
        files = [
            at / "seconds.json" for at in (start_of(options, each.seed), folder(options, arm, each.seed))
        ]
        costs = [json.loads(file.read_text()) for file in files if file.exists()]
        known = [f"{sum(cost[kind] for cost in costs):.0f}" for kind in ("wall", "cpu") if len(costs) == 2]
        wall, cpu = known or ("", "")
        yield f"| {each.seed} | {count} | {iou} | {wall} | {cpu} |"
    reached = sum(each.gain(COUNT) >= POINTS and each.gain(IOU) >= OVERLAP for each in runs)
    yield f"\n{arm}: both gains (15 points, 0.1) on {reached} of {len(runs)} seeds\n"


def by_arm(results: dict[str, list[Run]]) -> Iterator[str]:
    yield "| | seeds | count before | after | gained | mean IoU before | after | gained |"
    yield "|---|---|---|---|---|---|---|---|"
    for arm, runs in results.items():
        cells = []
        for metric in (COUNT, IOU):
            known = [each for each in runs if metric in each.first]
            for values in (
                [each.first[metric] for each in known],
                [each.last[metric] for each in known],
                [each.gain(metric) for each in known],
            ):
                cells.append(interval(values) if values else "")
        yield f"| {arm} | {len(runs)} | {' | '.join(cells)} |"


def plot(results: dict[str, list[Run]], path: Path) -> None:
    """Samples' count and IoU by step under the true reward and under none; IoU by what a box is paid for."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count, iou = SEEN
    panels = (
        (LEARNING, count, "counted right, samples of a step"),
        (LEARNING, iou, "mean IoU, samples of a step"),
        (PAID, iou, "mean IoU, boxes at any pixel"),
    )
    panels = tuple(panel for panel in panels if results.keys() & set(panel[0]))
    with pyplot.rc_context(STYLE):
        size = (1 + 4 * len(panels), 4)
        figure, sides = pyplot.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
        for axes, (arms, metric, title) in zip(sides[0], panels, strict=True):
            for number, arm in enumerate(arms):
                colour = COLOURS[number % len(COLOURS)]
                lines = [smooth(np.array(each.curves[metric], float), 11) for each in results.get(arm, [])]
                for line in lines:
                    axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=0.6, alpha=0.5)
                if lines:
                    middle = np.mean(lines, axis=0)
                    axes.plot(range(1, len(middle) + 1), middle, color=colour, linewidth=2, label=arm)
            axes.set_title(title)
            axes.set_xlabel("step")
            axes.set_ylim(bottom=0)
            axes.legend()
        figure.savefig(path, dpi=110)


def parsed() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/vision", help="where the runs go")
    parser.add_argument("--seeds", type=int, default=5, help="of the recipe as it is")
    parser.add_argument("--control-seeds", type=int, default=2, help="with drawn rewards")
    parser.add_argument("--box-seeds", type=int, default=2, help="of each way to pay for a box")
    parser.add_argument("--own-starts", action="store_true", help="fine-tune for every seed, not once")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    started.add(parser)
    parser.add_argument("--only", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--plot", type=Path, help="write the plot there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of tiny_vision_grpo")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    started.prepare(len(os.sched_getaffinity(0)), options.fork)  # models so small gain nothing by threads
    train_all(options)
    results = {arm: runs for arm in ARMS if (runs := read(options, arm))}
    for arm in LEARNING:
        if arm in results:
            print("\n".join(by_seed(options, arm, results[arm])))
    show(options, by_arm(results), {arm: [vars(each) for each in runs] for arm, runs in results.items()})
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
