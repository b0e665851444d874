"""Run by test_stages_runs.py in a process of its own: resets under every ZeRO stage."""

import json
import os
import sys
from functools import partial
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

from engine_entries import make_batch, policy_objective

from rlvr_cli.algorithms.kl import Estimator, kl_estimate
from rlvr_cli.engine import process_group
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model, Precision
from rlvr_cli.schema import Trainer as Settings

LR = 1e-3


def resets(path: str, stage: int) -> dict[str, list[float]]:
    """KL to the reference and mean size of each update over lr: two updates, a reset, another update."""
    model, batch = Model(path=path), make_batch()
    settings = Settings(zero_stage=stage, precision=Precision.fp32, lr=LR)
    trainer = Trainer(model, settings, tokens_per_microbatch=200, max_grad_norm=0.0)
    reference = Reference(model, trainer)
    kls, sizes = [], []

    def kl() -> float:
        policy_N = trainer.score(batch.sequences, batch.trained)[0]
        ref_N = reference.logprobs(batch.sequences, batch.trained)
        return sum(float(kl_estimate(policy_N, ref_N, e).abs().sum()) for e in Estimator)

    def update(objective) -> None:
        before = trainer.state_dict()
        trainer.update(batch, objective, lr=LR)
        moved = [(w - before[name]).abs() for name, w in trainer.state_dict().items()]
        moved = [m[m > 0] for m in moved]
        sizes.append(float(sum(m.sum() for m in moved) / sum(m.numel() for m in moved)) / LR)
        kls.append(kl())

    kls.append(kl())
    update(policy_objective)
    update(partial(turned, policy_objective))
    reference.reset()
    kls.append(kl())
    trainer.reset_optimizer()
    update(partial(turned, policy_objective))
    return {"kl": kls, "size": sizes}


def turned(objective, *scores):
    """Uphill: with Adam's moments of a step downhill, the update is small."""
    loss, metrics = objective(*scores)
    return -loss, metrics


if __name__ == "__main__":
    path, out = sys.argv[1:]
    process_group.initialise()
    results = {stage: resets(path, stage) for stage in (0, 1, 2, 3)}
    (Path(out) / "results.json").write_text(json.dumps(results))
