"""Is RL sparser than SFT in bf16? Both at several rates:

    rlvr sft tiny_sft
    python benchmarks/sparsity.py

Runs start from `runs/tiny_sft` with `trainer.precision=bf16` and learn two-digit sums: RL as in `tiny_dapo`,
SFT on worked solutions as in `tiny_sft` (a quarter of their batches), at RL's rates and at ten times these,
which is usual. Each final model is measured on sums that no training has seen. Sparsity is that of the
matrices of layers, as `rlvr inspect weights` has it.

Runs that are there are not made again. Writes a table (Markdown).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seeds import SAMPLED, Measured, all_measured, interval, measure, only, parser, show, train_all

from rlvr_cli.inspect.measured import relative
from rlvr_cli.inspect.weights import inspect

RL = {2e-4: 15, 5e-5: 15}
"""Rate -> steps."""
SFT = {2e-4: (10, 20), 2e-3: (1, 2, 4), 5e-4: (2, 4, 8)}
"""Rate -> lengths, the shortest first."""


def label_of(kind: str, rate: float, steps: int) -> str:
    return f"{kind}, {rate:g}, {steps} steps"


def labels() -> dict[str, list[str]]:
    arms = [("rl", rate, steps) for rate, steps in RL.items()]
    arms += [("sft", rate, steps) for rate, lengths in SFT.items() for steps in lengths]
    return {label_of(*arm): [f"trainer.lr={arm[1]:g}", f"trainer.steps={arm[2]}"] for arm in arms}


def looked(start: Path, run: Path) -> Measured:
    total = inspect(str(start), [str(run)], None).total()
    return {"sparsity": total.sparsity(0), "change": relative(total.weights, 0)}


def rows(start: Measured, results: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| | seeds | right | sparsity, % | change, % |"
    yield "|---|---|---|---|---|"
    yield f"| start | | {start['right']:.3f} | | |"
    for label, found in results.items():
        numbers = [interval([100 * each[name] for each in found], 1) for name in ("sparsity", "change")]
        yield f"| {label} | {len(found)} | {interval([x['right'] for x in found])} | {' | '.join(numbers)} |"


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
    results = all_measured(given, lambda _, run: looked(model, run), k=2)
    show(given, rows(start, results), {"start": start, **results})


if __name__ == "__main__":
    main()
