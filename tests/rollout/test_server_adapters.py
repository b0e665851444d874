"""Real vLLM servers that are sent adapters alone, against the trainer; tiny model, fp32."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from adapter_trainer import adapter_trainer
from safetensors.torch import load_file, save_file
from server_processes import child_of
from tensor_parallel_entries import REQUESTS, SAMPLED, gap, shake

from rlvr_cli.compose.engines import LARGEST_ADAPTER
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import SyncError, adapters
from rlvr_cli.rollout.engine import Names
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers.likeness import demand_likeness
from rlvr_cli.rollout.servers.start_weights import digest
from rlvr_cli.rollout.vllm_arguments import ADAPTER_RANKS, adapter_arguments
from rlvr_cli.sampling.start_model import start_engine
from rlvr_cli.schema import Lora, Model, Placement, Precision, Rollout, RolloutLora, Servers, Transfer

pytestmark = pytest.mark.slow
LORA = Lora(rank=4, alpha=12.0)
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model(path=str(tiny_path), lora=LORA)


@pytest.fixture(scope="module")
def trainer(model: Model) -> Iterator[Any]:
    with adapter_trainer(model) as made:
        yield made


@pytest.fixture(scope="module")
def start(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Servers with these settings, which tell a list of deaths and returns."""

    def started(told: list[str], tensor_parallel: int = 1, **settings: Any) -> Any:
        rollout = Rollout(
            kv_cache_gb=0.25,
            lora=RolloutLora.adapter,
            placement=Placement.servers,
            tensor_parallel=tensor_parallel,
            servers=Servers(threads=1, **settings),
        )
        out, tokenizer = tmp_path_factory.mktemp("run"), load_tokenizer(model)
        event = lambda kind, text: told.append(text)  # noqa: E731
        return start_engine(rollout, model, tokenizer, 0, Precision.fp32, 256, out, event)

    return started


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def engine(start: Start, trainer: Any, told: list[str]) -> Iterator[Any]:
    made = start(told, restarts=1, transfer=Transfer.memory)
    assert gap(made, trainer) < 1e-5, "the start model's adapters are 0"
    shake(trainer)
    yield made
    made.close()


def test_each_sync_brings_the_adapters_alone(engine: Any, trainer: Any, told: list[str]) -> None:
    before = gap(engine, trainer)
    for version in (1, 2):
        receipt = engine.load(trainer.adapters(), version=version)
        assert gap(engine, trainer) < 1e-5 < 1e-2 < before
        sent = sum(tensor.numel() for _, tensor in trainer.adapters())
        assert receipt.compared > sent and receipt.verified == 1
        if version == 1:
            assert told == ["adapters go to servers through host memory (rollout.servers.transfer=memory)"]
        seals = [name for parcel in engine._fleet.cargo.parcels for name in parcel.seals]
        assert sorted(seals) == sorted(name for name, _ in trainer.adapters())
        shake(trainer)
        before = gap(engine, trainer)


def test_what_is_sampled_is_sampled_with_the_adapters(engine: Any, trainer: Any) -> None:
    """Also where a server has a long prompt's keys and values of the adapters before."""
    engine.load(trainer.adapters(), version=3)
    prompt = np.arange(4, 90).tolist() * 2
    request = [type(REQUESTS[0])(key=0, tokens=prompt, samples=1, seed=5), *REQUESTS[1:]]
    list(engine.generate(request, SAMPLED))
    shake(trainer)
    engine.load(trainer.adapters(), version=4)
    assert close(engine, trainer, request)


def close(engine: Any, trainer: Any, requests: list[Any]) -> bool:
    """Whether all comes, with the trainer's logprobs."""
    found = dict(engine.generate(requests, SAMPLED))
    assert sorted(found) == [request.key for request in requests]
    for request in requests:
        sequences = [np.array([*request.tokens, *c.tokens], np.int32) for c in found[request.key]]
        responses = [np.arange(len(each)) >= len(request.tokens) for each in sequences]
        theirs, _, _ = trainer.score(sequences, responses)
        ours = np.concatenate([c.logprobs for c in found[request.key]])
        assert np.abs(ours - theirs.numpy()).mean() < 1e-5
    return True


