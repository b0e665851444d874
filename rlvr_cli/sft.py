"""Supervised fine-tuning on the same trainer, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor

from rlvr_cli.checkpoint import Checkpoints
from rlvr_cli.data.sft import Example, ExampleSampler, examples
from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import SFTRecipe
from rlvr_cli.session import local_model, open_tracker
from rlvr_cli.stop import Interrupted, Stop
from rlvr_cli.tracking import Timer
from rlvr_cli.types import Batch


def sft(recipe: SFTRecipe, terminal: TextIO) -> None:
    """Fine-tune on the recipe's examples; every rank calls it. Ends with the exported model in `out/final`."""
    distributed.initialise()
    out, stop = Path(recipe.out), Stop()
    with open_tracker(recipe, terminal, kind="sft") as tracker:
        model = local_model(recipe.model, out, recipe.seed)
        tokenizer = load_tokenizer(model)
        found = {}
        for name, source in recipe.data.items():
            found[name], report = examples(name, source, tokenizer, recipe.algorithm.max_length, recipe.seed)
            tracker.event("data", str(report))
        sampler = ExampleSampler(found, {n: s.weight for n, s in recipe.data.items()}, seed=recipe.seed)
        held_out = held_out_examples(recipe, tokenizer)
        trainer = Trainer(
            model,
            recipe.trainer,
            tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
            max_grad_norm=recipe.algorithm.max_grad_norm,
            row_capacity=recipe.algorithm.max_length if recipe.algorithm.packing else None,
            seed=recipe.seed,
        )
        checkpoints, timer, step = Checkpoints(out, recipe.checkpoint.keep), Timer(), 0
        if (saved := checkpoints.latest()) is not None:
            sampler.load(checkpoints.load(saved, trainer)["sampler"])
            step = saved
            tracker.resume_at(step)
            tracker.event("resume", f"continuing after step {step}")

        def save() -> None:
            checkpoints.save(step, trainer, {"sampler": sampler.state()})
            tracker.event("checkpoint", f"saved step {step}")

        try:
            while step < recipe.trainer.steps:
                stop.check()
                batch = batch_of([example for _, example in sampler.take(recipe.batch.examples_per_step)])
                lr = learning_rate(recipe.trainer, step)
                with timer("update"):
                    update = trainer.update(batch, cross_entropy, lr=lr)
                step += 1
                tracker.step(step, step_metrics(update, batch, lr, timer.take()))
                last = step == recipe.trainer.steps
                if held_out and (last or (recipe.eval.every and step % recipe.eval.every == 0)):
                    tracker.evaluation(step, None, measure(trainer, held_out))
                if recipe.checkpoint.every and step % recipe.checkpoint.every == 0 and not last:
                    save()
        except Interrupted:
            save()
            tracker.event("stop", f"stopped after step {step}; to continue: rlvr train {out}/recipe.yaml")
            tracker.close("interrupted")
            return
        save()
        state = trainer.state_dict()
        if distributed.rank() == 0:
            export(out / "final", trainer.hf, state, tokenizer, {"run": recipe.name, "steps": step})
        tracker.event("export", f"model: {out / 'final'}")
        distributed.barrier()


def cross_entropy(
    logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean negative log-likelihood of the completion tokens of the whole step."""
    return -(logprobs_n * at["weights"]).sum(), {"token_accuracy": hits_n, "entropy": entropies_n}


def batch_of(found: list[Example]) -> Batch:
    count = sum(int(e.mask.sum()) for e in found)
    return Batch(
        sequences=[e.tokens for e in found],
        trained=[e.mask for e in found],
        weights_N=torch.full((count,), 1.0 / count),
    )


def held_out_examples(recipe: SFTRecipe, tokenizer: object) -> list[Example]:
    """The examples eval loss is measured on, the same at every measurement."""
    if recipe.eval.source is None:
        return []
    found, _ = examples("eval", recipe.eval.source, tokenizer, recipe.algorithm.max_length, recipe.seed)
    return found[: recipe.eval.limit]


def measure(trainer: Trainer, held_out: list[Example]) -> dict[str, float]:
    """Loss (nats per completion token) and token accuracy; all ranks must call it."""
    batch = batch_of(held_out)
    logprobs_N, _, hits_N = trainer.score(batch.sequences, batch.trained)
    return {"loss": -float(logprobs_N.mean()), "token_accuracy": float(hits_N.mean())}


def step_metrics(update: dict[str, float], batch: Batch, lr: float, timing: dict[str, float]) -> dict[str, float]:
    tokens = sum(len(s) for s in batch.sequences)
    return {
        "train/loss": update["loss"],
        "train/token_accuracy": update["token_accuracy"],
        "train/entropy": update["entropy"],
        "train/grad_norm": update["grad_norm"],
        "train/lr": lr,
        "train/tokens": float(tokens),
        "perf/tokens_per_second": tokens / timing["timing_s/step"],
    } | timing
