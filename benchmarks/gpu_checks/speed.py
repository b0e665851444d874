"""Stage 1: peak memory of the update against `rlvr plan`, its tokens a second and MFU."""

from __future__ import annotations

import gc
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gpu_checks.findings import SKIPPED, Findings
from gpu_checks.numerics import timed
from gpu_checks.shapes import SHAPES, batch, config, likelihood, write_model
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import process_group
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.planning.gpus import GIB, find
from rlvr_cli.planning.planner import Plan, Wish, make_plan
from rlvr_cli.schema import Model, Precision, SFTRecipe
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.schema.recipes import SFTBatch

LIMIT = 0.15
"""Most that a measured peak may differ from the planned one, relatively."""


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    process_group.initialise()
    for name in SHAPES:
        shape = config(name, tiny=tiny)
        path = write_model(folder / name, shape, torch.bfloat16)
        lengths = np.random.default_rng(1).integers(20, 64 if tiny else 2048, size=8 if tiny else 24).tolist()
        sample = batch(lengths, [n - n // 4 for n in lengths], shape.vocab_size)
        measure(findings, name, path, sample, tokens=128 if tiny else 8192)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measure(findings: Findings, name: str, path: Path, sample: Batch, *, tokens: int) -> None:
    plan = planned(path, sample, tokens)
    if not plan.memory.fits:
        reason = f"the plan needs {plan.memory.peak / GIB:.0f} GiB, more than there are"
        findings.add(f"{name}: update", SKIPPED, reason)
        return
    recipe, cuda = plan.job.recipe, torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if cuda else 0
    trainer = Trainer(recipe.model, recipe.trainer, tokens_per_microbatch=tokens, max_grad_norm=1.0)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    trainer.update(sample, likelihood, lr=0.0)
    seconds = timed(lambda: trainer.update(sample, likelihood, lr=0.0), times=2)
    peak = torch.cuda.max_memory_allocated() - before if cuda else resident()
    predicted = plan.memory.allocated if cuda else plan.memory.peak
    error = (peak - predicted) / predicted
    recomputing = " with recomputation" if recipe.model.gradient_checkpointing else ""
    findings.device_check(
        f"{name}: peak memory against the plan",
        abs(error) <= LIMIT,
        f"{peak / GIB:.2f} GiB, planned {predicted / GIB:.2f}{recomputing}: {error:+.0%} (limit {LIMIT:.0%})",
        peak=float(peak),
        planned=predicted,
    )
    count = sum(map(len, sample.sequences))
    figures = {"tokens": float(count), "seconds": seconds, "tokens_per_second": count / seconds}
    said = f"{count:,} tokens in {seconds:.2f} s: {count / seconds:,.0f} tokens/s"
    flops = find("auto").flops
    if flops:
        figures["mfu"] = 6 * trainer.parameters * count / (seconds * flops)
        said += f", MFU {figures['mfu']:.0%} (6 FLOPs per weight and token)"
    findings.device_check(f"{name}: speed of the update", True, said, **figures)


def planned(path: Path, sample: Batch, tokens: int) -> Plan:
    """The plan of an update in bf16 with ZeRO-2; with recomputed activations where it fits no other way."""
    longest = max(map(len, sample.sequences))
    recipe = SFTRecipe(
        name="gpu-check",
        model=Model(path=str(path)),
        batch=SFTBatch(examples_per_step=len(sample.sequences), tokens_per_microbatch=tokens),
        trainer=Settings(zero_stage=2, precision=Precision.bf16),
    )
    recipe.algorithm.max_length = longest
    wish = Wish(ranks=1, prompt=sum(map(len, sample.sequences)) / len(sample.sequences))
    plan = make_plan(recipe, wish)
    if not plan.memory.fits:
        recipe = replace(recipe, model=replace(recipe.model, gradient_checkpointing=True))
        plan = make_plan(recipe, wish)
    return plan


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
