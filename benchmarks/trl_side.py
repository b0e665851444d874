"""TRL's side of vs_trl.py, run by TRL's own virtualenv: `python trl_side.py SETTINGS RESULT`.

SETTINGS is the JSON that vs_trl.py wrote. RESULT gets one JSON object: the time training began and for each
step its seconds, its prompt and completion tokens, and the share of its completions that were correct.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

Row = dict[str, float]


def correct(completion: str, answer: str) -> float:
    """Whether the last \\boxed{...} holds exactly the answer."""
    _, box, rest = completion.rpartition("\\boxed{")
    found, closed, _ = rest.partition("}")
    return float(bool(box and closed) and found.strip() == answer.strip())


class Steps(TrainerCallback):
    """Times the steps; its `reward` is the reward function, which also sees what they sampled."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sampled: Row = {}
        self.began = self.since = 0.0

    def reward(
        self, completions: list[str], completion_ids: list[list[int]], **columns: list[Any]
    ) -> list[float]:
        """What GRPOTrainer calls with a step's samples and the columns of their problems."""
        rewards = [correct(c, answer) for c, answer in zip(completions, columns["answer"], strict=True)]
        tokens = sum(map(len, completion_ids)) + sum(map(len, columns["tokens"]))
        self.sampled = {"tokens": float(tokens), "accuracy": sum(rewards) / len(rewards)}
        return rewards

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.time()
        self.since = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = time.perf_counter()
        self.rows.append({"seconds": now - self.since, **self.sampled})
        self.since = now


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    problems = settings["problems"]
    for problem in problems:  # both sides must see the same tokens
        assert tokenizer(problem["prompt"])["input_ids"] == problem["tokens"], problem["prompt"]
    samples = settings["prompts_per_step"] * settings["group_size"]
    rows = settings["rows"] or samples
    if samples % rows:
        sys.exit(f"{rows} rows at a time do not divide the {samples} samples of a step")
    steps = Steps()
    steps.reward.__func__.__name__ = "exact"
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            seed=settings["seed"],
            max_steps=settings["steps"],
            # batch: all samples of a step generated at once, and trained on in one forward and backward
            # unless `rows` says how many at a time
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=samples // rows,
            num_generations=settings["group_size"],
            shuffle_dataset=False,  # the problems come in our sampler's order
            # sampling
            max_completion_length=settings["max_tokens"],
            temperature=settings["temperature"],
            use_vllm=settings["vllm"],
            vllm_mode="colocate",
            vllm_max_model_length=settings["max_positions"],
            vllm_gpu_memory_utilization=0.05,  # on a CPU, of the main memory
            vllm_importance_sampling_correction=False,  # ours has none; saves a forward pass
            # loss: token mean over the step, no KL, rewards scaled by the group's std
            loss_type="dapo",
            epsilon=settings["clip_ratio_low"],
            epsilon_high=settings["clip_ratio_high"],
            beta=0.0,
            scale_rewards="group",
            # optimizer
            optim="adamw_torch_fused",
            learning_rate=settings["lr"],
            lr_scheduler_type="constant",
            adam_beta1=settings["betas"][0],
            adam_beta2=settings["betas"][1],
            adam_epsilon=settings["eps"],
            weight_decay=settings["weight_decay"],
            max_grad_norm=settings["max_grad_norm"],
            # fp32 without recomputation, as ours: TRL's defaults would be slower here
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32),
            args=config,
            processing_class=tokenizer,
            reward_funcs=steps.reward,
            train_dataset=Dataset.from_list(problems),
            callbacks=[steps],
        )
        trainer.train()
    Path(sys.argv[2]).write_text(json.dumps({"began": steps.began, "rows": steps.rows}))


if __name__ == "__main__":
    main()
