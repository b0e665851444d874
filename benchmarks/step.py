"""A training step against the bare work inside it: `python benchmarks/step.py --case tiny`.

The bare work is what no RL step can do without: sampling the same number of tokens for the same prompts
with plain `llm.generate` on the same vLLM engine, and one forward, backward and optimizer step over the
same sequences with a plain transformers model and torch's AdamW: laid end to end in our micro-batches,
through the same attention without a mask; cross-entropy on the response tokens, whose hidden states alone go
through the output layer; no DeepSpeed, no clipping, no metrics. Steps alternate with bare work in one
process, so that whatever else the machine does hits both. Both sides have one thread pool and fp32.

`--case tiny` is the tiny DAPO recipe; `30M` a model of 31 million weights with responses of up to 320 tokens
(long_case.py), whose start model is made below runs/benchmarks where it is not there yet.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

import long_case
from quiet import quiet

from rlvr_cli import compose
from rlvr_cli.core import model_paths
from rlvr_cli.core.rank_process import library_defaults

if TYPE_CHECKING:
    from plain import PlainTrainer

    from rlvr_cli.core.types import Batch
    from rlvr_cli.training.dynamic_sampling import Rollouts
    from rlvr_cli.training.parts import Parts

RECIPE = [
    "algorithm/shaping=identity",
    "algorithm/filter=none",  # one round of generation a step, and every sample is trained on
    "tracker.wandb=disabled",
    "tracker.console=plain",
    "eval.at_start=false",
    "eval.at_end=false",
]
LONG = [
    "verifier@verifiers.math=match",
    "verifiers.math.extraction=boxed",
    "batch.prompts_per_step=4",
    "trainer.lr=1e-5",
    "preflight.enabled=false",
]
SFT_STEPS = 80
FOLDER = Path(__file__).parents[1] / "runs" / "benchmarks"
"""Of start models and data that benchmarks make."""
Row = dict[str, float]
"""Seconds of one step by phase, of the bare work, and the step's tokens."""


def bare_generation(parts: Parts, rollouts: Rollouts) -> None:
    """The step's prompts again, each sample forced to the length it had; logprobs, as RL needs them."""
    from vllm import SamplingParams

    recipe = parts.recipe
    prompts, params = [], []
    for group in rollouts.sampled:
        for completion in group.completions:
            prompts.append({"prompt_token_ids": group.problem.tokens})
            params.append(
                SamplingParams(
                    temperature=recipe.rollout.temperature,
                    max_tokens=len(completion.tokens),
                    ignore_eos=True,
                    logprobs=0,
                    flat_logprobs=True,
                    detokenize=False,
                )
            )
    llm = parts.engine.llm  # type: ignore[attr-defined]
    llm.reset_prefix_cache()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    assert [len(o.outputs[0].token_ids) for o in outputs] == [p.max_tokens for p in params]


def measure(parts: Parts, bare: PlainTrainer, steps: int, warm_up: int, terminal: TextIO) -> list[Row]:
    from plain import packed

    from rlvr_cli.training import loop

    sample_groups, update = loop.sample_groups, parts.trainer.update
    sampled: list[Rollouts] = []
    trained: list[Batch] = []

    def watched_sampling(*args: Any) -> Rollouts:
        sampled.append(sample_groups(*args))
        return sampled[-1]

    def watched_update(batch: Batch, *args: Any, **kwargs: Any) -> dict[str, float]:
        trained.append(batch)
        return update(batch, *args, **kwargs)

    loop.sample_groups = watched_sampling
    parts.trainer.update = watched_update  # type: ignore[method-assign]
    clock, rows = Clock(), []
    for n in range(warm_up + steps):
        parts.timer.take()  # forget the bare work
        clock.lap()
        loop.train_step(parts)
        row = {"step": clock.lap()}
        if not trained:
            raise RuntimeError("a step without an update: the samples of every group earned the same")
        rollouts, batch = sampled.pop(), trained.pop()
        completions = [(g, c) for g in rollouts.sampled for c in g.completions]
        row["tokens"] = float(sum(len(g.problem.tokens) + len(c.tokens) for g, c in completions))
        row["response tokens"] = float(sum(len(c.tokens) for _, c in completions))
        row["trained tokens"] = float(sum(map(len, batch.sequences)))
        clock.lap()
        bare_generation(parts, rollouts)
        row["bare generation"] = clock.lap()
        micro_batches = parts.trainer.micro_batches(batch.sequences, batch.trained)
        clock.lap()
        bare.step(packed(micro_batches), sum(batch.lengths_B))
        row["bare update"] = clock.lap()
        if n >= warm_up:
            rows.append(row)
        if terminal.isatty():
            print(f"\rstep {n + 1} of {warm_up + steps}", end="\r", file=terminal, flush=True)
    return rows


