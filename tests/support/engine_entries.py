"""Run as one or more ranks by test_engine.py: policy and critic under every ZeRO stage, results as JSON."""

import gc
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch
from deepspeed.utils import safe_get_full_grad

from rlvr_cli.algorithms.gradient import LayerClip
from rlvr_cli.algorithms.objective import critic_loss
from rlvr_cli.checkpoints.writer import write_file
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch, elsewhere
from rlvr_cli.engine import process_group
from rlvr_cli.engine.critic import Critic
from rlvr_cli.engine.layers import group_of
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Critic as CriticSettings
from rlvr_cli.schema import Lora, Model, Offload, Precision
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.training.assemble import clipping

LINEAR = torch.nn.functional.linear
FACTORS = {"embedding": 1.0, "layer_0": 0.5, "layer_1": 0.0, "head": 0.25}


def make_batch() -> Batch:
    """12 sequences of different lengths; each token's return follows from the token before it."""
    rng = np.random.default_rng(3)
    sequences = [rng.integers(4, 90, size=int(n)).astype(np.int32) for n in rng.integers(5, 30, size=12)]
    trained = [np.arange(len(s)) >= 3 for s in sequences]
    before = np.concatenate([s[2:-1] for s in sequences])
    return Batch(
        sequences=sequences,
        trained=trained,
        weights_N=torch.full((len(before),), 1.0 / len(before)),
        advantages_N=torch.from_numpy(np.where(before % 2, 1.0, -0.5)).float(),
        values_N=torch.zeros(len(before)),
        returns_N=torch.from_numpy(before % 2).float(),
    )


def apart(batch: Batch, owners: list[int]) -> Batch:
    """The batch as a rank has it when each sequence is on its owner alone."""
    here = distributed.rank()
    sequences = [
        s if owner == here else elsewhere(len(s)) for s, owner in zip(batch.sequences, owners, strict=True)
    ]
    return replace(batch, sequences=sequences, owners=owners)


def policy_objective(logprobs_n, entropies_n, hits_n, at):
    return -(logprobs_n * at["advantages"] * at["weights"]).sum(), {}


def value_objective(values_n, at):
    return critic_loss(
        None, values_N=values_n, old_values_N=at["values"], returns_N=at["returns"], weights_N=at["weights"]
    )


def settings(stage: int, precision: Precision = Precision.fp32, offload: Offload = Offload.none) -> Settings:
    """An eps of 1 makes Adam's first step depend on the size of the gradient."""
    return Settings(zero_stage=stage, precision=precision, offload=offload, lr=0.1, eps=1.0)


def make_trainer(path: str, stage: int, budget: int = 64, **options) -> Trainer:
    precision, offload = options.pop("precision", Precision.fp32), options.pop("offload", Offload.none)
    return Trainer(
        Model(path=path),
        settings(stage, precision, offload),
        tokens_per_microbatch=budget,
        **({"max_grad_norm": 0.0} | options),
    )


def scaled_step(path: str, stage: int, **options) -> dict:
    """Norms the rule is shown, gradients before and after it, and weights after the step."""
    trainer = make_trainer(path, stage, layer_rule=lambda norms: (FACTORS, {}), log_layers=True, **options)
    seen = {}
    scale = trainer.layers.scale

    def watched(factors: dict[str, float]) -> None:
        seen["before"] = gradients(trainer)
        scale(factors)
        seen["after"] = gradients(trainer)

    trainer.layers.scale = watched
    totals = trainer.update(make_batch(), policy_objective, lr=0.1)
    weights = {name: float(w.double().sum()) for name, w in trainer.weights()}
    return {"totals": totals, "weights": weights} | seen


def owned(path: str, stage: int, owners: list[int]) -> dict:
    """Scores and an update of a batch that is spread over the ranks like this."""
    trainer = make_trainer(path, stage)
    whole = make_batch()
    batch = apart(whole, owners)
    scores = [trainer.score(b.sequences, b.trained, owners=b.owners)[0].tolist() for b in (whole, batch)]
    totals = trainer.update(batch, policy_objective, lr=0.1)
    weights = {name: float(w.double().sum()) for name, w in trainer.weights()}
    return {"scores": scores, "totals": totals, "weights": weights}


def summed(path: str, stage: int) -> dict[str, float]:
    """Relative differences of gradients in bf16: of many micro-batches and one, and of either to fp32."""
    batch, found = many_short(), {}
    for name, precision, budget in (
        ("fp32", Precision.fp32, 4096),
        ("one", Precision.bf16, 4096),
        ("many", Precision.bf16, 16),
    ):
        trainer = make_trainer(path, stage, budget, precision=precision)
        step = trainer._step

        def seen(norm: float, name=name, trainer=trainer, step=step) -> dict[str, float]:
            whole = (safe_get_full_grad(p) for p in trainer.engine.module.parameters())
            found[name] = torch.cat([gradient.double().flatten() for gradient in whole])
            return step(norm)

        trainer._step = seen
        trainer.update(batch, policy_objective, lr=0.0)
    pairs = (("many", "one"), ("many", "fp32"), ("one", "fp32"))
    return {f"{a} {b}": float((found[a] - found[b]).norm() / found[b].norm()) for a, b in pairs}


