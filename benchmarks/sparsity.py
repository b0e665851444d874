"""Is RL sparser than SFT in bf16? Both at the rates one would give them, and at equal gain:

    rlvr sft tiny_sft
    python benchmarks/sparsity.py

Runs start from `runs/tiny_sft` with `trainer.precision=bf16` and learn two-digit sums: RL as in `tiny_dapo`,
SFT on worked solutions as in `tiny_sft`, at the rate of RL and at ten times it, which is usual. SFT is run
for several lengths, and compared where it has RL's accuracy on sums that no training has seen: between two
lengths linearly. Sparsity is that of the matrices of layers, as `rlvr inspect weights` has it.

Runs that are there are not made again. Writes tables (Markdown).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from seeds import SAMPLED, Measured, finished, interval, measure, only, parser, train_all

from rlvr_cli.inspect.measured import relative
from rlvr_cli.inspect.weights import inspect

RL = {2e-4: 15, 5e-5: 15}
"""Rate -> steps."""
SFT = {2e-4: (10, 20), 2e-3: (1, 2, 4), 5e-4: (2, 4, 8)}
"""Rate -> lengths, the shortest first."""
RATIOS = (1, 10)
"""Rate of SFT over that of RL."""


def label_of(kind: str, rate: float, steps: int) -> str:
    return f"{kind}, {rate:g}, {steps} steps"


def labels() -> dict[str, list[str]]:
    arms = [("rl", rate, steps) for rate, steps in RL.items()]
    arms += [("sft", rate, steps) for rate, lengths in SFT.items() for steps in lengths]
    return {label_of(*arm): [f"trainer.lr={arm[1]:g}", f"trainer.steps={arm[2]}"] for arm in arms}


def looked(start: Path, run: Path) -> Measured:
    total = inspect(str(start), [str(run)], None).total()
    return {"sparsity": total.sparsity(0), "change": relative(total.weights, 0)}


def at_gain(right: float, course: Sequence[Sequence[Measured]], name: str) -> float | None:
    """A number of SFT where it has this accuracy: of the mean course over its seeds; None outside of it."""
    known = [mean(each["right"] for each in found) for found in course if found]
    values = [mean(each[name] for each in found) for found in course if found]
    if len(known) < 2 or not min(known) <= right <= max(known):
        return None
    return float(np.interp(right, known, values))


def rows(start: Measured, results: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| | seeds | right | sparsity, % | change, % |"
    yield "|---|---|---|---|---|"
    yield f"| start | | {start['right']:.3f} | | |"
    for label, found in results.items():
        numbers = [interval([100 * each[name] for each in found], 1) for name in ("sparsity", "change")]
        yield f"| {label} | {len(found)} | {interval([x['right'] for x in found])} | {' | '.join(numbers)} |"


def compared(start: Measured, results: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| RL, rate | right | sparsity, % | SFT, rate | sparsity there, % | change, RL and SFT, % |"
    yield "|---|---|---|---|---|---|"
    for rate, steps in RL.items():
        found = results.get(label_of("rl", rate, steps), [])
        if not found:
            continue
        ours = {name: mean(each[name] for each in found) for name in found[0]}
        for other in (ratio * rate for ratio in RATIOS):
            lengths = next((each for known, each in SFT.items() if np.isclose(known, other)), ())
            if not lengths:
                continue
            course = [[start | {"sparsity": 1.0, "change": 0.0}]]
            course += [list(results.get(label_of("sft", other, each), [])) for each in lengths]
            there = [at_gain(ours["right"], course, name) for name in ("sparsity", "change")]
            shown = ["beyond its runs" if each is None else f"{100 * each:.1f}" for each in there]
            yield (
                f"| {rate:g} | {ours['right']:.3f} | {100 * ours['sparsity']:.1f} | {other:g} | {shown[0]} "
                f"| {100 * ours['change']:.2f} and {shown[1]} |"
            )


def main() -> None:
    options = parser(__doc__, labels(), model="runs/tiny_sft", out="runs/sparsity", steps=1)
    options.set_defaults(seeds=3)
    given = options.parse_args()
    model = Path(given.model)
    start = measure(model, Path(given.out) / "start_eval")
    here = ("batch.prompts_per_step=8", "eval.at_start=false", "eval.at_end=false", "rollout=hf", *SAMPLED)
    there = ("batch.examples_per_step=32", "eval.every=null", "eval.stop_at=null", "trainer.warmup_steps=0")
    for kind, recipe, more in (("rl", "tiny_dapo", here), ("sft", "tiny_sft", there)):
        mine = {label: each for label, each in labels().items() if label.startswith(kind)}
        train_all(only(given, mine), recipe, labels(), ["trainer.precision=bf16", *more])
    results = {
        label: [measure(run, run / "eval", k=2) | looked(model, run) for run in finished(given, label)]
        for label in given.only
    }
    results = {label: found for label, found in results.items() if found}
    print("\n".join([*rows(start, results), "", *compared(start, results)]))
    if given.json:
        given.json.write_text(json.dumps({"start": start, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
