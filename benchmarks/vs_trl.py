"""Ours against TRL's GRPOTrainer: `python benchmarks/vs_trl.py --setup`, then with `--case tiny` or `long`.

`tiny` is two-digit addition with the tiny model, at most 40 tokens a response; `long` a model of 38 million
weights whose responses have from a few tokens to 320 (long_case.py), its start model made once below
runs/benchmarks.

Same start model, problems in the same order, batch, reward (exact boxed answer), sampling, loss (token
mean, clip-higher, no KL) and optimizer (AdamW) in fp32; one process after the other, same threads. TRL's
defaults that would slow it down here (gradient checkpointing, bf16) are off. TRL generates with transformers,
or with --trl-vllm with vLLM in its own process, from an environment (--trl-python) that has both; compare
against whichever is faster on the machine (docs/benchmarks.md).

Measured: tokens per second, prompt and sampled tokens of all steps over their seconds; the peak memory of
each side's largest process (ru_maxrss), without launcher and verifiers' workers, which ours has besides; in
the tiny case the seconds of training until the mean accuracy of five steps' samples reaches the target.
Start-up is shown apart. The ratios are medians over the seeds, of the two runs of a seed.
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
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import long_case
from trl_results import Result, show, summarise

from rlvr_cli import compose
from rlvr_cli.core import model_paths
from rlvr_cli.launch import prerequisites
from rlvr_cli.schema import Recipe

HERE = Path(__file__).parent
VENV = HERE.parent / ".venv-trl"
TRL = VENV / "bin" / "python"
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


FOLDER = HERE.parent / "runs" / "benchmarks"
"""Of start models and data that benchmarks make."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained; every override holds for both sides."""

    steps: int
    overrides: list[str] = field(default_factory=list)
    trl_rows: int | None = None
    """Rows of a padded batch that TRL trains on at once; None: all of a step."""
    target: float = math.inf
    """Accuracy whose time is measured; infinite: none."""


CASES = {
    "tiny": Case(steps=45, target=0.6),
    "long": Case(
        steps=2,
        trl_rows=16,  # of at most 328 tokens: as many as ours at a time; all of a step would be 29 GB
        overrides=[
            *long_case.TASK,
            f"data.train.path={FOLDER / 'long.jsonl'}",
            "batch.prompts_per_step=16",
            "batch.tokens_per_microbatch=1024",
            "rollout.kv_cache_gb=0.5",
            "trainer.lr=1e-5",
            "preflight.enabled=false",
        ],
    ),
}


def execute(command: list[str], log: Path, threads: int) -> tuple[float, float]:
    """Run with its output in `log`: when it was started, and the peak GiB of its largest process."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    started = time.time()
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # with the children it has waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-3000:]}")
    return started, usage.ru_maxrss / 2**20


def ours(overrides: list[str], folder: Path, seed: int, target: float, threads: int) -> Result:
    started, peak = execute(
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
    return summarise("rlvr", seed, start_up, peak, rows, target)


def theirs(recipe: Recipe, folder: Path, seed: int, target: float, options: Namespace) -> Result:
    settings = folder / "settings.json"
    more = {"vllm": options.trl_vllm, "rows": options.trl_rows}
    settings.write_text(json.dumps(trl_settings(recipe) | more))
    answer = folder / "trl.json"
    command = [str(options.trl_python), str(HERE / "trl_side.py"), str(settings), str(answer)]
    started, peak = execute(command, folder / "trl.log", options.threads)
    found = json.loads(answer.read_text())
    return summarise("TRL", seed, found["began"] - started, peak, found["rows"], target)


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
    """Make TRL's virtualenv; on a machine without a GPU with the CPU build of torch, where there is one."""
    venv.create(VENV, with_pip=True)
    (VENV / ".gitignore").write_text("*\n")
    pip = [TRL, "-m", "pip", "install", "--quiet"]
    if not prerequisites.count_gpus():
        subprocess.run([*pip, "--no-deps", "-r", HERE.parent / "requirements" / "torch-cpu.txt"], check=False)
    subprocess.run([*pip, "-r", HERE / "requirements-trl.txt"], check=True)


def arguments() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="make TRL's virtualenv (.venv-trl) and stop")
    parser.add_argument("--case", choices=CASES, default="tiny")
    parser.add_argument(
        "--trl-python", type=Path, default=TRL, metavar="PATH", help="interpreter that has TRL"
    )
    parser.add_argument("--trl-vllm", action="store_true", help="TRL generates with vLLM, not transformers")
    parser.add_argument(
        "--trl-rows", type=int, help="rows of a padded batch that TRL trains on at once (tiny all, long 16)"
    )
    parser.add_argument("--no-trl", action="store_true", help="our side alone")
    parser.add_argument("--model", help="model folder or run directory (runs/tiny_sft; long: made)")
    parser.add_argument("--shape", choices=long_case.SHAPES, default="38M", help="of the long case's model")
    parser.add_argument("--sft-steps", type=int, default=80, help="that make it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of a run (tiny 45, long 2)")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.setup:
        return setup()
    if not options.no_trl and not options.trl_python.exists():
        sys.exit(f"there is no {options.trl_python}: run with --setup first")
    case = CASES[options.case]
    options.trl_rows = options.trl_rows or case.trl_rows
    if options.case == "long":
        long_case.data(FOLDER)
    if options.model is None:
        options.model = "runs/tiny_sft"
        if options.case == "long":
            options.model = str(long_case.start_model(FOLDER, options.shape, steps=options.sft_steps))
    model = Path(model_paths.resolve_model(options.model)).resolve()
    fixed = [*RECIPE, *case.overrides, f"model.path={model}", f"trainer.steps={options.steps or case.steps}"]
    results: list[Result] = []
    for seed in range(options.seeds):
        overrides = [*fixed, f"seed={seed}"]
        recipe = compose.load("tiny_dapo", overrides, "dapo")
        assert isinstance(recipe, Recipe)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            results.append(ours(overrides, folder, seed, case.target, options.threads))
            if not options.no_trl:
                results.append(theirs(recipe, folder, seed, case.target, options))
    ratios = show(results, case.target, "vLLM" if options.trl_vllm else "transformers")
    if options.json:
        rows = [asdict(r) | ({} if math.isfinite(r.to_target) else {"to_target": None}) for r in results]
        whole = {"case": options.case, "ratios": ratios, "runs": rows}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
