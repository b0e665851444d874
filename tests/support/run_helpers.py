"""What the tests of whole runs share: a recipe that runs in seconds, and the command line as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warm import Started, warm

from rlvr_cli.core.rank_process import free_port, rank_environment

RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: hf
  - trainer: zero0
  - _self_
name: exact
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {limit: 64, verifiers: [chance]}}
batch: {prompts_per_step: 6, group_size: 4, updates_per_step: 2, tokens_per_microbatch: 400}
rollout: {max_prompt_tokens: 16, max_tokens: 12}
trainer: {steps: 3, lr: 1e-3, precision: fp32}
algorithm: {kl: {coef: 0.05}, reference: {}}
tracker: {wandb: disabled}
"""
SFT_RECIPE = """
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.train: addition
  - trainer: zero0
  - _self_
name: small
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {limit: 64}}
batch: {examples_per_step: 8}
algorithm: {max_length: 64}
trainer: {steps: 100000, lr: 1e-3, precision: fp32}
tracker: {wandb: disabled}
"""


def rlvr(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The command as a process with ranks of its own, forked from one that has imported the libraries."""
    if warm.suits():
        return warm.run("command", list(arguments), timeout)
    return cold(*arguments, timeout=timeout)


def started(out: int, err: int, *arguments: str) -> "subprocess.Popen[bytes] | Started":
    """As `rlvr`, while it runs; its output goes into the files of these numbers."""
    if warm.suits():
        return warm.start("command", list(arguments), out, err)
    return subprocess.Popen([sys.executable, "-m", "rlvr_cli", *arguments], stdout=out, stderr=err)


def cold(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "rlvr_cli", *arguments], capture_output=True, text=True, timeout=timeout
    )


def steps_of(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "event" not in row]


def comparable(row: dict[str, float]) -> dict[str, float]:
    skipped = ("time", "timing_s/", "perf/")
    return {k: v for k, v in row.items() if not k.startswith(skipped) and isinstance(v, int | float)}


def run_script(path: Path, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """A script of ours as a process that has the libraries imported, as have the ranks it starts."""
    if warm.suits():
        return warm.run("script", [str(path), *words], timeout)
    return subprocess.run(
        [sys.executable, str(path), *words], capture_output=True, text=True, timeout=timeout
    )


def run_entries(script: str, ranks: int, model: Path, out: Path, *more: str) -> dict:
    """Run `python script model out *more` as `ranks` ranks of one group; the results.json it writes."""
    port = free_port()
    words = [str(Path(__file__).parent / script), str(model), str(out), *more]
    processes: list[subprocess.Popen[bytes] | Started] = []
    for rank in range(ranks):
        variables = {**rank_environment(rank, ranks, port), "OMP_NUM_THREADS": "1"}
        with open(out / f"rank{rank}.log", "wb") as log:
            if warm.suits() and os.environ.get("OMP_NUM_THREADS") == "1":
                processes.append(warm.start("script", words, log.fileno(), log.fileno(), **variables))
            else:
                command = [sys.executable, *words]
                processes.append(
                    subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
                )
    codes = [process.wait(timeout=280) for process in processes]
    assert codes == [0] * ranks, "\n".join((out / f"rank{r}.log").read_text()[-3000:] for r in range(ranks))
    return dict(json.loads((out / "results.json").read_text()))


@contextmanager
def rollout_server(recipe: Path | str, *overrides: str) -> Iterator[str]:
    """The address of a server that `rlvr rollout-server` has started."""
    words = ["rollout-server", str(recipe), "--port", f"{free_port()}", *overrides]
    process = subprocess.Popen([sys.executable, "-m", "rlvr_cli", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = next((each for each in process.stdout if each.startswith("rlvr: rollout server at ")), "")
        assert line, "it has ended"
        yield line.split()[-1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
