"""Real vLLM that is sent adapters alone, against the trainer and against peft's files; tiny model, fp32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapter_trainer import adapter_trainer
from run_helpers import run_entries
from tensor_parallel_entries import REQUESTS, SAMPLED, gap, shake

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import SyncError
from rlvr_cli.rollout.engine import Names
from rlvr_cli.sampling.start_model import start_engine
from rlvr_cli.schema import Lora, Model, Precision, Rollout, RolloutLora

pytestmark = pytest.mark.slow
LORA = Lora(rank=4, alpha=12.0)


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model(path=str(tiny_path), lora=LORA)


@pytest.fixture(scope="module")
def trainer(model: Model) -> Iterator[Any]:
    with adapter_trainer(model) as made:
        yield made


@pytest.fixture(scope="module")
def engine(model: Model, trainer: Any) -> Any:
    """Never closed: that would end the process group that later trainers of this process are to be in."""
    rollout = Rollout(kv_cache_gb=0.25, lora=RolloutLora.adapter)
    made: Any = start_engine(rollout, model, load_tokenizer(model), 0, Precision.fp32, 256)
    assert gap(made, trainer) < 1e-5, "the start model's adapters are 0"
    shake(trainer)
    return made


def held(engine: Any) -> Any:
    """vLLM's own."""
    return engine.llm.llm_engine.model_executor.driver_worker.worker.model_runner


def test_each_sync_brings_the_trainers_adapters(engine: Any, trainer: Any) -> None:
    """And leaves the trainer's as they are: vLLM multiplies what it loads by alpha / rank in place."""
    before = gap(engine, trainer)
    for _ in range(2):
        sent = {name: tensor.clone() for name, tensor in trainer.adapters()}
        receipt = engine.load(trainer.adapters())
        assert gap(engine, trainer) < 1e-5 < 1e-2 < before
        assert all(torch.equal(sent[name], tensor) for name, tensor in trainer.adapters())
        adapters = sum(tensor.numel() for tensor in sent.values())
        assert receipt.compared > adapters and not receipt.untold and not receipt.partial
        shake(trainer)
        before = gap(engine, trainer)


def test_what_is_sampled_is_sampled_with_the_adapters(engine: Any, trainer: Any) -> None:
    engine.load(trainer.adapters())
    prompt = np.arange(4, 90).tolist() * 2  # long enough for a cached prefix
    request = [type(REQUESTS[0])(key=0, tokens=prompt, samples=1, seed=5), *REQUESTS[1:]]
    old = dict(engine.generate(request, SAMPLED))
    shake(trainer)
    engine.load(trainer.adapters())
    for key, completions in engine.generate(request, SAMPLED):
        tokens = request[key].tokens
        sequences = [np.array([*tokens, *c.tokens], np.int32) for c in completions]
        theirs, _, _ = trainer.score(sequences, [np.arange(len(s)) >= len(tokens) for s in sequences])
        ours = np.concatenate([c.logprobs for c in completions])
        assert np.abs(ours - theirs.numpy()).mean() < 1e-5
        pairs = zip(old[key], completions, strict=True)
        assert any(abs(a.logprobs[0] - b.logprobs[0]) > 1e-3 for a, b in pairs)


def test_a_number_that_is_off_by_its_last_bit_is_noticed(
    engine: Any, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an adapter that vLLM holds, and in the start model, which nothing is sent for."""
    worker = engine.llm.llm_engine.model_executor.driver_worker.worker
    add = worker.add_lora

    def spoiled(request: Any) -> Any:
        done = add(request)
        layers = held(engine).lora_manager._adapter_manager.modules
        layers["model.layers.1.mlp.down_proj"].lora_b_stacked[0].view(torch.int32)[0, 0, 3, 2] ^= 1
        return done

    monkeypatch.setattr(worker, "add_lora", spoiled)
    with pytest.raises(SyncError, match=r"sent in the adapter of model\.layers\.1\.mlp\.down_proj"):
        engine.load(trainer.adapters())
    monkeypatch.undo()
    norm = held(engine).get_model().model.norm.weight
    with torch.no_grad():
        norm.view(torch.int32)[7] ^= 1
    with pytest.raises(SyncError, match=r"model\.norm\.weight of the start model"):
        engine.load(trainer.adapters())
    with torch.no_grad():
        norm.view(torch.int32)[7] ^= 1
    engine.load(trainer.adapters())


def test_adapters_that_are_missing_or_find_no_place_end_the_run(engine: Any, trainer: Any) -> None:
    engine.load(trainer.adapters())
    with pytest.raises(SyncError, match=r"2 weights missing .*layers\.0\.mlp\.up_proj"):
        engine.load((n, t) for n, t in trainer.adapters() if "layers.0.mlp.up_proj" not in n)
    with pytest.raises(SyncError, match=r"no place for the adapters of model\.layers\.7\.mlp\.up_proj"):
        engine._names = Names()
        engine.load((n.replace("layers.1.mlp.up", "layers.7.mlp.up"), t) for n, t in trainer.adapters())
    with pytest.raises(UserError, match=r"rollout\.lora=adapter: vLLM does not take these adapters"):
        engine.load((n.replace("down_proj", "router"), t) for n, t in trainer.adapters())
    engine._names = Names()
    engine.load(trainer.adapters())


@pytest.mark.long
def test_two_ranks_with_one_engine_are_sent_adapters(tiny_path: Path, tmp_path: Path) -> None:
    """Alone or merged, it is the same model, and the same as one rank's."""
    found = run_entries("tensor_parallel_entries.py", 2, tiny_path, tmp_path, "adapter", "merged")
    for way in ("adapter", "merged"):
        for rank in found[way]:
            assert rank["gap"] < 1e-5 and rank["untold"] == []
            assert "have not sampled the same" in rank["apart"]
    for key, wanted in found["merged"][0]["samples"].items():
        for (tokens, logprobs, _), (others, theirs, _) in zip(
            wanted, found["adapter"][1]["samples"][key], strict=True
        ):
            assert tokens == others and logprobs == pytest.approx(theirs, abs=1e-4)