def test_adapters_that_find_no_place_end_the_run(engine: Any, trainer: Any) -> None:
    engine.load(trainer.adapters(), version=5)
    with pytest.raises(SyncError, match=r"no place for the adapters of model\.layers\.7\.mlp\.up_proj"):
        engine._names = Names()
        engine.load((n.replace("layers.1.mlp.up", "layers.7.mlp.up"), t) for n, t in trainer.adapters())
    with pytest.raises(SyncError, match=r"vLLM does not take these adapters; set rollout\.lora=merged"):
        engine._names = Names()
        engine.load((n.replace("down_proj", "router"), t) for n, t in trainer.adapters())
    engine._names = Names()
    engine.load(trainer.adapters(), version=6)
    assert gap(engine, trainer) < 1e-5


@pytest.mark.long
def test_a_killed_server_is_back_with_the_current_adapters(
    engine: Any, trainer: Any, told: list[str]
) -> None:
    engine.load(trainer.adapters(), version=7)
    victim = child_of(engine._fleet.replicas[0].process.pid)
    threading.Timer(0.1, lambda: os.kill(victim, signal.SIGKILL)).start()
    assert close(engine, trainer, REQUESTS)
    assert gap(engine, trainer) < 1e-5
    assert engine.measures()["rollout/server_restarts"] == 1
    assert "back with the current weights" in told[-1]


@pytest.mark.long
@pytest.mark.parametrize("transfer", [Transfer.memory, Transfer.broadcast])
def test_the_workers_of_a_server_have_a_part_of_each_adapter(
    transfer: Transfer, start: Start, trainer: Any
) -> None:
    made = start([], tensor_parallel=2, transfer=transfer, start_s=1200)
    try:
        shake(trainer)
        receipt = made.load(trainer.adapters(), version=1)
        assert receipt.verified == 1 and gap(made, trainer) < 1e-5
    finally:
        made.close()


def test_a_server_that_takes_other_adapters_is_refused() -> None:
    """Its engine has room for those that it was started for."""
    said = {"arguments": adapter_arguments(LORA) | {"max_model_len": 10, "skip_tokenizer_init": True}}
    wanted = {"max_model_len": 10, "skip_tokenizer_init": True}
    demand_likeness(wanted | adapter_arguments(Lora(rank=6)), said, "it")
    for lora, why in (
        (None, r"enable_lora=True, and this recipe needs None \(rollout\.lora\)"),
        (Lora(rank=9), r"max_lora_rank=8, and this recipe needs 16 \(model\.lora\.rank\)"),
        (Lora(rank=4, targets="q_proj"), r"lora_target_modules=None, .* \(model\.lora\.targets\)"),
    ):
        with pytest.raises(UserError, match=why):
            demand_likeness(wanted | adapter_arguments(lora), said, "it")


def test_a_server_with_another_start_model_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    """One number of it suffices where it lies at an end of its tensor; files may be cut otherwise."""
    said = {
        "arguments": {"max_model_len": 10, "skip_tokenizer_init": True},
        "start": digest(str(tiny_path), None),
    }
    copy = shutil.copytree(tiny_path, tmp_path / "copy")
    demand_likeness(said["arguments"], said, "it", start=digest(str(copy), None))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][-1] += 1e-3
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(UserError, match=r"another model than model\.path"):
        demand_likeness(said["arguments"], said, "it", start=digest(str(copy), None))


def test_where_memory_is_full_adapters_go_by_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left in either."""
    folders: list[Path] = []

    def full(folder: Path, *arguments: Any) -> None:
        folders.append(folder)
        if len(folders) == 1:
            raise RuntimeError("no space left on device")

    monkeypatch.setattr(adapters, "write", full)
    monkeypatch.setattr(adapters, "compare", lambda *arguments: None)
    added: list[str] = []
    worker = SimpleNamespace(
        add_lora=lambda request: added.append(request.lora_path),
        model_runner=SimpleNamespace(lora_manager=None),
        get_model=torch.nn.Module,
    )
    adapters.put(worker, {"a": torch.zeros(2)}, LORA, adapters.Kept(torch.nn.Module()), Receipt())
    assert added == [str(folders[1])] and folders[0] != folders[1]
    assert not any(folder.exists() for folder in folders)


def test_ranks_that_vllm_has_room_for() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == ADAPTER_RANKS and ADAPTER_RANKS[-1] == LARGEST_ADAPTER
    assert adapter_arguments(None) == {} and adapter_arguments(Lora(rank=65))["max_lora_rank"] == 128
