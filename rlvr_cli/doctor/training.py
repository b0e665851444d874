"""The two things a run starts with: ranks that reach each other, and a rollout engine."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from time import monotonic

import torch

from rlvr_cli import schema
from rlvr_cli.core.install import ENGINE
from rlvr_cli.doctor.check_result import CheckResult, Status

NUMBERS = 1 << 20


def collective() -> list[CheckResult]:
    """Sum a tensor over the ranks as training does; RuntimeError where the sum is wrong."""
    from rlvr_cli.core import distributed
    from rlvr_cli.engine import process_group

    begun = monotonic()
    process_group.initialise()
    ranks, backend = distributed.world_size(), torch.distributed.get_backend()
    numbers = torch.full((NUMBERS,), distributed.rank() + 1.0, device=distributed.device())
    sums = distributed.sum_over_ranks(numbers)
    expected = ranks * (ranks + 1) / 2
    if not (sums == expected).all():
        raise RuntimeError(f"the sum over {ranks} ranks is {sums.unique()[:3].tolist()}, not {expected:g}")
    distributed.barrier()
    seconds = monotonic() - begun
    detail = (
        f"{ranks} process{'es' if ranks > 1 else ''} summed {NUMBERS:,} numbers ({seconds:.1f} s with start)"
    )
    facts = {"ranks": ranks, "seconds": round(seconds, 2)}
    return [CheckResult(name=backend, status=Status.ok, detail=detail, facts=facts)]


def vllm() -> list[CheckResult]:
    """Start the engine a run would have on the built-in model, and sample from it."""
    if importlib.util.find_spec("vllm") is None:
        extra = "gpu" if torch.cuda.is_available() else "cpu"
        fix = f"{ENGINE[extra]}, or train without: rollout=hf"
        return [CheckResult(name="vllm", status=Status.missing, detail="not installed", fix=fix)]
    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.rollout import Request, Sampling, make_engine

    begun = monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny"
        make_tiny(path, schema.TinyModel(), seed=0)
        tokenizer = load_tokenizer(schema.Model(path=str(path)))
        engine = make_engine(
            schema.Rollout(kv_cache_gb=0.25),
            path=str(path),
            tokenizer=tokenizer,
            eos=[],
            seed=0,
            precision=schema.Precision.bf16 if torch.cuda.is_available() else schema.Precision.fp32,
            max_model_len=256,
        )
        request = Request(key=0, tokens=tokenizer("47+85=")["input_ids"], samples=4, seed=0)
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=16)
        [(_, completions)] = engine.generate([request], sampling)
        engine.close()
    tokens = sum(len(completion.tokens) for completion in completions)
    if tokens != 4 * 16:
        raise RuntimeError(f"sampled {tokens} tokens where 64 were asked for")
    seconds = monotonic() - begun
    detail = f"started and sampled {tokens} tokens in {seconds:.0f} s"
    facts = {"tokens": tokens, "seconds": round(seconds, 1)}
    return [CheckResult(name="vllm", status=Status.ok, detail=detail, facts=facts)]