def many_short() -> Batch:
    """96 sequences of 8 to 11 tokens, whose advantages are mostly of one sign."""
    rng = np.random.default_rng(3)
    sequences = [rng.integers(4, 90, size=int(n)).astype(np.int32) for n in rng.integers(8, 12, size=96)]
    trained = [np.arange(len(s)) >= 3 for s in sequences]
    tokens = sum(int(mask.sum()) for mask in trained)
    return Batch(
        sequences=sequences,
        trained=trained,
        weights_N=torch.full((tokens,), 1 / tokens),
        advantages_N=torch.from_numpy(rng.normal(size=tokens) + 0.5).float(),
    )


def gradients(trainer: Trainer) -> dict[str, float]:
    """Norm of each whole gradient, by DeepSpeed's own way of gathering it."""
    found = {}
    for name, parameter in trainer.engine.module.named_parameters():
        found[name.removeprefix("model.")] = float(safe_get_full_grad(parameter).double().norm())
    return found


def spiked(path: str, stage: int, spike: float) -> dict:
    """Two ordinary updates, then one in which layer 1 sees `spike` times its gradient."""
    trainer = make_trainer(
        path, stage, **clipping(LayerClip(kappa=2.0, warmup=2, max_norm=None, log_layers=True))
    )
    factor = {"now": 1.0}

    for name, parameter in trainer.engine.module.named_parameters():
        if group_of(name) == "layer_1":
            parameter.register_hook(lambda gradient: gradient * factor["now"])
    rows = [trainer.update(make_batch(), policy_objective, lr=0.0) for _ in range(2)]
    before = {name: w.double().sum().item() for name, w in trainer.weights()}
    trainer_scale, seen = trainer.layers.scale, {}
    trainer.layers.scale = lambda factors: seen.update(factors) or trainer_scale(factors)
    factor["now"] = spike
    refused = None
    try:
        rows.append(trainer.update(make_batch(), policy_objective, lr=0.0))
    except NonFinite as error:
        refused = error.where["what"]
    finite = all(torch.isfinite(w).all() for _, w in trainer.weights())
    after = {name: w.double().sum().item() for name, w in trainer.weights()}
    return {
        "rows": rows,
        "factors": seen,
        "finite": bool(finite),
        "moved": before != after,
        "refused": refused,
    }


def slept(path: str, stage: int, **options) -> dict:
    """Two updates with a sleep before each and one after, and the same without; what is left meanwhile."""
    before = set(live_storages())
    trainer = make_trainer(path, stage, **options)
    for _ in range(2):
        trainer.sleep()
        trainer.update(make_batch(), policy_objective, lr=0.1)
    trainer.sleep()
    kept = {b.untyped_storage().data_ptr() for _, _, blocks in trainer._asleep._kept for b in blocks}
    left = {at: size for at, size in live_storages().items() if at not in before | kept}
    other = make_trainer(path, stage, **options)
    for _ in range(2):
        other.update(make_batch(), policy_objective, lr=0.1)
    state = [sorted_state(t.snapshot("t", copies=True)) for t in (trainer, other)]
    same = all(torch.equal(a, b) for a, b in zip(*state, strict=True))
    return {"left": sum(left.values()), "same": same, "tensors": len(state[0])}


def linear_layers(path: str) -> list[bool]:
    """Whether torch's linear layer is its own: with a trainer under ZeRO-3, in its update, and after it."""
    trainer, found = make_trainer(path, 3), []

    def objective(*scores_and_tokens):
        found.append(torch.nn.functional.linear is LINEAR)
        return policy_objective(*scores_and_tokens)

    before = torch.nn.functional.linear is LINEAR
    trainer.update(make_batch(), objective, lr=0.0)
    return [before, found[0], torch.nn.functional.linear is LINEAR]


def live_storages() -> dict[int, int]:
    """Address -> bytes of all tensors' memory that can be given back."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
    found = (t.untyped_storage() for t in tensors)
    return {s.data_ptr(): s.nbytes() for s in found if s.nbytes() and s.resizable()}


def sorted_state(value) -> list[torch.Tensor]:
    """Every tensor in nested containers, in their order."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in values for tensor in sorted_state(item)]


def make_critic(
    path: str, stage: int, budget: int, lora: int = 0, offload: Offload = Offload.none, **own
) -> Critic:
    return Critic(
        Model(path=path, lora=Lora(rank=lora)),
        CriticSettings(lr=3e-3, **own),
        replace(settings(stage, offload=offload), eps=1e-8),
        tokens_per_microbatch=budget,
        vocabulary=50,
    )


def value_steps(path: str, stage: int, budget: int, steps: int = 3, **options) -> dict:
    critic, batch = make_critic(path, stage, budget, **options), make_batch()
    start = critic.values(batch.sequences, batch.trained)
    rows = [critic.update(batch, value_objective, lr=3e-3) for _ in range(steps)]
    end = critic.values(batch.sequences, batch.trained)
    left = (batch.returns_N - end).var(correction=0) / batch.returns_N.var(correction=0)
    return {"start": start.tolist(), "rows": rows, "end": end.tolist(), "explained": 1 - float(left)}


