"""Run by test_peft.py as ranks, and imported: adapters and masks under ZeRO stages, saved and restored."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from engine_entries import make_batch, policy_objective

from rlvr_cli.checkpoints.writer import write_file
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import process_group
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Lora, LoraInit, MaskKind, Model, Offload, Precision, WeightMask
from rlvr_cli.schema import Trainer as Settings

KINDS = {
    "rank_stabilised": Lora(rank=4, alpha=4.0, rank_stabilised=True),
    "pissa": Lora(rank=4, alpha=4.0, init=LoraInit.pissa),
    "dora": Lora(rank=4, alpha=4.0, dora=True),
    "pissa and dora": Lora(rank=4, alpha=4.0, init=LoraInit.pissa, dora=True, rank_stabilised=True),
}
MASK = WeightMask(kind=MaskKind.off_principal, rank=8)
CLIP = 0.01
objective = policy_objective


def one_batch() -> Batch:
    return make_batch()


def policy(path: str, kind: str, stage: int, precision: Precision = Precision.fp32) -> Trainer:
    settings = Settings(precision=precision, zero_stage=stage, lr=1e-2)
    model = Model(path=path, lora=KINDS.get(kind, Lora()))
    return Trainer(model, settings, tokens_per_microbatch=64, max_grad_norm=1.0, temperature=0.7)


def updated(path: str, kind: str, stage: int, folder: Path) -> dict:
    """Logprobs and norms of three updates, the last of them also after a restart from the second."""
    trainer, batch = policy(path, kind, stage), one_batch()
    rows = [trainer.update(batch, objective, lr=1e-2) for _ in range(2)]
    for name, content in trainer.snapshot("trainer", copies=False).items():
        write_file(folder / name, content)
    distributed.barrier()
    rows.append(trainer.update(batch, objective, lr=1e-2))
    scores = trainer.score(batch.sequences, batch.trained)[0]
    gaps = {}
    for other in (stage, (stage + 2) % 4):  # from 2 to 0 and 3 to 1, and back
        again = policy(path, kind, other)
        spoil(again, other)
        again.load(folder, "trainer")
        again.update(batch, objective, lr=1e-2)
        gaps[other] = float((scores - again.score(batch.sequences, batch.trained)[0]).abs().max())
    return {
        "norms": [row["grad_norm"] for row in rows],
        "scores": scores.tolist(),
        "gaps": list(gaps.values()),
    }


def spoil(trainer: Trainer, stage: int) -> None:
    """What is beneath the adapters, which must come from the checkpoint."""
    own = [p for name, p in trainer.hf.named_parameters() if ".base_layer.weight" in name]
    with deepspeed.zero.GatheredParameters(own, modifier_rank=0, enabled=stage == 3), torch.no_grad():
        for parameter in own if stage < 3 or distributed.rank() == 0 else ():
            parameter.mul_(1.01)


def masked_policy(path: str, stage: int, mask: WeightMask = MASK, **more: Any) -> Trainer:
    """With an eps of 1 Adam's first step is lr * g / (|g| + 1): as large as lr * g where g is small."""
    settings = Settings(**({"precision": Precision.fp32} | more), zero_stage=stage, weight_decay=0.1, eps=1.0)
    model = Model(path=path, mask=mask)
    return Trainer(model, settings, tokens_per_microbatch=64, max_grad_norm=CLIP, temperature=0.7)


def masked(path: str, stage: int, folder: Path, **more: Any) -> dict:
    """What four updates leave of frozen entries, the norm of the first one's step, and a restart after two.

    Between two of them the trainer sleeps.

    The trainer that is restarted would draw other masks: it must take those of the checkpoint. It goes on
    under another stage, where there is no offload.
    """
    trainer, batch = masked_policy(path, stage, **more), one_batch()
    start = trainer.state_dict()
    rows = [trainer.update(batch, objective, lr=1.0)]
    first = trainer.state_dict()
    if not more:
        trainer.sleep()
    rows.append(trainer.update(batch, objective, lr=1.0))
    for name, content in trainer.snapshot("trainer", copies=True).items():
        write_file(folder / name, content)
    distributed.barrier()
    rows += [trainer.update(batch, objective, lr=1.0) for _ in range(2)]
    frozen = {name: ~trainer.masks.mask(name) for name in trainer.masks.parameters}
    end = trainer.state_dict()
    other = stage if more.get("offload") else (stage + 2) % 4
    again = masked_policy(path, other, WeightMask(kind=MaskKind.random, seed=5), **more)
    again.load(folder, "trainer")
    for _ in range(2):
        again.update(batch, objective, lr=1.0)
    resumed = again.state_dict()
    if distributed.rank() != 0:
        return {}
    steps = {name: first[name] - 0.9 * weight.double() for name, weight in start.items()}
    steps |= {name: steps[name].masked_fill(stays, 0) for name, stays in frozen.items()}
    return {
        "norms": [row["grad_norm"] for row in rows],
        "share": rows[0]["mask_share"],
        "moved": [int((x[n] != start[n])[frozen[n]].sum()) for x in (end, resumed) for n in frozen],
        "trained": min(float((end[n] != start[n])[~frozen[n]].float().mean()) for n in frozen),
        "step": float(torch.stack([step.double().square().sum() for step in steps.values()]).sum().sqrt()),
        "resumed": max(float((end[n] - resumed[n]).abs().max()) for n in end),
    }


def main(path: str, out: Path) -> None:
    """Every layout on several ranks; on one, which ZeRO only has less to do on, the two that differ most."""
    process_group.initialise()
    cases: dict[str, Any] = {}
    several = distributed.world_size() > 1
    for stage in (2, 3):
        cases[f"adapters {stage}"] = partial(
            updated, path, "pissa and dora", stage, out / f"adapters {stage}"
        )
    for stage in (0, 1, 2, 3) if several else (0, 3):
        cases[f"masked {stage}"] = partial(masked, path, stage, out / f"masked {stage}")
    for stage in (0, 3) if several else ():
        name, bf16 = f"masked bf16 {stage}", {"precision": Precision.bf16}
        cases[name] = partial(masked, path, stage, out / name, **bf16)
    for stage, offload in ((2, Offload.optimizer), (3, Offload.all)) if several else ():
        name = f"masked {stage} {offload.value}"
        cases[name] = partial(masked, path, stage, out / name, offload=offload)
    results = {name: case() for name, case in cases.items()}
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
