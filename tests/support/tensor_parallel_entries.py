"""Run on ranks that have one vLLM engine together (test_rollout.py, test_adapters.py): what each sees."""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch

from rlvr_cli.core import distributed
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Request, Sampling, SyncError
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.shards import incomplete
from rlvr_cli.sampling.start_model import start_engine
from rlvr_cli.schema import Lora, Model, Precision, Rollout, RolloutLora
from rlvr_cli.schema import Trainer as Settings

PROBE = np.random.default_rng(0).integers(4, 100, size=48).tolist()
REQUESTS = [Request(key=i, tokens=[10 + i, 20, 30], samples=4, seed=1000 * i) for i in range(6)]
SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)


def shake(trainer: Any) -> None:
    """Away from what engines read from disk, and sharp enough to tell tokens apart."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.hf.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def gap(engine: Any, trainer: Any) -> float:
    sequence = np.array(PROBE, np.int32)
    theirs, _, _ = trainer.score([sequence], [np.arange(len(PROBE)) > 0], temperature=1.0)
    return float(np.abs(np.array(engine.probe(PROBE)) - theirs.numpy()).mean())


def told(completions: dict[int, list[Any]]) -> dict[str, Any]:
    return {
        str(key): [[c.tokens.tolist(), c.logprobs.tolist(), c.partial] for c in found]
        for key, found in sorted(completions.items())
    }


def refused(action: Any) -> str:
    try:
        action()
    except SyncError as error:
        return str(error)
    return ""


def seen(engine: Any, receipt: Receipt) -> dict[str, Any]:
    """What this rank knows of its engine; the last thing done parts it from the other."""
    rank, asked = distributed.rank(), count()
    mine = REQUESTS if rank == 0 else []

    def enough() -> bool:
        """For rank 1 alone, after some steps of the engine."""
        return rank == 1 and next(asked) >= 5

    found = {
        "share": engine.share,
        "leader": engine.leader,
        "proved": receipt.compared + receipt.sampled,
        "untold": list(receipt.untold),
        "samples": told(dict(engine.generate(mine, SAMPLED))),
        "cut": told(dict(engine.generate(mine, SAMPLED, enough))),
        "again": told(dict(engine.generate(mine, SAMPLED))),
        "one of them": engine.agreed(rank == 1),
    }
    taken = distributed.gather(receipt.taken)
    found["incomplete"] = [incomplete(taken), incomplete([taken[0], taken[0]])]
    found["same part"] = refused(lambda: engine.ranks.demand_whole(Receipt(taken=taken[0])))
    engine.ranks.note(np.array([rank]))
    return found | {"apart": refused(lambda: engine.agreed(False))}


def main(path: str, out: Path, ways: list[str]) -> None:
    """`ways`: of sending adapters, one engine for each; "whole": a model without."""
    process_group.initialise()
    results, engines = {}, []
    for way in ways:
        lora = Lora() if way == "whole" else Lora(rank=4, alpha=12.0)
        model = Model(path=path, lora=lora)
        settings = Settings(precision=Precision.fp32, zero_stage=0)
        trainer = Trainer(model, settings, tokens_per_microbatch=4096, max_grad_norm=1.0)
        shake(trainer)
        rollout = Rollout(
            kv_cache_gb=0.25,
            tensor_parallel=2,
            lora=RolloutLora.adapter if way == "adapter" else RolloutLora.merged,
        )
        engine: Any = start_engine(rollout, model, load_tokenizer(model), 0, Precision.fp32, 256)
        receipt = engine.load(trainer.adapters() if way == "adapter" else trainer.weights())
        found = {"gap": gap(engine, trainer)} | seen(engine, receipt)
        results[way] = distributed.gather(found)
        engines.append(engine)
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))
    distributed.barrier()
    for engine in engines:
        engine.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
