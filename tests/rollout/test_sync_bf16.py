"""Syncs into a real bf16 engine of vLLM's: what is lost, stale or changed is noticed; what wakes when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Engine, SyncError, make_engine
from rlvr_cli.schema import Precision, RolloutEngine

pytestmark = pytest.mark.slow
PROBE = np.random.default_rng(0).integers(4, 100, size=48).tolist()


def start(kind: RolloutEngine, path: Path, **options: Any) -> Engine:
    return make_engine(
        schema.Rollout(engine=kind, kv_cache_gb=0.25),
        path=str(path),
        tokenizer=load_tokenizer(schema.Model(path=str(path))),
        eos=[1],
        seed=0,
        precision=Precision.bf16,
        max_model_len=256,
        **options,
    )


@pytest.fixture(scope="module")
def net(tiny_path: Path) -> Any:
    """What is sent, in fp32: the engine rounds it. Sharp enough that rounding logits shows."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            if "embed" in name:
                parameter.mul_(10)
    return model


@pytest.fixture(scope="module")
def engine(tiny_path: Path) -> Iterator[Any]:
    engine = start(RolloutEngine.vllm, tiny_path)
    yield engine
    engine.close()


def weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, parameter.detach()) for name, parameter in net.named_parameters())


def model_of(engine: Any) -> nn.Module:
    return engine.llm.llm_engine.model_executor.driver_worker.worker.get_model()


def test_every_number_the_engine_holds_is_vouched_for(engine: Any, net: nn.Module) -> None:
    receipt = engine.load(weights(net))
    assert receipt.compared + receipt.sampled == sum(p.numel() for p in net.parameters())
    assert not receipt.untold and not receipt.partial


def test_one_number_that_changes_on_the_way_is_noticed(engine: Any, net: nn.Module) -> None:
    """As when memory is used anew before the engine has read it; far below what a probe can see in bf16."""

    def overwritten() -> Iterator[tuple[str, Tensor]]:
        for name, weight in weights(net):
            sent = weight.to(torch.bfloat16)
            yield name, sent
            if "layers.1.self_attn.q_proj.weight" in name:
                sent.view(torch.int16)[3, 5] ^= 1

    with pytest.raises(SyncError, match=r"in model\.layers\.1\.self_attn\.qkv_proj\.weight$"):
        engine.load(overwritten())
    engine.load(weights(net))


def test_old_weights_are_noticed(engine: Any, net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.model_loader.reload import layerwise

    engine.load(weights(net))
    monkeypatch.setattr(layerwise, "_copy_and_restore_kernel_tensors", layerwise._place_kernel_tensors)
    engine.load(weights(net))  # the same ones: nothing is stale
    moved = {name: weight * 1.01 for name, weight in weights(net)}
    with pytest.raises(SyncError, match=r"model\.embed_tokens\.weight, .* more parameters"):
        engine.load(moved.items())
    monkeypatch.undo()
    engine.load(moved.items())
    engine.load(weights(net))


def test_a_weight_that_the_trainer_never_sends_is_named(engine: Any, net: nn.Module) -> None:
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
    from vllm.model_executor.model_loader.reload.meta import capture_layer_to_meta

    inner: Any = model_of(engine).model
    inner.register_parameter("tower", nn.Parameter(torch.ones(3)))
    get_layerwise_info(inner).restore_metadata = capture_layer_to_meta(inner)
    try:
        with pytest.raises(SyncError, match=r"the trainer does not send model\.tower, which the engine has"):
            engine.load(weights(net))
    finally:
        del inner.tower
        get_layerwise_info(inner).restore_metadata = capture_layer_to_meta(inner)
    engine.load(weights(net))


def test_the_weights_wake_first_and_the_cache_when_they_are_there(
    engine: Any, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU vLLM frees nothing, but it goes through the same states and refuses to sample while asleep."""
    done: list[str] = []

    def noted(name: str) -> None:
        inner = getattr(engine.llm, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            done.append(" ".join([name, *kwargs.get("tags", [])]))
            return inner(*args, **kwargs)

        monkeypatch.setattr(engine.llm, name, call)

    for name in ("sleep", "wake_up", "start_weight_update", "finish_weight_update", "generate"):
        noted(name)
    monkeypatch.setattr(engine, "sleeps", True)
    engine.sleep()
    engine.load(weights(net))
    assert engine.llm.llm_engine.is_sleeping()
    engine.wake()
    engine.wake()
    assert not engine.llm.llm_engine.is_sleeping()
    assert len(engine.probe(PROBE)) == len(PROBE) - 1
    load = ["wake_up weights", "start_weight_update", "finish_weight_update"]
    assert done == ["sleep", *load, "wake_up kv_cache", "generate"]


def test_prefixes_that_cannot_be_forgotten_are_an_error(
    engine: Any, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.llm, "reset_prefix_cache", lambda: False)
    with pytest.raises(SyncError, match="keeps prefixes of the old weights"):
        engine.load(weights(net))


def test_an_engine_that_ends_asleep_does_not_hide_why(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def shutdown() -> None:
        raise RuntimeError("CUDA Error: invalid argument")

    monkeypatch.setattr(engine.llm.llm_engine.engine_core, "shutdown", shutdown)
    with pytest.raises(RuntimeError, match="invalid argument"):
        engine.close()
    monkeypatch.setattr(engine, "_asleep", {"kv_cache"})
    engine.close()


def test_an_fp32_head_brings_the_logprobs_of_one(tiny_path: Path, engine: Any, net: nn.Module) -> None:
    """The reference multiplies the bf16 model's hidden states in fp32: plain transformers."""
    reference = start(RolloutEngine.hf, tiny_path, fp32_head=True)
    with_head = start(RolloutEngine.vllm, tiny_path, fp32_head=True)
    try:
        logprobs = []
        for each in (reference, with_head, engine):
            each.load(weights(net))
            logprobs.append(np.array(each.probe(PROBE)))
        wanted, found, without = logprobs
        assert np.abs(found - wanted).mean() < 0.6 * np.abs(without - wanted).mean()
    finally:
        with_head.close()
