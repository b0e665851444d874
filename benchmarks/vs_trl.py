"""Ours against TRL's GRPOTrainer: `python benchmarks/vs_trl.py --setup`, then without it.

Same start model, problems in the same order, batch, reward (exact boxed answer), sampling, loss (token
mean, clip-higher, no KL) and optimizer (AdamW) in fp32; one process after the other, same threads. TRL's
defaults that would slow it down here (gradient checkpointing, bf16) are off. TRL generates with transformers,
or with --trl-vllm with vLLM in its own process, from an environment (--trl-python) that has both; compare
against whichever is faster on the machine (docs/benchmarks.md).

Measured: tokens per second, prompt and sampled tokens of all steps over their seconds, and the seconds of
training until the mean accuracy of five steps' samples reaches the target. Start-up is shown apart.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
import venv
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from rlvr_cli import compose
from rlvr_cli.launch import prerequisites
from rlvr_cli.schema import Recipe

HERE = Path(__file__).parent
VENV = HERE.parent / ".venv-trl"
TRL = VENV / "bin" / "python"
WINDOW = 5
"""Steps whose sampled completions make up one measurement of accuracy."""
RECIPE = [
    "algorithm/shaping=identity",
    "algorithm/filter=none",  # TRL has no dynamic sampling
    "algorithm.advantage.eps=1e-4",  # TRL's
    "algorithm.loss.dual_clip=null",
    "verifier@verifiers.math=match",
    "verifiers.math.extraction=boxed",
    "rollout=vllm",
    "eval.at_start=false",
    "eval.at_end=false",
    "tracker.wandb=disabled",
    "tracker.console=plain",
]


@dataclass(kw_only=True)
class Result:
    side: str
    seed: int
    start_up: float
    """Seconds from the start of the process to the start of the first step."""
    training: float
    """Seconds of all steps."""
    tokens_per_second: float
    to_target: float
    """Seconds of training until the target; infinite when it was not reached."""
    accuracy: list[float]
    """Of each step's samples."""


def summarise(side: str, seed: int, start_up: float, rows: list[dict[str, float]], target: float) -> Result:
    accuracy = [row["accuracy"] for row in rows]
    seconds, to_target = 0.0, math.inf
    for n, row in enumerate(rows, 1):
        seconds += row["seconds"]
        if n >= WINDOW and sum(accuracy[n - WINDOW : n]) / WINDOW >= target:
            to_target = min(to_target, seconds)
    return Result(
        side=side,
        seed=seed,
        start_up=start_up,
        training=seconds,
        tokens_per_second=sum(row["tokens"] for row in rows) / seconds,
        to_target=to_target,
        accuracy=[round(a, 4) for a in accuracy],
    )


def execute(command: list[str], log: Path, threads: int) -> float:
    """Run to the end with its output in `log`; returns when it was started."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    started = time.time()
    with log.open("w") as output:
        code = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT).returncode
    if code:
        sys.exit(f"{' '.join(command)}: exit code {code}\n{log.read_text()[-3000:]}")
    return started


def ours(overrides: list[str], folder: Path, seed: int, target: float, threads: int) -> Result:
    started = execute(
        [sys.executable, "-m", "rlvr_cli", "dapo", "tiny_dapo", *overrides, f"out={folder / 'run'}"],
        folder / "ours.log",
        threads,
    )
    from rlvr_cli.tracking import read_metrics

    records = [record for record in read_metrics(folder / "run") if "timing_s/step" in record]
    rows = [
        {
            "seconds": r["timing_s/step"],
            "tokens": r["perf/tokens_per_second"] * r["timing_s/step"],
            "accuracy": r["reward/correct_fraction"],
        }
        for r in records
    ]
    start_up = records[0]["time"] - rows[0]["seconds"] - started
    return summarise("rlvr", seed, start_up, rows, target)


def theirs(
    recipe: Recipe, folder: Path, seed: int, target: float, threads: int, python: Path, vllm: bool
) -> Result:
    settings = folder / "settings.json"
    settings.write_text(json.dumps(trl_settings(recipe) | {"vllm": vllm}))
    answer = folder / "trl.json"
    command = [str(python), str(HERE / "trl_side.py"), str(settings), str(answer)]
    started = execute(command, folder / "trl.log", threads)
    found = json.loads(answer.read_text())
    return summarise("TRL", seed, found["began"] - started, found["rows"], target)


def trl_settings(recipe: Recipe) -> dict[str, Any]:
    """What trl_side.py needs of the recipe, and the problems in the order our sampler gives them."""
    from rlvr_cli.data.prompts import problems
    from rlvr_cli.data.sampler import Sampler
    from rlvr_cli.engine.model import load_tokenizer

    tokenizer, limit = load_tokenizer(recipe.model), recipe.rollout.max_prompt_tokens
    found = {name: problems(name, s, tokenizer, limit, recipe.seed)[0] for name, s in recipe.data.items()}
    sampler = Sampler(found, {name: s.weight for name, s in recipe.data.items()}, recipe.seed)
    drawn = [p for _, p in sampler.take(recipe.trainer.steps * recipe.batch.prompts_per_step)]
    return {
        "model": recipe.model.path,
        "seed": recipe.seed,
        "steps": recipe.trainer.steps,
        "problems": [{"prompt": p.prompt, "tokens": p.tokens, "answer": p.answer} for p in drawn],
        "prompts_per_step": recipe.batch.prompts_per_step,
        "group_size": recipe.batch.group_size,
        "max_tokens": recipe.rollout.max_tokens,
        "max_positions": recipe.rollout.max_prompt_tokens + recipe.rollout.max_tokens,
        "temperature": recipe.rollout.temperature,
        "clip_ratio_low": recipe.algorithm.loss.clip_ratio_low,
        "clip_ratio_high": recipe.algorithm.loss.clip_ratio_high,
        "max_grad_norm": recipe.algorithm.gradient.max_norm,
        "lr": recipe.trainer.lr,
        "betas": recipe.trainer.betas,
        "eps": recipe.trainer.eps,
        "weight_decay": recipe.trainer.weight_decay,
    }


def setup() -> None:
    """Make TRL's virtualenv."""
    venv.create(VENV, with_pip=True)
    (VENV / ".gitignore").write_text("*\n")
    subprocess.run([TRL, "-m", "pip", "install", "-r", HERE / "requirements-trl.txt"], check=True)


