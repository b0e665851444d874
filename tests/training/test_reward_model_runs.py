"""Reward models that are really trained: they rank held-out pairs, and transformers reads them alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_helpers import comparable, rlvr, steps_of
from safetensors.torch import load_file

from rlvr_cli.schema import Source
from rlvr_cli.training.comparisons import PLAIN_TEMPLATE, comparisons, tokens_of
from rlvr_cli.verifiers.reward_model import RewardModel, Scale, conversation

RECIPE = """
defaults:
  - algorithm: reward_model
  - model: tiny
  - data@data.train: keyword_pairs
  - data@eval.source: keyword_pairs
  - trainer: zero0
  - _self_
name: scores
model: {tiny: {hidden_size: 32, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {options: {size: 512}}}
batch: {examples_per_step: 16, tokens_per_microbatch: 200}
algorithm: {max_length: 64}
trainer: {steps: 40, lr: 3e-3, warmup_steps: 2, precision: fp32}
eval: {source: {split: eval, options: {size: 64}}, every: 20}
tracker: {wandb: disabled}
"""
ANSWERS = ["a b c d", "k b c d", "k k b c", "q"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipes") / "scores.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def trained(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = rlvr("reward_model", recipe, f"out={out}", "checkpoint.every=20", "checkpoint.keep=3")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def evaluations(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == "eval"]


@pytest.mark.slow
def test_it_ranks_pairs_it_has_not_seen(trained: Path) -> None:
    _, last = evaluations(trained)
    assert last["eval/accuracy"] > 0.95 and last["eval/margin"] > 1
    assert last["eval/loss"] < 0.3 and last["eval/chosen_reward"] > last["eval/rejected_reward"]
    assert {"rewards/accuracies", "train/loss", "train/grad_norm"} <= steps_of(trained)[0].keys()


@pytest.mark.slow
def test_transformers_and_the_verifier_give_the_scores_of_training(trained: Path) -> None:
    """An ordinary folder: batches with padding, one at a time and the verifier agree, and so do the stored
    mean and standard deviation of the held-out scores."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = trained / "final"
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="right")
    texts = [conversation(tokenizer, answer, {"prompt": "48215?"}) for answer in ANSWERS]
    with torch.inference_mode():
        alone = [
            float(model(torch.tensor([tokens_of("48215?", answer, tokenizer).tolist()])).logits[0, 0])
            for answer in ANSWERS
        ]
        rows = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        together = model(**rows).logits[:, 0].tolist()
    verifier = RewardModel(path=str(path), scale=Scale.own, device="cpu")
    given = verifier.verify_batch([(answer, "", {"prompt": "48215?"}) for answer in ANSWERS])
    assert together == pytest.approx(alone, abs=1e-5)
    assert [verdict.score for verdict in given] == pytest.approx(alone, abs=1e-5)
    assert given[1].score > given[0].score and given[2].score > given[1].score

    source = Source(path="synthetic:keyword_pairs", split="eval", options={"size": 64})
    pairs, _ = comparisons("eval", source, tokenizer, 64, 0)
    with torch.inference_mode():
        scores = [
            float(model(torch.tensor([side.tolist()])).logits[0, 0])
            for pair in pairs
            for side in (pair.chosen, pair.rejected)
        ]
    [right] = [np.mean(np.array(scores[0::2]) > np.array(scores[1::2]))]
    assert right == pytest.approx(evaluations(trained)[-1]["eval/accuracy"])
    assert model.config.mean == pytest.approx(np.mean(scores), abs=1e-4)
    assert model.config.std == pytest.approx(np.std(scores, ddof=1), abs=1e-4)
    normal = RewardModel(path=str(path), scale=Scale.own, normalise=True, device="cpu")
    wanted = (alone[0] - model.config.mean) / model.config.std
    assert normal.verify(ANSWERS[0], "", {"prompt": "48215?"}).score == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_exactly(recipe: str, trained: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    shutil.rmtree(cut / "final")
    shutil.rmtree(cut / "checkpoints" / "step_40")
    (cut / "checkpoints" / "latest").write_text("step_20")
    done = rlvr("train", recipe, f"out={cut}", "checkpoint.every=20", "checkpoint.keep=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [comparable(row) for row in steps_of(cut)] == [comparable(row) for row in steps_of(trained)]
    first, second = (load_file(out / "final" / "model.safetensors") for out in (trained, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_ranks_zero_stages_and_adapters_change_nothing_but_rounding(
    recipe: str, trained: Path, tmp_path: Path
) -> None:
    """Two ranks under ZeRO-3 take other micro-batches; with LoRA the export is whole all the same."""
    out = tmp_path / "sharded"
    common = ("eval.source=null", "eval.every=null", f"out={out}")
    done = rlvr("train", recipe, "trainer.ranks=2", "trainer.zero_stage=3", "trainer.steps=5", *common)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = steps_of(trained)
    for row, other in zip(steps_of(out), wanted[:5], strict=True):
        for name in ("train/loss", "train/grad_norm", "rewards/margins"):
            assert row[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), (row["step"], name)
    adapted = tmp_path / "adapted"
    done = rlvr(
        "train",
        recipe,
        "model.lora={rank: 4, dropout: 0.0}",
        "trainer.steps=5",
        *common[:2],
        f"out={adapted}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    score = RewardModel(path=str(adapted / "final"), scale=Scale.own, device="cpu")
    assert score.verify("k b", "", {"prompt": "1?"}).score != score.verify("a b", "", {"prompt": "1?"}).score


@pytest.mark.slow
def test_labels_by_chance_teach_nothing(tmp_path: Path) -> None:
    """The held-out loss stays at log 2, and scores do not part: what others have learnt is in the labels. The
    accuracy of scores that hardly differ may be anything, as one feature decides all pairs here."""
    from rlvr_cli.data.synthetic import generate

    rows = []
    for number, row in enumerate(generate("keyword_pairs", "train", {"size": 512}, 0)):
        sides = [row["chosen"], row["rejected"]][:: 1 if number % 2 else -1]
        rows.append({"prompt": row["prompt"], "chosen": sides[0], "rejected": sides[1]})
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "chance"
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text(
        RECIPE.replace("data: {train: {options: {size: 512}}}", f"data: {{train: {{path: {file}}}}}")
    )
    done = rlvr("train", str(mixed), f"out={out}", "trainer.steps=20")
    assert done.returncode == 0, done.stdout + done.stderr
    [last] = evaluations(out)
    assert 0.6 < last["eval/loss"] < 0.8 and abs(last["eval/margin"]) < 0.3


class Letters:
    """A tokenizer of characters without a chat template of its own."""

    chat_template = PLAIN_TEMPLATE
    eos_token = "$"

    def apply_chat_template(self, messages: list[dict[str, str]], tokenize: bool) -> str:
        from jinja2 import Template

        return Template(self.chat_template).render(messages=messages, eos_token=self.eos_token)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


def test_a_conversation_ends_with_the_answer_and_its_eos() -> None:
    assert "".join(map(chr, tokens_of("ask", "answer", Letters()))) == "ask\n\nanswer$"
    turns = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    answer = [*turns, {"role": "assistant", "content": "c"}]
    assert "".join(map(chr, tokens_of("ask", answer, Letters()))) == "ask\n\na$b\n\nc$"


def test_pairs_that_teach_nothing_are_counted_and_none_is_cut(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "good", "rejected": "bad", "margin": 2.0, "weight": 0.5},
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "chosen": "good", "rejected": ""},
        {"prompt": "p", "chosen": "good", "rejected": "x" * 50},
    ]
    rows = [{"margin": None, "weight": None} | row for row in rows]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept, report = comparisons("train", Source(path=str(file)), Letters(), 20, 0)
    assert [(pair.margin, pair.weight) for pair in kept] == [(2.0, 0.5)]
    assert (report.rows, report.kept, report.too_long) == (4, 1, 1)
    assert report.others == {"equal pairs": 1, "empty answers": 1}


@pytest.mark.slow
def test_bad_input_is_one_line_before_anything_is_written(recipe: str, tmp_path: Path) -> None:
    out = tmp_path / "bad"
    for override, message in (
        (
            "data.train.prompt='Please: {prompt}'",
            "a reward model is asked about the prompt as the data set has it",
        ),
        ("model.lora={rank: 4, dropout: 0.1}", "must be 0"),
        ("algorithm.centre=-1", "algorithm.centre is -1"),
        ("algorithm.beta=0.1", "algorithm.beta"),
    ):
        done = rlvr("reward_model", recipe, f"out={out}", override)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1 and not out.exists()
    causal = tmp_path / "causal"
    causal.mkdir()
    (causal / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"]}))
    from rlvr_cli.core.errors import UserError
    from rlvr_cli.schema import Verification

    with pytest.raises(UserError, match="holds a Qwen2ForCausalLM, which has no output for a sequence"):
        RewardModel(path=str(causal)).limits(Verification())
    (causal / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForSequenceClassification"]}))
    with pytest.raises(UserError, match=r"normalise: the model's config\.json has no `mean`"):
        RewardModel(path=str(causal), normalise=True).limits(Verification())