def critic_step(path: str, stage: int, **own) -> dict:
    """Sums of the critic's last norm before and after one update, and the size of the whole update.

    An eps of 1 makes Adam's first step, lr * g / (|g| + 1), as large as lr * g where g is small.
    """
    critic = make_critic(path, stage, 4096, **own)
    for group in critic.engine.optimizer.param_groups:
        group["eps"] = 1.0
    before = critic.state_dict()
    told = critic.update(make_batch(), value_objective, lr=3e-3)["relative_update"]
    after = critic.state_dict()
    name = "model.norm.weight"
    if distributed.rank() != 0:
        return {}
    sums = [float(weights[name].double().sum()) for weights in (before, after)]
    moved = math.sqrt(sum(float((after[n] - w).double().square().sum()) for n, w in before.items()))
    size = math.sqrt(sum(float(w.double().square().sum()) for w in before.values()))
    return {"sums": sums, "moved": moved, "relative": moved / size, "told": told}


def saved_and_exported(path: str, stage: int, out: Path, lora: int = 0) -> dict:
    """The values of a trained critic, of one restored from its checkpoint, of one started from its export."""
    batch = make_batch()
    critic = make_critic(path, stage, 64, lora)
    critic.update(batch, value_objective, lr=3e-3)
    for name, what in critic.snapshot("critic", copies=True).items():
        write_file(out / name, what)
    state = critic.state_dict()
    folder = out / f"export_{stage}_{lora}"
    if distributed.rank() == 0:
        export(folder, critic.hf, state, load_tokenizer(Model(path=path)), {})
    distributed.barrier()
    restored = make_critic(path, stage, 64, lora)
    restored.load(out, "critic")
    again = make_critic(str(folder), stage, 64)
    values = partial(Critic.values, sequences=batch.sequences, trained=batch.trained)
    result = {"trained": values(critic), "restored": values(restored), "exported": values(again)}
    restored.update(batch, value_objective, lr=3e-3)
    critic.update(batch, value_objective, lr=3e-3)
    result |= {"one more": values(critic), "restored, one more": values(restored)}
    return {name: x.tolist() for name, x in result.items()}


def main(path: str, out: Path) -> None:
    process_group.initialise()
    cases: dict[str, Callable[[], dict | list]] = {}
    for stage in (0, 1, 2, 3):
        cases[f"scaled {stage}"] = partial(scaled_step, path, stage)
        cases[f"critic {stage} 64"] = partial(value_steps, path, stage, 64)
    for stage in (0, 1, 2, 3):
        cases[f"scaled bf16 {stage}"] = partial(scaled_step, path, stage, precision=Precision.bf16)
        if distributed.world_size() > 1:
            cases[f"summed {stage}"] = partial(summed, path, stage)
        if distributed.world_size() == 1 or stage == 3:
            cases[f"slept bf16 {stage}"] = partial(slept, path, stage, precision=Precision.bf16)
    if distributed.world_size() > 1:
        for stage, owners in ((0, [0] * 12), (2, [1, 0, 0] * 4), (3, [1] * 12)):
            cases[f"owned {stage}"] = partial(owned, path, stage, owners)
    cases["linear"] = partial(linear_layers, path)
    for stage, offload in ((1, Offload.optimizer), (2, Offload.optimizer), (3, Offload.all)):
        cases[f"scaled {stage} {offload.value}"] = partial(scaled_step, path, stage, offload=offload)
        cases[f"critic {stage} {offload.value}"] = partial(value_steps, path, stage, 64, offload=offload)
    for stage in (0, 2, 3):
        cases[f"spiked {stage}"] = partial(spiked, path, stage, 1000.0)
        cases[f"broken {stage}"] = partial(spiked, path, stage, float("inf"))
    cases["critic 0 4096"] = partial(value_steps, path, 0, 4096)
    cases["critic 3 4096"] = partial(value_steps, path, 3, 4096)
    if distributed.world_size() == 1:
        cases["slept fp32 0"] = partial(slept, path, 0)
        cases["critic learns"] = partial(value_steps, path, 0, 4096, steps=40)
        cases["critic lora"] = partial(value_steps, path, 2, 4096, lora=4)
        for name, own in (
            ("as it is", {"max_grad_norm": None}),
            ("decayed", {"max_grad_norm": None, "weight_decay": 10.0}),
            ("clipped", {"max_grad_norm": 0.01}),
        ):
            cases[f"critic {name}"] = partial(critic_step, path, 2, **own)
    cases["saved 2"] = partial(saved_and_exported, path, 2, out / "two")
    cases["saved 3"] = partial(saved_and_exported, path, 3, out / "three")
    cases["saved lora"] = partial(saved_and_exported, path, 0, out / "lora", lora=4)
    results = {name: case() for name, case in cases.items()}
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