def show(results: list[Result], target: float, generation: str) -> None:
    def seconds(value: float) -> str:
        return f"{value:.1f}" if math.isfinite(value) else "never"

    table = Table(title=f"TRL generates with {generation}", title_justify="left")
    goal = f"s to {target:.0%}"
    for heading in ("", "seed", "start-up s", "training s", "tokens/s", goal, "last accuracy"):
        table.add_column(heading, justify="right" if heading else "left")
    medians: dict[str, tuple[float, float]] = {}
    for side in ("rlvr", "TRL"):
        found = [r for r in results if r.side == side]
        for r in found:
            table.add_row(
                side,
                str(r.seed),
                f"{r.start_up:.1f}",
                f"{r.training:.1f}",
                f"{r.tokens_per_second:,.0f}",
                seconds(r.to_target),
                f"{sum(r.accuracy[-WINDOW:]) / len(r.accuracy[-WINDOW:]):.3f}",
            )
        medians[side] = median(r.tokens_per_second for r in found), median(r.to_target for r in found)
        table.add_row(
            side,
            "median",
            f"{median(r.start_up for r in found):.1f}",
            f"{median(r.training for r in found):.1f}",
            f"{medians[side][0]:,.0f}",
            seconds(medians[side][1]),
            style="bold",
            end_section=True,
        )
    console = Console()
    console.print(table)
    speed, to_target = zip(medians["rlvr"], medians["TRL"], strict=True)
    console.print(f"tokens/s, rlvr / TRL: [bold]{speed[0] / speed[1]:.2f}[/bold]")
    if math.isfinite(to_target[0]):
        console.print(f"seconds to {target:.0%}, TRL / rlvr: [bold]{to_target[1] / to_target[0]:.2f}[/bold]")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make TRL's virtualenv (.venv-trl) and stop")
    parser.add_argument(
        "--trl-python", type=Path, default=TRL, metavar="PATH", help="interpreter that has TRL"
    )
    parser.add_argument("--trl-vllm", action="store_true", help="TRL generates with vLLM, not transformers")
    parser.add_argument("--model", default="runs/tiny_sft", help="model folder or run directory")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--target", type=float, default=0.6, help="accuracy to reach")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    if options.setup:
        return setup()
    if not options.trl_python.exists():
        sys.exit(f"there is no {options.trl_python}: run with --setup first")
    model = Path(prerequisites.resolve_model(options.model)).resolve()
    fixed = [*RECIPE, f"model.path={model}", f"trainer.steps={options.steps}"]
    results: list[Result] = []
    for seed in range(options.seeds):
        overrides = [*fixed, f"seed={seed}"]
        recipe = compose.load("tiny_dapo", overrides, "dapo")
        assert isinstance(recipe, Recipe)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            results.append(ours(overrides, folder, seed, options.target, options.threads))
            trl = options.trl_python, options.trl_vllm
            results.append(theirs(recipe, folder, seed, options.target, options.threads, *trl))
    show(results, options.target, "vLLM" if options.trl_vllm else "transformers")
    if options.json:
        rows = [asdict(r) | ({} if math.isfinite(r.to_target) else {"to_target": None}) for r in results]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
