"""Run as one or more ranks by test_nonfinite.py: updates that are not finite, and spikes, under ZeRO 0-3."""

import json
import math
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
from engine_entries import apart, make_batch, make_trainer, policy_objective

from rlvr_cli.algorithms.gradient import GlobalClip
from rlvr_cli.core import distributed
from rlvr_cli.engine import process_group
from rlvr_cli.engine.gradient_search import Segment
from rlvr_cli.engine.localise import Probes, localise
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.schema import Offload, Precision
from rlvr_cli.training.assemble import clipping

SPOILED = 40
"""Index of the spoiled token among all of the batch."""


def objective(logprobs_n, entropies_n, hits_n, at):
    """Also the rollout's logprobs count, where the batch has them."""
    loss, _ = policy_objective(logprobs_n, entropies_n, hits_n, at)
    if "rollout_logprobs" in at:
        loss = loss + ((logprobs_n - at["rollout_logprobs"]) * at["weights"]).sum()
    return loss, {"ratio": torch.ones_like(logprobs_n)}


def ordinary(stage: int):
    """The batch; of two ranks under ZeRO-3 the second alone has three sequences, the spoiled one too."""
    batch = make_batch()
    if distributed.world_size() == 1 or stage != 3:
        return batch
    return apart(batch, [int(3 <= b < 6) for b in range(len(batch.sequences))])


def spoiled(stage: int, field: str, value: float, at: int = SPOILED):
    batch = ordinary(stage)
    whole = getattr(batch, field)
    values_N = torch.zeros(len(batch.weights_N)) if whole is None else whole.clone()
    values_N[at] = value
    return replace(batch, **{field: values_N})


def weights(trainer) -> torch.Tensor:
    return torch.cat([w.detach().double().flatten().clone() for _, w in trainer.weights()])


def survives(path: str, stage: int, **options) -> dict:
    """Three bad updates between two good ones leave no trace: the same weights as without them."""
    trainer, other = (make_trainer(path, stage, **options) for _ in range(2))
    trainer.update(ordinary(stage), objective, lr=0.1)
    before = weights(trainer)
    found = {}
    for name, batch in {
        "rollout": spoiled(stage, "rollout_logprobs_N", -math.inf),
        "advantage": spoiled(stage, "advantages_N", math.nan),
        "huge": spoiled(stage, "advantages_N", 1e30),
    }.items():
        try:
            trainer.update(batch, objective, lr=0.1)
            found[name] = None
        except NonFinite as error:
            found[name] = {"said": str(error)} | error.where
    kept = torch.equal(before, weights(trainer))
    trainer.update(ordinary(stage), objective, lr=0.1)
    for _ in range(2):
        other.update(ordinary(stage), objective, lr=0.1)
    return {"found": found, "kept": kept, "same": torch.equal(weights(trainer), weights(other))}


def broken(path: str, stage: int) -> dict:
    """A weight of the last norm is NaN."""
    trainer = make_trainer(path, stage)
    name, parameter = list(trainer.engine.module.named_parameters())[-1]
    if stage == 3:
        parameter.ds_tensor.data.fill_(math.nan)
        if parameter.numel():  # a small one stays whole on every rank
            parameter.data.fill_(math.nan)
    else:
        parameter.data[0] = math.nan
    try:
        trainer.update(ordinary(stage), objective, lr=0.1)
    except NonFinite as error:
        return {"said": str(error), "name": name} | error.where
    return {}


def spiked(path: str, stage: int) -> dict:
    """Eight ordinary updates and one with a token of 2000 times the advantage, with GradLoc and without."""
    rows, ends = [], []
    for on in (True, False):
        trainer = make_trainer(path, stage, **clipping(GlobalClip(localise=on)))
        for _ in range(8):
            trainer.update(ordinary(stage), objective, lr=1e-3)
        totals = trainer.update(spoiled(stage, "advantages_N", 2000.0), objective, lr=1e-3)
        rows.append(trainer.take_hits())
        ends.append((weights(trainer), totals))
    same = torch.equal(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]
    return {"rows": rows[0], "without": rows[1], "same": same}


def every_token(path: str) -> dict:
    """Norms of the gradients of single tokens: by a probe, and by autograd on the model itself."""
    from transformers import AutoModelForCausalLM

    trainer, batch = make_trainer(path, 0), make_batch()
    probes = Probes(trainer, batch, objective)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    found, wanted = [], []
    sequence = torch.from_numpy(batch.sequences[2]).long()
    for t in range(batch.lengths_B[2]):
        found.append(probes.norm(Segment((2,), t, t + 1)))
        place = int(batch.trained[2].nonzero()[0][t])
        logprobs = model(sequence[None]).logits[0, place - 1].log_softmax(-1)
        advantage = batch.advantages_N[probes.starts[2] + t]
        grads = torch.autograd.grad(-logprobs[sequence[place]] * advantage, list(model.parameters()))
        wanted.append(math.sqrt(sum(float(g.double().square().sum()) for g in grads)))
    loudest = localise(trainer, batch, objective, spike=min(wanted), budget=2)
    return {"found": found, "wanted": wanted, "rows": len(loudest)}


def main(path: str, out: Path) -> None:
    process_group.initialise()
    cases = {"every token": partial(every_token, path)} if distributed.world_size() == 1 else {}
    for stage in (0, 1, 2, 3):
        cases[f"survives {stage} fp32"] = partial(survives, path, stage)
        cases[f"survives {stage} bf16"] = partial(survives, path, stage, precision=Precision.bf16)
        cases[f"broken {stage}"] = partial(broken, path, stage)
        cases[f"spiked {stage}"] = partial(spiked, path, stage)
    cases["survives 2 offload"] = partial(survives, path, 2, offload=Offload.optimizer)
    cases["survives 2 offload bf16"] = partial(
        survives, path, 2, offload=Offload.optimizer, precision=Precision.bf16
    )
    cases["survives 3 offload"] = partial(survives, path, 3, offload=Offload.all)
    chosen = sys.argv[3:]
    results = {}
    for name, case in cases.items():
        if not chosen or name in chosen:
            results[name] = case()
            print(name, json.dumps(results[name], default=str)[:1500], flush=True)
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
