"""A task whose responses have from a few tokens to 320, and start models that answer it, made here.

`87>12:` is answered by counting down, `87,86,...,12 \\boxed{1}`. What is in the box, 0 or 1, follows from
nothing a model could learn: however well it counts, about half of the samples of a problem are right, and
nearly all have an advantage, so that no side may leave out work. Nothing is downloaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from random import Random

MAX_PROMPT, MAX_TOKENS = 8, 320
SHAPES = {
    "38M": {"hidden_size": 512, "layers": 12, "heads": 8, "kv_heads": 4, "max_positions": 512},
    "30M": {"hidden_size": 512, "layers": 10, "heads": 8, "kv_heads": 4, "max_positions": 512},
    "small": {"hidden_size": 64, "layers": 2, "heads": 2, "kv_heads": 1, "max_positions": 512},
}
TASK = [
    "data.train.options={}",
    "data.train.chat=never",
    f"rollout.max_prompt_tokens={MAX_PROMPT}",
    f"rollout.max_tokens={MAX_TOKENS}",
]
"""Overrides of a training recipe, beside `data.train.path`."""


def problems(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of {id, prompt, answer, completion}; the lengths of the completions are spread evenly."""
    rng, found = Random(seed), []
    for n in range(count):
        length = rng.randint(0, 98)
        low = rng.randint(1, 99 - length)
        numbers = range(low + length, low - 1, -1)
        prompt = f"{low + length}>{low}:"
        answer = str(sha256(prompt.encode()).digest()[0] % 2)
        completion = f"{','.join(map(str, numbers))} \\boxed{{{answer}}}"
        row = {"id": str(n), "prompt": prompt, "answer": answer, "completion": completion}
        found.append(row)
    return found


def data(folder: Path) -> Path:
    """The training problems, written where they are not there yet."""
    file = folder / "long.jsonl"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in problems(4096, seed=0)))
    return file


def start_model(folder: Path, shape: str, *, steps: int) -> Path:
    """A run directory of `rlvr sft` below `folder`; made where it is not there yet (minutes)."""
    out = folder / f"sft_{shape}_{steps}"
    if (out / "final" / "config.json").exists():
        return out
    sizes = [f"model.tiny.{key}={value}" for key, value in SHAPES[shape].items()]
    command = [sys.executable, "-m", "rlvr_cli", "sft", "tiny_sft", f"out={out}", *sizes]
    command += [f"data.train.path={data(folder)}", "data.train.options={}", "data.train.chat=never"]
    command += [
        f"algorithm.max_length={MAX_PROMPT + MAX_TOKENS}",
        "eval.source=null",
        "eval.stop_at=null",
        "eval.every=null",
    ]
    command += [f"trainer.steps={steps}", "trainer.lr=1e-3", "batch.examples_per_step=16"]
    command += ["tracker.wandb=disabled", "tracker.console=plain"]
    print(f"making the start model {out}", file=sys.stderr, flush=True)
    if code := subprocess.run(command, stdout=sys.stderr).returncode:
        sys.exit(f"{' '.join(command)}: exit code {code}")
    return out
