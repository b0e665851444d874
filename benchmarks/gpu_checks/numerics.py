"""Stage 1: ZeRO 0 to 3 in fp32 and bf16 against each other, and sequences end to end against padded ones."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from gpu_checks.findings import Findings, off
from gpu_checks.shapes import batch, config, likelihood, write_model
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import DTYPES
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model, Precision
from rlvr_cli.schema import Trainer as Settings

EXACT = 1e-4
"""Most that ZeRO stages in fp32 may differ, relatively."""
ROUNDING = {"loss": 0.01, "grad_norm": 0.05, "layer": 0.10}
"""Most that bf16 may differ from fp32, relatively; `layer`: the worst gradient norm of a layer."""


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    process_group.initialise()
    shape = config("0.5B", tiny=tiny, num_hidden_layers=2 if tiny else 4)
    lengths = [20, 33, 47, 64] if tiny else [20, 100, 333, 512, 700, 900, 90, 41]
    sample = batch(lengths, [n // 2 for n in lengths], shape.vocab_size)
    path = write_model(folder / "numerics", shape, torch.float32)
    for precision in (Precision.fp32, Precision.bf16):
        padding(findings, path, precision, sample)
    found = {
        (precision, stage): gradients(path, precision, stage, sample, max(lengths))
        for stage in (0, 1, 2, 3)  # 3 last: it patches torch for the whole process
        for precision in (Precision.fp32, Precision.bf16)
    }
    expected = found[Precision.fp32, 0]
    for (precision, stage), values in found.items():
        exact = precision is Precision.fp32
        if exact and stage == 0:
            continue
        gaps = compare(values, expected)
        limits = dict.fromkeys(gaps, EXACT) if exact else ROUNDING
        said = ", ".join(f"{name} off {gap:.1e} (at most {limits[name]:g})" for name, gap in gaps.items())
        passed = all(gap <= limits[name] for name, gap in gaps.items())
        findings.check(f"ZeRO-{stage} in {precision.value} against fp32", passed, said, **gaps)


def trainer_of(path: Path, precision: Precision, stage: int, tokens: int, together: int = 1) -> Trainer:
    settings = Settings(zero_stage=stage, precision=precision, weight_decay=0.0, sequence_parallel=together)
    return Trainer(
        Model(path=str(path)), settings, tokens_per_microbatch=tokens, max_grad_norm=0.0, log_layers=True
    )


def gradients(path: Path, precision: Precision, stage: int, sample: Batch, tokens: int) -> dict[str, float]:
    """Loss and gradient norms of an update in several micro-batches, at a learning rate of 0."""
    trainer = trainer_of(path, precision, stage, tokens)
    found = trainer.update(sample, likelihood, lr=0.0)
    del trainer
    gc.collect()
    return {name: value for name, value in found.items() if name in ("loss", "grad_norm") or "/" in name}


def compare(found: dict[str, float], expected: dict[str, float]) -> dict[str, float]:
    layers = [off(found[name], expected[name]) for name in expected if name.startswith("grad_norm/")]
    gaps = {name: off(found[name], expected[name]) for name in ("loss", "grad_norm")}
    return gaps | {"layer": max(layers)}


def padding(findings: Findings, path: Path, precision: Precision, sample: Batch) -> None:
    """Ours, with sequences end to end, against transformers with a padded batch and its mask."""
    trainer = trainer_of(path, precision, 0, sum(map(len, sample.sequences)))
    ours, _, _ = trainer.score(sample.sequences, sample.trained)
    norm = trainer.update(sample, likelihood, lr=0.0)["grad_norm"]
    attention = trainer.hf.config._attn_implementation
    packed_s = timed(partial(trainer.update, sample, likelihood, lr=0.0))
    plain = Padded(path, precision)
    theirs, expected = plain.step(sample)
    padded_s = timed(partial(plain.step, sample))
    gap, norm_gap = float((ours.cpu() - theirs.cpu()).abs().mean()), off(norm, expected)
    exact = precision is Precision.fp32
    limits = (1e-4, 1e-3) if exact else (0.03, 0.05)
    findings.check(
        f"end to end against padded, {precision.value}",
        gap <= limits[0] and norm_gap <= limits[1],
        f"attention {attention}: logprobs off {gap:.1e} (at most {limits[0]:g}), gradient norm off "
        f"{norm_gap:.1e} (at most {limits[1]:g}); {1000 * packed_s:.0f} ms, padded {1000 * padded_s:.0f}",
        logprobs=gap,
        grad_norm=norm_gap,
        packed_s=packed_s,
        padded_s=padded_s,
    )


class Padded:
    """A plain transformers model on one padded batch."""

    def __init__(self, path: Path, precision: Precision) -> None:
        from transformers import AutoModelForCausalLM

        loaded = AutoModelForCausalLM.from_pretrained(
            path, dtype=DTYPES[precision], attn_implementation="sdpa"
        )
        self.model = loaded.to(distributed.device())

    def step(self, sample: Batch) -> tuple[Tensor, float]:
        """Logprobs of the trained tokens, and the norm of their mean's gradient."""
        rows = [torch.from_numpy(s).long() for s in sample.sequences]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(distributed.device())
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in rows], batch_first=True)
        trained = torch.zeros_like(mask, dtype=torch.bool)
        for row, where in enumerate(sample.trained):
            trained[row, : len(where)] = torch.from_numpy(where)
        at = trained[:, 1:].to(ids.device)
        logits = self.model(input_ids=ids, attention_mask=mask.to(ids.device), use_cache=False).logits
        logprobs = logits[:, :-1][at].float().log_softmax(-1).gather(-1, ids[:, 1:][at][:, None])[:, 0]
        self.model.zero_grad()
        (-logprobs.mean()).backward()
        squares = [p.grad.float().square().sum() for p in self.model.parameters() if p.grad is not None]
        return logprobs.detach(), float(torch.stack(squares).sum().sqrt())


def timed(call: Callable[[], object], times: int = 3) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(times):
        synchronise()
        began = perf_counter()
        call()
        synchronise()
        seconds.append(perf_counter() - began)
    return median(seconds)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
