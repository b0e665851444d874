"""The verifier on a tiny model: what it leaves alone, what it sees, and that all at once is one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_cli.core.errors import UserError
from rlvr_cli.otv import folder
from rlvr_cli.otv.cache import refusal
from rlvr_cli.otv.verifier import OneTokenVerifier

ROWS, LENGTH = 2, 12
POSITIONS = torch.arange(LENGTH).expand(ROWS, LENGTH)
EVERY = torch.arange(ROWS * LENGTH)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(tiny_path: Path, request: pytest.FixtureRequest) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        tiny_path, dtype=torch.float32, attn_implementation=request.param
    ).eval()


@pytest.fixture(scope="module")
def ids() -> torch.Tensor:
    return torch.randint(4, 90, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))


def trained(model: Any, seed: int = 0) -> OneTokenVerifier:
    """A verifier whose every part has something to say."""
    torch.manual_seed(seed)
    verifier = OneTokenVerifier(model, rank=4, alpha=8.0)
    torch.nn.init.normal_(verifier.head, std=0.02)
    for adapter in verifier.adapters.values():
        torch.nn.init.normal_(adapter.b, std=0.1)
    return verifier


def test_logits_and_cache_of_the_base_are_bit_for_bit_what_they_were(model: Any, ids: torch.Tensor) -> None:
    before = model(ids).logits
    verifier = trained(model)
    assert torch.equal(model(ids).logits, before), "the adapters are there, and off"
    cache = verifier.read(ids)
    kept = [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers]
    first = verifier.verify(cache, torch.ones_like(ids).bool())
    assert cache.get_seq_length() == LENGTH
    for layer, (keys, values) in zip(cache.layers, kept, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert torch.equal(model(ids).logits, before)
    assert torch.equal(verifier.verify(cache, torch.ones_like(ids).bool()), first)
    following = ids[:, -1:]
    untouched = model(following, past_key_values=verifier.read(ids)).logits
    assert torch.equal(model(following, past_key_values=cache).logits, untouched), (
        "it decodes on as if unasked"
    )


def test_all_positions_at_once_are_one_at_a_time(model: Any, ids: torch.Tensor) -> None:
    verifier = trained(model)
    together = verifier(ids, POSITIONS, EVERY).sigmoid().view(ROWS, LENGTH)
    for t in range(LENGTH):
        alone = verifier.verify(verifier.read(ids[:, : t + 1]), torch.ones(ROWS, t + 1).bool())
        assert torch.allclose(together[:, t], alone, atol=1e-5, rtol=0), t
    assert together.std() > 1e-3, "it tells positions apart, or this would show nothing"


def test_a_probe_sees_no_other_probe(model: Any, ids: torch.Tensor) -> None:
    verifier = trained(model)
    every, some = verifier(ids, POSITIONS, EVERY), verifier(ids, POSITIONS, EVERY[[3, 7, 20]])
    assert torch.allclose(every[[3, 7, 20]], some, atol=1e-6, rtol=0)


def test_nothing_after_a_position_leaks_into_it(model: Any, ids: torch.Tensor) -> None:
    verifier, t = trained(model), 5
    other = torch.cat([ids[:, : t + 1], ids[:, t + 1 :].flip(1)], 1)
    before, after = (verifier(x, POSITIONS, EVERY).view(ROWS, LENGTH) for x in (ids, other))
    assert torch.allclose(before[:, : t + 1], after[:, : t + 1], atol=1e-6, rtol=0)
    assert not torch.allclose(before[:, t + 1 :], after[:, t + 1 :], atol=1e-3)


def test_padding_on_the_left_changes_nothing(model: Any, ids: torch.Tensor) -> None:
    """As the engine has it: shorter prompts are padded, and their positions count from their beginning."""
    verifier, cut = trained(model), 4
    padded = torch.cat([torch.zeros(ROWS, cut, dtype=torch.int64), ids], 1)
    mask = torch.cat([torch.zeros(ROWS, cut, dtype=torch.int64), torch.ones_like(ids)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = model(padded, attention_mask=mask, position_ids=positions, use_cache=True).past_key_values
    wanted = verifier.verify(verifier.read(ids), torch.ones_like(ids).bool())
    assert torch.allclose(verifier.verify(cache, mask.bool()), wanted, atol=1e-5, rtol=0)


def test_gradients_reach_token_adapters_and_head_alone(model: Any, ids: torch.Tensor) -> None:
    verifier = trained(model)
    verifier(ids, POSITIONS, EVERY).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in verifier.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) not in [p.numel() for p in verifier.parameters()]


def test_the_gradient_is_that_of_finite_differences(model: Any, ids: torch.Tensor) -> None:
    model.double()
    try:
        verifier = trained(model).double()
        loss = verifier(ids, POSITIONS, EVERY).sigmoid().mean()
        loss.backward()
        for parameter in (verifier.token, verifier.head, next(iter(verifier.adapters.values())).b):
            place = int(parameter.grad.abs().argmax())
            flat, h = parameter.data.view(-1), 1e-3
            sides = []
            for step in (h, -2 * h):
                flat[place] += step
                sides.append(verifier(ids, POSITIONS, EVERY).sigmoid().mean().item())
            flat[place] += h
            assert parameter.grad.view(-1)[place] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-2)
    finally:
        model.float()


def test_a_folder_is_read_back_and_refused_on_another_base(
    model: Any, ids: torch.Tensor, tmp_path: Path
) -> None:
    verifier = trained(model)
    folder.save(tmp_path / "run" / "final", verifier, "some/base", {"steps": 3})
    place = folder.find(str(tmp_path / "run"))
    again = folder.load(place, model)
    assert torch.equal(again(ids, POSITIONS, EVERY), verifier(ids, POSITIONS, EVERY))
    assert json.loads((place / folder.NOTE).read_text())["steps"] == 3
    weight = model.get_input_embeddings().weight
    kept = weight[7, 0].item()
    with torch.no_grad():
        weight[7, 0] = kept + 1
    try:
        with pytest.raises(UserError, match="was trained on some/base"):
            folder.load(place, model)
    finally:
        with torch.no_grad():
            weight[7, 0] = kept
    with pytest.raises(UserError, match="holds no one-token verifier"):
        folder.find(str(tmp_path))
    note = json.loads((place / folder.NOTE).read_text())
    for damaged, said in (
        ("{", "is damaged: "),
        ("{}", "has no base"),
        (json.dumps(note | {"rank": note["rank"] + 1}), "does not fit"),
    ):
        (place / folder.NOTE).write_text(damaged)
        with pytest.raises(UserError, match=said):
            folder.load(place, model)
    (place / folder.NOTE).write_text(json.dumps(note))
    (place / folder.WEIGHTS).write_bytes(b"x")
    with pytest.raises(UserError, match="is damaged: "):
        folder.load(place, model)


def test_a_new_verifier_is_undecided(model: Any, ids: torch.Tensor) -> None:
    said = OneTokenVerifier(model, rank=2, alpha=4.0)(ids, POSITIONS, EVERY).sigmoid()
    assert torch.equal(said, torch.full_like(said, 0.5))


def test_sliding_windows_are_refused(model: Any) -> None:
    from transformers import MistralConfig, Qwen2Config

    assert refusal(model.config) is None
    assert refusal(MistralConfig(sliding_window=64)) is not None
    mixed = Qwen2Config(num_hidden_layers=2, use_sliding_window=True, max_window_layers=1)
    assert "sliding_attention" in str(refusal(mixed))