class Clock:
    def __init__(self) -> None:
        self.since = perf_counter()

    def lap(self) -> float:
        now = perf_counter()
        seconds, self.since = now - self.since, now
        return seconds


def add_phases(rows: list[Row], out: Path) -> list[str]:
    """Read the loop's own timing of each step; what is outside every phase is `record and rest`."""
    from rlvr_cli.tracking import read_metrics

    phases: list[str] = []
    for row, record in zip(rows, read_metrics(out)[-len(rows) :], strict=True):
        found = {k.removeprefix("timing_s/"): v for k, v in record.items() if k.startswith("timing_s/")}
        del found["step"]
        phases += [phase for phase in found if phase not in phases]
        row |= found | {"record and rest": row["step"] - sum(found.values())}
    return [*phases, "record and rest"]


def run(options: Namespace, out: Path, terminal: TextIO) -> dict[str, Any]:
    """Medians of everything measured."""
    os.environ.update(library_defaults(1, 0))
    steps = options.steps + options.warm_up
    model = model_paths.resolve_model(str(options.model))
    fixed = [f"model.path={model}", f"out={out}", f"trainer.steps={steps}", "rollout=vllm"]
    recipe = compose.load("tiny_dapo", [*RECIPE, *fixed, *case(options.case), *options.overrides], "dapo")

    import torch
    from plain import PlainTrainer

    from rlvr_cli.engine import process_group
    from rlvr_cli.engine.attention import PACKED
    from rlvr_cli.training.assemble import assemble
    from rlvr_cli.training.tracker import open_tracker
    from rlvr_cli.training.weight_sync import sync

    process_group.initialise()
    with (
        open_tracker(recipe, sys.stdout, kind="rl") as tracker,
        assemble(recipe, tracker) as parts,
    ):
        sync(parts)
        bare = PlainTrainer(model, recipe.trainer.lr, PACKED)
        rows = measure(parts, bare, options.steps, options.warm_up, terminal)
    phases = add_phases(rows, out)
    for row in rows:
        row["bare work"] = row["bare generation"] + row["bare update"]
        row["ratio"] = row["step"] / row["bare work"]
    medians = {
        name: median(row.get(name, 0.0) for row in rows) for name in dict.fromkeys([*rows[0], *phases])
    }
    return {
        "steps": len(rows),
        "threads": torch.get_num_threads(),
        "phases": phases,
        "medians": medians,
        "ratio": medians["step"] / medians["bare work"],
        "ratio of each step": [round(row["ratio"], 3) for row in rows],
    }


def case(name: str) -> list[str]:
    """Overrides of the tiny DAPO recipe."""
    if name == "tiny":
        return []
    return [*long_case.TASK, *LONG, f"data.train.path={long_case.data(FOLDER)}"]


def show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    medians = result["medians"]
    title = f"median of {result['steps']} steps, {result['threads']} threads"
    table = Table(title=title, title_justify="left")
    for heading in ("", "ms", "of step"):
        table.add_column(heading, justify="left" if not heading else "right")

    def add(name: str, label: str, style: str = "") -> None:
        share = f"{medians[name] / medians['step']:.0%}"
        table.add_row(label, f"{1000 * medians[name]:.1f}", share, style=style)

    for phase in result["phases"]:
        add(phase, f"  {phase}")
    add("step", "training step", style="bold")
    table.add_section()
    add("bare generation", "  plain llm.generate")
    add("bare update", "  plain forward, backward, AdamW")
    add("bare work", "bare work", style="bold")
    console = Console()
    console.print(table)
    console.print(
        f"{medians['tokens']:,.0f} tokens a step, {medians['response tokens']:,.0f} of them sampled, "
        f"{medians['trained tokens']:,.0f} in sequences trained on; "
        f"{medians['tokens'] / medians['step']:,.0f} tokens/s"
    )
    console.print(f"[bold]training step / bare work: {result['ratio']:.2f}[/bold]")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("tiny", "30M"), default="tiny")
    parser.add_argument("--model", help="model folder or run directory (runs/tiny_sft; 30M: made)")
    parser.add_argument("--steps", type=int, default=30, help="steps measured")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("overrides", nargs="*", help="key=value on top of the tiny_dapo recipe")
    options = parser.parse_args()
    if options.model is None:
        made = options.case == "30M"
        options.model = long_case.start_model(FOLDER, "30M", steps=SFT_STEPS) if made else "runs/tiny_sft"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with quiet(Path(folder)) as terminal:
            result = run(options, out, terminal)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
