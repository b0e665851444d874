"""The shipped 7B recipes at a hundredth of the size, with the true vocabulary of 152,064, on two ranks.

ZeRO-3, bf16 and gradient checkpointing are the recipes' own. A rank's logits take more than one chunk, and
not as many on one rank as on the other: the output layer must not gather its weights a chunk at a time.
"""

import json
import math
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from run_helpers import rlvr, steps_of
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from rlvr_cli.engine.logprobs import chunk_elements
from rlvr_cli.engine.tiny import tiny_tokenizer

VOCABULARY = 152_064
CHUNK = chunk_elements(None) // VOCABULARY
TIMEOUT_S = 480
"""A hang is what these tests would show."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """83 million random weights in the proportions of Qwen2.5-7B, which has 92 times as many."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), tiny_tokenizer(2048)
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=1344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        **special,
    )
    torch.manual_seed(0)
    made = Qwen2ForCausalLM(config).to(torch.bfloat16)
    made.generation_config = GenerationConfig(do_sample=True, **special)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(recipe: str, model: Path, out: Path, *overrides: str) -> CompletedProcess[str]:
    small = ["trainer.ranks=2", "trainer.steps=2", "trainer.warmup_steps=0", "trainer.lr=1e-4"]
    quiet = ["tracker.wandb=disabled", "faults.max_restarts=0"]
    return rlvr(
        "train", recipe, f"model.path={model}", f"out={out}", *small, *quiet, *overrides, timeout=TIMEOUT_S
    )


@pytest.mark.slow
def test_sft_qwen7b(model: Path, tmp_path: Path) -> None:
    """The longest example has two chunks of logits, the three of the other rank together one."""
    data, lengths = tmp_path / "chats.jsonl", [2 * CHUNK - 60, 90, 60, 30]
    chats = [
        [{"role": "user", "content": "Say it. "}, {"role": "assistant", "content": "ab" * (n // 2)}]
        for n in lengths
    ]
    data.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    source = [f"data.train.path={data}", "data.train.config=null"]
    batch = ["batch.examples_per_step=4", "batch.tokens_per_microbatch=500", "algorithm.max_length=500"]
    done = train("sft_qwen7b", model, tmp_path / "run", *source, *batch)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    first, second = steps_of(tmp_path / "run")
    assert first["train/loss"] == pytest.approx(math.log(VOCABULARY), abs=1)  # it knows nothing
    assert second["train/loss"] < first["train/loss"] - 0.1
    assert 0 < first["train/grad_norm"] < 100


@pytest.mark.long  # two minutes; what could hang is in the test above and in engine/test_vocabulary.py
def test_dapo_qwen7b(model: Path, tmp_path: Path) -> None:
    """Each update has five sequences: three on one rank, together more than a chunk, and two on the other."""
    data = tmp_path / "problems.jsonl"
    problems = [{"prompt": f"What is {n} + 1?", "answer": f"{n + 1}"} for n in range(12)]
    data.write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    length = CHUNK // 3 + 3
    judged = ["+verifier@verifiers.chance=random", "data.train.verifiers=[chance]"]
    batch = ["batch.prompts_per_step=2", "batch.group_size=5", "batch.updates_per_step=2"]
    lengths = [f"rollout.max_tokens={length}", "rollout.max_prompt_tokens=32", "algorithm.shaping.buffer=8"]
    lengths += [f"eval.benches.aime24.max_tokens={length}", f"eval.benches.aime24.source.path={data}"]
    done = train(
        "dapo_qwen7b",
        model,
        tmp_path / "run",
        *(f"data.train.path={data}", *judged, *batch, *lengths, "batch.tokens_per_microbatch=500"),
        *("rollout.engine=hf", "rollout.oversample=1", "preflight.enabled=false", "checkpoint.every=null"),
        *("eval.every=null", "eval.at_start=false", "eval.at_end=false"),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = steps_of(tmp_path / "run")
    assert [row["actor/updates"] for row in rows] == [2, 2]
    assert rows[0]["actor/entropy"] == pytest.approx(math.log(VOCABULARY), abs=0.3)
    assert all(0 < row["actor/grad_norm"] < 100 for row in rows)
    assert all(row["mismatch/k3"] < 0.01 for row in rows)  # trainer and engine are the same policy
