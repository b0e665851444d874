"""The transformers engine by itself; the slow tests compare it with vLLM and the trainer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rlvr_cli import schema
from rlvr_cli.core.types import Reason
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Engine, Request, Sampling, make_engine
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.verifiers.math import Math

SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=6)


@pytest.fixture
def engine(tiny_path: Path) -> Engine:
    return make_engine(
        schema.Rollout(engine=schema.RolloutEngine.hf),
        path=str(tiny_path),
        tokenizer=load_tokenizer(schema.Model(path=str(tiny_path))),
        eos=[1],
        seed=0,
        precision=schema.Precision.fp32,
        max_model_len=64,
    )


def texts(engine: Engine, *requests: Request) -> dict[int, list[str]]:
    found = dict(engine.generate(list(requests), SAMPLED))
    for completions in found.values():
        assert all(len(c.logprobs) == len(c.tokens) and np.isfinite(c.logprobs).all() for c in completions)
    return {key: [c.text for c in completions] for key, completions in found.items()}


def test_samples_of_a_prompt_differ_and_follow_from_its_seed_alone(engine: Engine) -> None:
    first, second = (Request(key=k, tokens=[20, 30, 40], samples=4, seed=1000 * k) for k in (1, 2))
    longer = Request(key=3, tokens=[50] * 9, samples=2, seed=5)
    together = texts(engine, first, longer, second)
    assert len({*together[1], *together[2]}) == 8, "each sample has a generator of its own"
    assert texts(engine, first)[1] == together[1] and texts(engine, longer)[3] == together[3]


class Fixed:
    """A model whose next token is 4, 5 or 6 with these probabilities; keeps how many sequences it got."""

    def __init__(self, probabilities: list[float]) -> None:
        self.logits_V = torch.full((16,), -1e9)
        self.logits_V[4:7] = torch.tensor(probabilities).log()
        self.batches: list[int] = []

    def __call__(self, *, input_ids: torch.Tensor, past_key_values: object, **_: object) -> SimpleNamespace:
        if past_key_values is None:
            self.batches.append(len(input_ids))
        return SimpleNamespace(logits=self.logits_V.expand(*input_ids.shape, -1), past_key_values="cache")


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1.0, {4: 0.5, 5: 0.3, 6: 0.2}),
        (0.6, {4: 5 / 8, 5: 3 / 8}),  # 5 crosses the threshold and belongs to the nucleus
        (0.4, {4: 1.0}),
    ],
)
def test_tokens_and_logprobs_are_those_of_the_nucleus(
    engine: Engine, top_p: float, kept: dict[int, float]
) -> None:
    engine.model = Fixed([0.5, 0.3, 0.2])
    sampling = Sampling(temperature=1.0, top_p=top_p, max_tokens=8)
    [(_, found)] = engine.generate([Request(key=0, tokens=[9], samples=8, seed=0)], sampling)
    assert {int(t) for c in found for t in c.tokens} == set(kept)
    for c in found:
        assert c.logprobs.tolist() == pytest.approx([np.log(kept[int(t)]) for t in c.tokens], abs=1e-6)


def test_a_response_ends_with_its_end_token_and_a_longer_one_is_not_finished(engine: Engine) -> None:
    engine.model, engine.eos = Fixed([0.6, 0.2, 0.2]), torch.tensor([5, 6])
    [(_, found)] = engine.generate([Request(key=0, tokens=[9], samples=20, seed=0)], SAMPLED)
    assert {c.finished for c in found} == {True, False}
    for c in found:
        tokens = c.tokens.tolist()
        assert set(tokens[:-1]) <= {4} and len(c.logprobs) == len(tokens)
        assert tokens[-1:] in ([5], [6]) if c.finished else tokens == [4] * 6


def test_a_batch_has_no_more_sequences_than_max_num_seqs(engine: Engine) -> None:
    engine.model, engine.max_num_seqs = Fixed([0.5, 0.3, 0.2]), 6
    requests = [Request(key=n, tokens=[9] * n, samples=2, seed=n) for n in range(1, 6)]
    found = dict(engine.generate(requests, SAMPLED))
    assert {key: len(completions) for key, completions in found.items()} == dict.fromkeys(range(1, 6), 2)
    assert engine.model.batches == [6, 4]


THOUGHT = "<think>ok</think>\\boxed{2}"


def thinking_tokenizer(folder: Path) -> Any:
    """The tiny tokenizer with `<think>` and `</think>` as special tokens, beside `<end>` and `<turn>`."""
    tokenizer = load_tokenizer(schema.Model(path=str(folder)))
    added = ["<think>", "</think>", "<end>", "<turn>"]
    assert tokenizer.add_special_tokens({"additional_special_tokens": added}) == 4
    return tokenizer


class Writes:
    """A model that writes these tokens, whatever the prompt."""

    def __init__(self, tokens: list[int], vocabulary: int) -> None:
        self.tokens, self.vocabulary = tokens, vocabulary

    def __call__(self, *, past_key_values: int | None, **_: object) -> SimpleNamespace:
        place = past_key_values or 0
        logits = torch.full((1, 1, self.vocabulary), -1e9)
        logits[0, 0, self.tokens[place]] = 0.0
        return SimpleNamespace(logits=logits, past_key_values=place + 1)


@pytest.mark.parametrize("ending", ["<eos>", "<end>", "<pad><eos>"])
def test_special_tokens_are_text_but_those_that_end_and_pad(engine: Engine, ending: str) -> None:
    tokenizer = thinking_tokenizer(Path(engine.text.tokenizer.name_or_path))
    end = tokenizer.convert_tokens_to_ids("<end>")
    tokens = tokenizer(f"<bos>{THOUGHT}<turn><unk>{ending}", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "ok\\boxed{2}", "they are special"
    engine.text, engine.eos = ResponseText(tokenizer, [1, end]), torch.tensor([1, end])
    engine.model = Writes(tokens, len(tokenizer))
    request = Request(key=0, tokens=[9], samples=1, seed=0)
    [(_, [found])] = engine.generate([request], Sampling(temperature=0.0, top_p=1.0, max_tokens=64))
    assert found.finished and found.text == f"{THOUGHT}<turn>" and found.tokens.tolist() == tokens
    assert Math(thinking=True).verify(found.text, "2", {}).reason is Reason.correct
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=64, stop=["</think>"])
    [(_, [found])] = engine.generate([request], sampling)
    assert found.finished and found.text == "<think>ok</think>"


def test_text_of_an_ordinary_model_is_the_tokenizers(tiny_path: Path) -> None:
    tokenizer = load_tokenizer(schema.Model(path=str(tiny_path)))
    text = ResponseText(tokenizer, [1])
    for seed in range(20):
        tokens = np.random.default_rng(seed).integers(0, len(tokenizer), 40).tolist()
        assert text(tokens) == tokenizer.decode(tokens, skip_special_tokens=True)
    assert text.trimmed("so \\boxed{2}<eos><pad><eos>") == "so \\boxed{2}" and text.trimmed("") == ""
