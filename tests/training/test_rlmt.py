"""Thinking rewarded by a model, piece by piece: who sees what, what earns, and what gradients do with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rlvr_cli.algorithms.advantage import AdvantageInputs, GroupZScore
from rlvr_cli.algorithms.advantage_pairs import OnlinePairs
from rlvr_cli.data import wording
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.synthetic import generate
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Chat, Source
from rlvr_cli.verifiers.keyword import Keyword
from rlvr_cli.verifiers.reward_model import conversation
from rlvr_cli.verifiers.shown import Extract, Shown

REWARDS = [1.2, -0.3, 0.5, 2.0]


def advantages(rewards: list[list[float]]) -> torch.Tensor:
    rewards_PG = torch.tensor(rewards, dtype=torch.float64)
    ones_B = torch.ones(rewards_PG.numel(), dtype=torch.int64)
    return GroupZScore(ddof=1, eps=0.0)(AdvantageInputs(rewards_PG=rewards_PG, lengths_B=ones_B))


def test_the_worked_advantages() -> None:
    """Mean .85 and sample standard deviation .9815 of scores as a reward model gives them."""
    assert advantages([REWARDS]).tolist() == pytest.approx([0.3566, -1.1717, -0.3566, 1.1717], abs=1e-4)


def test_the_worked_pair_is_the_best_against_the_worst() -> None:
    scores = torch.tensor([[0.1, 2.0, -1.0, 0.4]], dtype=torch.float64)
    inputs = AdvantageInputs(rewards_PG=scores, lengths_B=torch.ones(4, dtype=torch.int64))
    [(better, worse, _)], _ = OnlinePairs().matches(inputs)
    assert (better, worse) == (1, 2)


def test_a_constant_on_the_reward_models_scores_changes_nothing() -> None:
    """Scores are defined up to one, and GRPO takes them as they are."""
    moved = advantages([[3 * reward + 40 for reward in REWARDS]])
    assert torch.allclose(moved, advantages([REWARDS]))


def test_the_reward_model_is_told_the_users_words_and_the_policy_the_preamble(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Write a poem.", "answer": "-"}) + "\n")
    source = Source(
        path=str(file), chat=Chat.never, verifiers=["rm"], prompt="First plan.\nUser: {prompt}\nAssistant:"
    )
    tokenizer = tiny_tokenizer(128)
    found, _ = problems("train", source, tokenizer, 128, 0, lambda row, gold: None)
    [problem] = found
    assert problem.prompt == "First plan.\nUser: Write a poem.\nAssistant:"
    answer = Shown(extract=Extract.response).answer_in("<think>plan</think><response> roses </response>")
    assert conversation(tokenizer, answer.text, problem.extra) == "Write a poem.roses<eos>"


def test_the_gradient_raises_the_word_in_the_answer_and_leaves_the_thought_alone() -> None:
    """A policy of two words, one thought and one said, with equal chances of 20: 256 groups of 8. In
    expectation the advantage of a sample depends on what it says alone."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 20, (256, 8, 2), generator=generator)
    words, counts = wording.WORDS, Keyword()
    scores = [
        [
            counts.verify(f"<think>{words[z]}</think>{words[y]}", wording.WANTED, {}).score
            for z, y in group.tolist()
        ]
        for group in drawn
    ]
    advantages_B = advantages(scores).nan_to_num(0.0)  # groups of equals: 0 / 0
    logits = torch.zeros(2, 20, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(-1)
    z_B, y_B = drawn.flatten(0, 1).T
    (advantages_B * (logprobs[0][z_B] + logprobs[1][y_B])).mean().backward()
    assert logits.grad is not None
    wanted = words.index(wording.WANTED)
    thought, said = logits.grad
    assert said.argmax() == wanted and said[wanted] > 10 * thought.abs().max()


def test_the_gold_of_the_small_world_is_the_verifiers() -> None:
    for answer in ("k a b c", "k k a b", "k k k a", "a b a b", ""):
        assert wording.gold(answer) == Keyword().verify(answer, wording.WANTED, {}).score


def test_pairs_are_compared_by_the_gold_and_say_nothing_of_what_repetition_costs() -> None:
    rows = generate("keyword_pairs", "train", {"size": 300}, 0)
    for row in rows:
        assert wording.gold(row["chosen"]) > wording.gold(row["rejected"])
        said = [row[side].split().count("k") for side in ("chosen", "rejected")]
        assert 2 >= said[0] > said[1]
    demonstrations = generate("keyword", "train", {"size": 300}, 0)
    thoughts = {row["completion"][:8].startswith("<think>") for row in demonstrations}
    without = {row["completion"][:1] == "<" for row in generate("keyword_answers", "train", {"size": 300}, 0)}
    assert thoughts == {True} and without == {False}
    share = sum("k" in row["completion"].split("</think>")[1] for row in demonstrations) / 300
    assert 0.4 < share < 0.6
