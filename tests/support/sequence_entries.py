"""Run on two ranks by test_shared_runs.py: updates and whole runs, with rows that both share and without."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
from f1 import algorithm, make
from run_helpers import RECIPE, comparable, steps_of
from shared_rows import rows

from rlvr_cli import compose
from rlvr_cli.algorithms.objective import critic_loss
from rlvr_cli.core import distributed
from rlvr_cli.engine import process_group
from rlvr_cli.engine.critic import Critic
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Critic as CriticSettings
from rlvr_cli.schema import Lora, Model, Precision
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.tracking import read_records
from rlvr_cli.training.loop import objective, rl
from rlvr_cli.training.sft import cross_entropy

TOKENS = partial(
    objective, algorithm(loss=make("loss", "clipped", dual_clip=3.0), kl=make("kl", "loss", coef=0.1))
)
SEQUENCES = partial(objective, algorithm(loss="sequence_ratio", aggregation="seq_mean_token_mean"))


def value_objective(values_n: Any, at: dict[str, Any]) -> Any:
    returns_n = at["advantages"].sign()
    return critic_loss(
        0.2, values_N=values_n, old_values_N=0 * returns_n, returns_N=returns_n, weights_N=at["weights"]
    )


def trained(
    path: str,
    together: int,
    rule: Callable[..., Any],
    stage: int,
    *,
    lora: int = 0,
    precision: Precision = Precision.fp32,
    recomputed: bool = False,
    critic: bool = False,
) -> dict[str, Any]:
    """Scores before, what two updates report, and sums of the weights after them.

    An eps of 1 makes Adam's first steps depend on the size of the gradient.
    """
    settings = Settings(zero_stage=stage, precision=precision, lr=0.1, eps=1.0, sequence_parallel=together)
    model = Model(path=path, lora=Lora(rank=lora), gradient_checkpointing=recomputed)
    batch = rows()
    made: Any
    if critic:
        own = CriticSettings(lr=0.1)
        made = Critic(model, own, settings, tokens_per_microbatch=60, vocabulary=50)
        scores = [made.values(batch.sequences, batch.trained)]
    else:
        made = Trainer(model, settings, tokens_per_microbatch=60, max_grad_norm=0.0)
        for name, parameter in made.hf.named_parameters():  # adapters that do something
            if ".lora_B." in name:
                parameter.data.fill_(0.02)
                if hasattr(parameter, "ds_tensor"):
                    parameter.ds_tensor.data.fill_(0.02)
        scores = [*made.score(batch.sequences, batch.trained)]
        if lora:
            scores.append(Reference(model, made).logprobs(batch.sequences, batch.trained))
    assert made.ulysses.size == together
    found = [made.update(batch, rule, lr=0.1) for _ in range(2)]
    weights = {name: float(w.double().sum()) for name, w in made.weights()}
    return {"scores": [x.tolist() for x in scores], "totals": found, "weights": weights}


def by_hand(path: str) -> dict[str, float]:
    """Loss and gradient norm of supervised fine-tuning by plain transformers and autograd."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    batch, at, loss = rows(), 0, torch.zeros(())
    for sequence, mask in zip(batch.sequences, batch.trained, strict=True):
        ids, chosen = torch.from_numpy(sequence).long(), torch.from_numpy(mask)
        logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0][chosen[1:]]
        loss, at = loss - (logprobs * batch.weights_N[at : at + len(logprobs)]).sum(), at + len(logprobs)
    loss.backward()
    squares = sum(float(p.grad.double().square().sum()) for p in model.parameters())
    return {"loss": float(loss.detach()), "grad_norm": squares**0.5}


def run(out: Path, name: str, steps: int, *overrides: str) -> dict[str, Any] | None:
    """A whole run, or what is left of one: its metrics and the records of its tokens."""
    path = out / f"{name}{distributed.rank()}.yaml"
    path.write_text(RECIPE)
    usual = [f"out={out / name}", "trainer.ranks=2", f"trainer.steps={steps}", "checkpoint.every=1"]
    recipe = compose.load(str(path), [*usual, *overrides], "train")
    with open(os.devnull, "w") as nowhere:
        rl(recipe, nowhere)
    distributed.barrier()
    if distributed.rank() != 0:
        return None
    records = sorted(read_records(out / name), key=lambda row: (row["index"], row["sample"]))
    return {"rows": [comparable(row) for row in steps_of(out / name)], "records": records}


def main(path: str, out: Path) -> None:
    process_group.initialise()
    cases: dict[str, tuple[Any, ...]] = {
        "sft": (cross_entropy, 0),
        "tokens": (TOKENS, 2),
        "sequences": (SEQUENCES, 1),
        "lora": (TOKENS, 3),
        "bf16": (TOKENS, 2),
        "critic": (value_objective, 3),
    }
    options: dict[str, dict[str, Any]] = {
        "sequences": {"recomputed": True},
        "lora": {"lora": 4, "recomputed": True},
        "bf16": {"precision": Precision.bf16},
        "critic": {"critic": True},
    }
    results: dict[str, Any] = {"by hand": by_hand(path)}
    for name, (rule, stage) in cases.items():
        for together in (1, 2):
            results[f"{name} {together}"] = trained(path, together, rule, stage, **options.get(name, {}))
    apart, joined = "trainer.sequence_parallel=1", "trainer.sequence_parallel=2"
    usual = ("tracker.tokens=true", "trainer.zero_stage=2")
    results["run 1"] = run(out, "apart", 3, apart, *usual)
    run(out, "shared", 2, joined, *usual)
    results["run 2, then 1"] = run(out, "shared", 3, apart, *usual)
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
