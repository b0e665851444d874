"""The built-in model is an ordinary folder, the same for the same seed, and its tokenizer loses nothing."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import TinyModel

SMALL = TinyModel(hidden_size=32, layers=1, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(path, TinyModel(), seed=0)
    return path


@cache
def loaded(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@given(text=st.text(alphabet="".join(sorted(string.printable[:95])) + "\n"))
@settings(max_examples=200, deadline=None)
def test_tokenizer_round_trip(folder: Path, text: str) -> None:
    tokenizer = loaded(folder)
    tokens = tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokens) == text
    if "<" not in text:  # a spelled-out special token is one token
        assert len(tokens) == len(text)


@pytest.mark.parametrize("text", ["  two  spaces ", "\\boxed{-1}", "\n\n x", "a , b . 'm n't", "47+85="])
def test_tokenizer_keeps_spaces_and_backslashes(folder: Path, text: str) -> None:
    tokenizer = loaded(folder)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    chat = [{"role": "user", "content": text}]
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == text


def test_special_tokens(folder: Path) -> None:
    tokenizer = loaded(folder)
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    assert ids == (0, 1, 2, 3) and len(tokenizer) == 100
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    chat += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "s\nua<eos>v"


def test_a_saved_copy_is_the_same(folder: Path, tmp_path: Path) -> None:
    loaded(folder).save_pretrained(tmp_path)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.decode(again(" a  b")["input_ids"]) == " a  b"
    assert again.chat_template == loaded(folder).chat_template


def test_model_loads_and_computes(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert 700_000 <= sum(p.numel() for p in model.parameters()) <= 1_000_000
    assert model.dtype == torch.float32 and model.config.tie_word_embeddings
    assert model.generation_config.eos_token_id == 1 and model.generation_config.pad_token_id == 0
    logits = model(torch.tensor([loaded(folder)("1+1=")["input_ids"]])).logits
    assert logits.shape == (1, 4, 100) and torch.isfinite(logits).all()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_tiny(tmp_path / name, SMALL, seed)
    assert torch.equal(torch.get_rng_state(), state)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "model.safetensors" in files and "generation_config.json" in files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ac"]
    assert weights[0] != weights[1]


def test_impossible_shape(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.tiny: hidden_size \(30\) must be a multiple"):
        make_tiny(tmp_path / "x", TinyModel(hidden_size=30, heads=4), seed=0)
    assert not (tmp_path / "x").exists()
