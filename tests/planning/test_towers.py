"""`rlvr plan` counts the tower of a model that sees, and its images, as the model itself has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from plans import job, line

from rlvr_cli.engine.model import load_model
from rlvr_cli.planning.engine_memory import encoder
from rlvr_cli.planning.items import PHASES
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.shapes import shape_of
from rlvr_cli.planning.speed import times_of
from rlvr_cli.schema import Lora, Model, Precision, Vision
from rlvr_cli.vision.shown import tower_of


@pytest.mark.parametrize(
    "model", [Model(vision=Vision.frozen), Model(vision=Vision.train), Model(lora=Lora(rank=4))]
)
def test_parameters_are_those_of_the_model(tiny_vision_path: Path, model: Model) -> None:
    model = replace(model, path=str(tiny_vision_path))
    shape, hf = shape_of(model), load_model(model, Precision.fp32)
    base = hf.get_base_model() if hasattr(hf, "get_base_model") else hf  # type: ignore[operator]
    sizes = [p.numel() for p in tower_of(base).parameters()]  # type: ignore[union-attr]
    assert shape.parameters == sum(p.numel() for p in hf.parameters())
    assert shape.trained == sum(p.numel() for p in hf.parameters() if p.requires_grad)
    assert shape.tower is not None and shape.tower.parameters == sum(sizes)
    assert shape.active == shape.parameters - sum(sizes)  # a token of text does not go through it
    assert shape.tower.trained == (model.vision is Vision.train)
    assert (shape.tower.most_pixels, shape.tower.most_tokens) == (56 * 56, 16)


def test_what_a_trained_tower_keeps_is_what_autograd_saves(tiny_vision_path: Path) -> None:
    model = Model(path=str(tiny_vision_path), vision=Vision.train)
    tower: Any = tower_of(load_model(model, Precision.fp32))
    images, tokens = 8, 8 * 16
    saved: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in tower.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    held = []

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)  # so that no address comes twice
        return keep(tensor)

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        tower(torch.rand(tokens * 4, 6 * 49), grid_thw=torch.tensor([[1, 8, 8]] * images))
    found = shape_of(model).tower
    assert found is not None
    assert found.kept(tokens, 4, checkpointing=False) == pytest.approx(sum(saved.values()), rel=0.1)
    assert found.kept(tokens, 4, checkpointing=True) < found.kept(tokens, 4, checkpointing=False)


def test_a_plan_has_the_images_of_a_micro_batch_and_the_time_to_look_at_them() -> None:
    frozen = job("model.path=builtin:tiny_vision", recipe="tiny_vision_grpo", ranks=1)
    trained = job("model.path=builtin:tiny_vision", "model.vision=train", recipe="tiny_vision_grpo", ranks=1)
    few = job("model.path=builtin:tiny_vision", "model.max_pixels=784", recipe="tiny_vision_grpo", ranks=1)
    assert (frozen.image_tokens, few.image_tokens) == (16, 4)
    name = "vision tower, images"
    assert line(memory_of(trained), name) > 2 * line(memory_of(frozen), name) > 0
    assert line(memory_of(few), name) == line(memory_of(frozen), name) / 4
    times = [times_of(each) for each in (few, frozen, trained)]
    assert all(times) and times[0]["update"] < times[1]["update"] < times[2]["update"]  # type: ignore[index]
    assert times[0]["rollout"] < times[1]["rollout"]  # type: ignore[index]


def test_what_an_engine_keeps_of_images_is_counted_beside_its_share() -> None:
    """16,384 tokens of 128 numbers in fp32, or those of the largest image; with two layers more thrice."""
    name, seen = "vLLM: encoder cache", ("model.path=builtin:tiny_vision", "rollout.engine=vllm")
    small = job(*seen, recipe="tiny_vision_grpo", ranks=1)
    assert line(memory_of(small), name) == 16_384 * 128 * 4
    tower = small.plain.tower
    assert tower is not None and tower.deep == 0
    wide = replace(tower, most_pixels=20_000 * 14 * 14, deep=2)
    [item] = encoder(
        SimpleNamespace(plain=replace(small.plain, tower=wide), device=small.device, engine_width=4)
    )  # type: ignore[arg-type]
    assert item.phases == dict.fromkeys(PHASES, 20_000 * 128 * 4 * 3)
    blind = job("model.path=builtin:tiny", "rollout.engine=vllm", recipe="tiny_dapo", ranks=1)
    assert name not in [each.name for each in memory_of(blind).items]
