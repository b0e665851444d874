"""Stage 2: the trainer and vLLM on one device, assembled as a run assembles them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from gpu_checks.findings import SKIPPED, Findings
from gpu_checks.numerics import timed
from gpu_checks.shapes import batch, config, likelihood, write_model
from rlvr_cli import compose
from rlvr_cli.engine import process_group
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.training import weight_sync
from rlvr_cli.training.assemble import assemble
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.tracker import open_tracker

GIB, MIB = 2**30, 2**20
LEAK = 64 * MIB
"""Most memory that sleeping twenty times may cost."""
SLOWEST = 1.15
"""Most that our sampling may take of plain `llm.generate`'s time."""
STEP = 2e-4
"""Learning rate of the large update: many times what rounding moves a logprob by."""


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    shape = config("0.5B", tiny=tiny)
    cuda = torch.cuda.is_available()
    path = write_model(folder / "engine", shape, torch.bfloat16 if cuda else torch.float32)
    with assembled(path, folder, "bf16" if cuda else "fp32") as parts:
        gap = weight_sync.probe_gap(parts.engine, parts.trainer, parts.probe_tokens)
        findings.check("engine and trainer on the start model", True, f"self-check gap {gap:.1e}", gap=gap)
        fingerprints(findings, parts)
        seconds = timed(lambda: weight_sync.sync(parts))
        size = sum(w.numel() * w.element_size() for _, w in parts.trainer.weights())
        said = f"{seconds:.2f} s for {size / MIB:,.0f} MiB, with its checks"
        findings.device_check("weight sync", True, said, seconds=seconds, bytes=float(size))
        sampling(findings, parts, tiny=tiny)
        sleeping(findings, parts)
        large_update(findings, parts, gap, shape.vocab_size, tiny=tiny)


@contextmanager
def assembled(path: Path, folder: Path, precision: str) -> Iterator[Parts]:
    overrides = [
        f"model.path={path}",
        f"out={folder / 'engine_run'}",
        "rollout=vllm",
        f"trainer.precision={precision}",
        "trainer.zero_stage=2",
        "rollout.gpu_memory_utilization=0.3",
        "rollout.max_tokens=512",
        "rollout.kv_cache_gb=0.25",
        "tracker.console=plain",
    ]
    process_group.initialise()
    recipe = compose.load("smoke", overrides, "grpo")
    with open_tracker(recipe, sys.stdout, kind="rl") as tracker, assemble(recipe, tracker) as parts:
        weight_sync.sync(parts)
        yield parts


def probes(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """The probe's logprobs by the engine and by the trainer."""
    tokens = np.asarray(parts.probe_tokens, np.int32)
    theirs, _, _ = parts.trainer.score([tokens], [np.arange(len(tokens)) > 0], temperature=1.0)
    return np.asarray(parts.engine.probe(parts.probe_tokens)), theirs.numpy()


def large_update(findings: Findings, parts: Parts, gap: float, vocabulary: int, *, tiny: bool) -> None:
    """An engine that kept the old weights would be told from one that took the new ones."""
    engine_before, trainer_before = probes(parts)
    lengths = [64] * 4 if tiny else [256] * 16
    parts.trainer.update(batch(lengths, [n - 1 for n in lengths], vocabulary), likelihood, lr=STEP)
    stale, trainer_after = probes(parts)
    weight_sync.sync(parts)
    engine_after, _ = probes(parts)
    moved = trainer_after - trainer_before
    size = float(np.abs(moved).mean())
    left = float(np.abs(engine_after - engine_before - moved).mean())
    unmoved = float(np.abs(stale - engine_before).mean())
    said = (
        f"trainer's probe moved by {size:.1e}, engine's differs from that by {left:.1e} (at most a fifth); "
    )
    said += f"{unmoved:.1e} before the sync"
    passed = size > 5 * gap and left <= size / 5 and unmoved <= size / 5
    findings.check("a large update moves the engine as the trainer", passed, said, moved=size, left=left)


def fingerprints(findings: Findings, parts: Parts) -> None:
    """What the engine's own comparison of a sync covers; a difference raises SyncError there."""
    receipt = parts.engine.load(parts.trainer.weights())
    untold = sum(receipt.untold.values())
    said = f"{receipt.compared:,} numbers equal bit for bit, {receipt.sampled:,} by drawn columns, "
    said += f"{untold:,} not comparable"
    findings.check(
        "fingerprints of a sync",
        not receipt.wrong and not receipt.unsent and receipt.compared + receipt.sampled > 0,
        said,
        compared=float(receipt.compared),
        sampled=float(receipt.sampled),
        untold=float(untold),
    )


def sampling(findings: Findings, parts: Parts, *, tiny: bool) -> None:
    """Our generator, with seeds and groups that leave one by one, against `llm.generate`."""
    from vllm import SamplingParams

    prompts, samples, tokens = (8, 4, 16) if tiny else (64, 8, 256)
    digits = parts.tokenizer("12+34=")["input_ids"]
    rule = Sampling(temperature=1.0, top_p=1.0, max_tokens=tokens)
    llm: Any = parts.engine.llm  # type: ignore[attr-defined]
    plain = SamplingParams(n=samples, max_tokens=tokens, logprobs=0, flat_logprobs=True, detokenize=False)

    def ours() -> int:
        requests = [Request(key=n, tokens=digits, samples=samples, seed=n) for n in range(prompts)]
        return sum(len(c.tokens) for _, group in parts.engine.generate(requests, rule) for c in group)

    def theirs() -> int:
        asked = [{"prompt_token_ids": digits}] * prompts
        found = llm.generate(asked, plain, use_tqdm=False)
        return sum(len(o.token_ids) for output in found for o in output.outputs)

    ours(), theirs()
    rounds = [(per_token(ours), per_token(theirs)) for _ in range(3)]
    ratio = median(mine / bare for mine, bare in rounds)
    speed = 1 / median(mine for mine, _ in rounds)
    said = f"{speed:,.0f} tokens/s, {ratio:.2f} x the time of llm.generate (at most {SLOWEST:g})"
    findings.device_check(
        "sampling against plain vLLM", ratio <= SLOWEST, said, ratio=ratio, tokens_per_second=speed
    )


def per_token(generate: Callable[[], int]) -> float:
    counts: list[int] = []
    return timed(lambda: counts.append(generate()), times=1) / counts[0]


def sleeping(findings: Findings, parts: Parts, times: int = 20) -> None:
    """Free memory of the device after each sleep, with a sync between two."""
    name = f"{times} times asleep and awake"
    if not getattr(parts.engine, "sleeps", False):
        findings.add(name, SKIPPED, "the engine gives no memory back here: sleeping needs a GPU")
        return
    awake = torch.cuda.mem_get_info()[0]
    free = []
    for _ in range(times):
        parts.engine.sleep()
        free.append(torch.cuda.mem_get_info()[0])
        weight_sync.sync(parts)
    lost, back = free[1] - free[-1], free[0] - awake  # the first sleep empties caches, too
    said = f"a sleep gives back {back / GIB:.1f} GiB; {lost / MIB:.0f} MiB lost (at most {LEAK / MIB:.0f})"
    findings.check(name, lost <= LEAK and back > 0, said, lost=float(lost), given_back=float(back))
