"""Norms of layers where each rank holds a piece of the gradient; the slow tests have real ones."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from thread_ranks import on_ranks
from torch import nn

from rlvr_cli.engine.layers import Layers


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.layers = nn.Linear(2, 1, bias=False), nn.ModuleList([nn.Linear(1, 1, False)])


class Sharded(Layers):
    """Rank 0 holds 3 of the embedding and 1 of the layer, rank 1 the 4 of the embedding and no more.

    Without ZeRO each holds everything.
    """

    def __init__(self, zero_stage: int, rank: int) -> None:
        super().__init__(Model(), zero_stage)
        pieces: list[Any] = [torch.tensor([3.0, 4.0]), torch.tensor([1.0])]
        if zero_stage > 0:
            pieces = [torch.tensor([3.0]), torch.tensor([1.0])] if rank == 0 else [torch.tensor([4.0]), None]
        embedding, layer = (group[0] for group in self.groups.values())
        self.pieces = {embedding: pieces[0], layer: pieces[1]}

    def piece(self, parameter: Any) -> Any:
        return self.pieces[parameter]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_norms_are_over_the_pieces_of_all_ranks(stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> tuple[dict[str, float], float]:
        layers = Sharded(stage, rank)
        return layers.norms(), layers.norm()

    for norms, norm in on_ranks(monkeypatch, 2, work):
        assert norms == pytest.approx({"embedding": 5.0, "layer_0": 1.0})
        assert norm == pytest.approx(26**0.5)


class Copies(Layers):
    """ZeRO-3's pieces are copies; counts those that are held when the next one is made."""

    def __init__(self) -> None:
        super().__init__(Model(), zero_stage=3)
        self.made: list[Any] = []
        self.held: list[int] = []

    def piece(self, parameter: Any) -> Any:
        self.held.append(sum(ref() is not None for ref in self.made))
        piece = torch.ones(3)
        self.made.append(weakref.ref(piece))
        return piece


def test_pieces_are_held_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they are a whole gradient in fp32 on the device, with offload too."""

    def work(rank: int) -> tuple[float, list[int]]:
        layers = Copies()
        return layers.norm(), layers.held

    [(norm, held)] = on_ranks(monkeypatch, 1, work)
    assert norm == pytest.approx(6**0.5) and held == [0, 0]


@pytest.mark.parametrize("method", ["norm", "norms"])
def test_what_backward_still_copies_is_waited_for(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With offload a gradient is there only after the device has been waited for."""
    layers = Sharded(0, 0)
    ready, pieces = list(layers.pieces.items()), layers.pieces
    layers.pieces = {parameter: torch.zeros_like(piece) for parameter, piece in ready}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: setattr(layers, "pieces", pieces))
    monkeypatch.setattr("rlvr_cli.core.distributed.device", lambda: torch.device("cpu"))
    found = getattr(layers, method)()
    assert found == (pytest.approx(26**0.5) if method == "norm" else {"embedding": 5.0, "layer_0": 1.0})


def test_a_factor_of_zero_is_zero_whatever_the_gradient() -> None:
    """Infinity times 0 would be NaN; other factors multiply, and groups without one stay."""
    model = Model()
    model.embed_tokens.weight.grad = torch.tensor([[torch.inf, 4.0]])
    model.layers[0].weight.grad = torch.tensor([[3.0]])
    layers = Layers(model, zero_stage=0)
    layers.scale({"embedding": 0.0})
    assert model.embed_tokens.weight.grad.tolist() == [[0.0, 0.0]]
    assert model.layers[0].weight.grad.tolist() == [[3.0]]
    layers.scale({"embedding": 1.0, "layer_0": 0.5})
    assert model.layers[0].weight.grad.tolist() == [[1.5]]
