"""One real vLLM server against the engine in the process and the trainer, on the tiny model in fp32."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from server_processes import child_of, descendants

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Request, Sampling, make_engine
from rlvr_cli.rollout.servers import update
from rlvr_cli.rollout.servers.buckets import buckets
from rlvr_cli.schema import OnUpdate, Overlap, Placement, Precision, Servers, Transfer
from rlvr_cli.training.beside import Beside

pytestmark = pytest.mark.slow
PROBE = np.random.default_rng(0).integers(4, 100, size=48).tolist()
REQUESTS = [Request(key=i, tokens=[10 + i, 20, 30], samples=4, seed=1000 * i) for i in range(6)]
SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
LONG = Sampling(temperature=1.0, top_p=1.0, max_tokens=200)


def engine_on(path: Path, **rollout: Any) -> Any:
    more = {"out": rollout.pop("out"), "event": rollout.pop("event")} if "out" in rollout else {}
    return make_engine(
        schema.Rollout(kv_cache_gb=0.25, **rollout),
        path=str(path),
        tokenizer=load_tokenizer(schema.Model(path=str(path))),
        eos=[1],
        seed=0,
        precision=Precision.fp32,
        max_model_len=256,
        **more,
    )


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def servers(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> Iterator[Any]:
    engine = engine_on(
        tiny_path,
        placement=Placement.servers,
        servers=Servers(threads=1, restarts=1, transfer=Transfer.broadcast),
        max_staleness=1,  # so that versions are there to be looked at
        out=tmp_path_factory.mktemp("run"),
        event=lambda kind, text: told.append(text),
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def inside(tiny_path: Path) -> Iterator[Any]:
    """Of a run whose requests go on across updates."""
    ahead = {"max_staleness": 1, "overlap": Overlap.beside, "on_update": OnUpdate.keep, "sleep": False}
    engine = engine_on(tiny_path, **ahead)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def start_net(tiny_path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    made: Any = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    return made.eval()


@pytest.fixture(scope="module")
def net(tiny_path: Path) -> Any:
    """The model as a trainer has it after some steps."""
    from transformers import AutoModelForCausalLM

    made: Any = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def sampled(engine: Any, sampling: Sampling = SAMPLED, **more: Any) -> dict[int, Any]:
    return dict(engine.generate(REQUESTS, sampling, **more))


def tokens(found: dict[int, Any]) -> dict[int, list[list[int]]]:
    return {key: [c.tokens.tolist() for c in group] for key, group in found.items()}


@torch.no_grad()
def of_net(net: Any, prompt: list[int], response: list[int]) -> np.ndarray:
    logits = net(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return np.asarray(logits.gather(1, torch.tensor(response)[:, None])[:, 0])


def test_a_server_samples_the_tokens_of_an_engine_in_the_process(servers: Any, inside: Any) -> None:
    here, there = sampled(inside), sampled(servers)
    assert tokens(here) == tokens(there)
    for key, group in here.items():
        for ours, theirs in zip(group, there[key], strict=True):
            assert np.abs(ours.logprobs - theirs.logprobs).max() < 1e-5
            assert (ours.text, ours.finished) == (theirs.text, theirs.finished)
    assert np.allclose(inside.probe(PROBE), servers.probe(PROBE), atol=1e-5)


@pytest.mark.parametrize("backend", [None, "gloo"])
def test_new_weights_arrive_bit_by_bit_and_stamp_what_they_sample(
    backend: str | None,
    servers: Any,
    net: Any,
    start_net: Any,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
) -> None:
    """By files in memory, and through a process group."""
    assert servers._fleet.backend == "gloo" and servers._fleet.replicas[0].channel is not None
    servers.load(start_net.named_parameters(), version=2)
    assert (
        told[0]
        == "weights are broadcast to servers by gloo, between CPUs (rollout.servers.transfer=broadcast)"
    )
    monkeypatch.setattr(servers._fleet, "backend", backend)
    receipt = servers.load(net.named_parameters(), version=3)
    assert receipt.compared + receipt.sampled >= 0.99 * sum(p.numel() for p in net.parameters())
    assert np.abs(np.asarray(servers.probe(PROBE)) - of_net(net, PROBE[:1], PROBE[1:])).mean() < 1e-5
    found = sampled(servers)
    for request in REQUESTS:
        for completion in found[request.key]:
            theirs = of_net(net, request.tokens, completion.tokens.tolist())
            assert np.abs(completion.logprobs - theirs).max() < 1e-4
            assert completion.versions.tolist() == [3] * len(completion.tokens)


def test_what_is_ended_early_goes_on_from_where_it_was(servers: Any) -> None:
    begun = sampled(servers, LONG, enough=after(0.05))
    parts = [c for group in begun.values() for c in group if c.partial]
    assert parts and sorted(begun) == [r.key for r in REQUESTS]
    again = [
        Request(key=r.key, tokens=r.tokens, samples=4, seed=r.seed, begun=begun[r.key]) for r in REQUESTS
    ]
    for key, group in servers.generate(again, LONG):
        for whole, part in zip(group, begun[key], strict=True):
            assert whole.tokens[: len(part.tokens)].tolist() == part.tokens.tolist()
            assert not whole.partial and len(whole.versions) == len(whole.tokens) == len(whole.logprobs)
            assert whole.finished or len(whole.tokens) == LONG.max_tokens


def after(seconds: float) -> Any:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def test_who_takes_only_a_part_leaves_nothing_running(servers: Any) -> None:
    first = next(iter(servers.generate(REQUESTS, LONG)))
    began = time.monotonic()
    again = dict(servers.generate(REQUESTS[:1], Sampling(temperature=1.0, top_p=1.0, max_tokens=1)))
    assert first[0] in range(6) and len(again) == 1 and time.monotonic() - began < 2
    assert all((r.tokens, r.samples) == (0, 0) for r in servers._fleet.replicas)


def test_what_vllm_does_not_take_is_told_in_its_words(servers: Any) -> None:
    long = [Request(key=0, tokens=[5] * 300, samples=2, seed=0)]
    with pytest.raises(RuntimeError, match=r"/rlvr/samples answers HTTP 400: .*300"):
        dict(servers.generate(long, SAMPLED))


@pytest.mark.parametrize("where", ["inside", "servers"])
def test_what_keeps_its_keys_and_values_is_no_policys_and_what_is_recomputed_is_exact(
    where: str, request: pytest.FixtureRequest, net: Any, start_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights come while a thread samples; one of its prompts is asked for again under the new ones."""
    engine = request.getfixturevalue(where)
    calls = 20  # an engine in the process asks after each token, servers are asked every 20 ms
    if where == "servers":
        calls = 3
        monkeypatch.setattr(engine._fleet, "keeps", True)
    engine.load(start_net.named_parameters(), version=5)
    beside = Beside(engine)
    beside.start(REQUESTS, LONG)
    while beside.steps < calls:
        time.sleep(0.001)
    engine.load(net.named_parameters(), version=6)
    assert np.abs(np.asarray(engine.probe(PROBE)) - of_net(net, PROBE[:1], PROBE[1:])).mean() < 1e-5
    late = Request(key=9, tokens=REQUESTS[0].tokens, samples=2, seed=1)
    beside.start([late], LONG)
    arrived = dict(beside.end(finish=True))
    assert worst(arrived[9], late, net, version=6) < 1e-4, "its prompt has keys of older weights"
    assert not any(c.partial for group in arrived.values() for c in group)
    assert max(worst(arrived[r.key], r, start_net, version=5) for r in REQUESTS) < 1e-4
    assert max(worst(arrived[r.key], r, net, version=6) for r in REQUESTS) > 0.1

    engine.load(start_net.named_parameters(), version=7)
    begun = sampled(engine, LONG, enough=after_calls(calls))
    engine.load(net.named_parameters(), version=8)
    again = {
        r.key: Request(key=r.key, tokens=r.tokens, samples=4, seed=r.seed, begun=begun[r.key])
        for r in REQUESTS
    }
    for key, group in engine.generate([*again.values()], LONG):
        assert worst(group, again[key], start_net, version=7) < 1e-4
        assert worst(group, again[key], net, version=8) < 1e-4
    assert any(c.partial for group in begun.values() for c in group)


def worst(group: list[Any], request: Request, net: Any, version: int) -> float:
    """The largest gap to a model's logprobs among the tokens of a version."""
    gap = 0.0
    for completion in group:
        theirs = of_net(net, request.tokens, completion.tokens.tolist())
        of_it = completion.versions == version
        gap = max(gap, float(np.max(np.abs(completion.logprobs - theirs), initial=0.0, where=of_it)))
    return gap


def after_calls(count: int) -> Any:
    """Yes from this call on."""
    asked = itertools.count()
    return lambda: next(asked) >= count


@pytest.mark.long
def test_a_killed_server_is_back_with_the_current_weights(servers: Any, net: Any, told: list[str]) -> None:
    """Killed while it samples: the same groups come with the same tokens, once each."""
    servers.load(net.named_parameters(), version=3)  # whether other tests have come before or not
    undisturbed = tokens(sampled(servers, LONG))
    victim = child_of(servers._fleet.replicas[0].process.pid)
    threading.Timer(0.1, lambda: os.kill(victim, signal.SIGKILL)).start()
    pairs = list(servers.generate(REQUESTS, LONG))
    assert len(pairs) == len(REQUESTS) and tokens(dict(pairs)) == undisturbed
    assert servers.measures()["rollout/server_restarts"] == 1
    assert servers.measures()["rollout/samples_sent_again"] > 0
    assert "killed by SIGKILL; started again" in told[-2] and "back with the current weights" in told[-1]
    assert np.abs(np.asarray(servers.probe(PROBE)) - of_net(net, PROBE[:1], PROBE[1:])).mean() < 1e-5


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_server_that_dies_in_the_middle_of_a_broadcast_holds_nobody_up(
    tiny_path: Path, tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two is killed, and then hangs, when it has half of the weights. The other has all at once, the
    replacement the same ones, and the next broadcast goes to both."""
    monkeypatch.setattr(update, "buckets", lambda weights, device: buckets(weights, device, most=2**16))
    broadcast = Servers(count=2, threads=1, timeout_s=60, start_s=1200, transfer=Transfer.broadcast)
    told: list[str] = []
    engine = engine_on(
        tiny_path,
        placement=Placement.servers,
        servers=broadcast,
        out=tmp_path,
        event=lambda kind, text: told.append(text),
    )
    weights = [*net.named_parameters()]

    def sent(how: signal.Signals) -> Iterator[Any]:
        victim = child_of(engine._fleet.replicas[1].process.pid)
        for number, item in enumerate(weights):
            if number == len(weights) // 2:
                for each in [victim, *descendants(victim)] if how is signal.SIGSTOP else [victim]:
                    os.kill(each, how)
            yield item

    try:
        for deaths, how in enumerate((signal.SIGKILL, signal.SIGSTOP), start=1):
            engine.load(sent(how), version=2 * deaths)
            assert engine.measures()["rollout/server_restarts"] == deaths
            assert np.abs(np.asarray(engine.probe(PROBE)) - of_net(net, PROBE[:1], PROBE[1:])).mean() < 1e-5
            assert "back with the current weights" in told[-1]
            receipt = engine.load(iter(weights), version=2 * deaths + 1)
            assert receipt.compared + receipt.sampled >= 0.99 * sum(p.numel() for p in net.parameters())
            assert all(replica.channel is not None for replica in engine._fleet.replicas)
            assert engine.measures()["rollout/server_restarts"] == deaths
    finally:
        engine.close()


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_each_worker_of_a_server_is_broadcast_to_and_takes_its_part(
    tiny_path: Path, tmp_path: Path, net: Any
) -> None:
    engine = engine_on(
        tiny_path,
        placement=Placement.servers,
        tensor_parallel=2,
        servers=Servers(threads=1, timeout_s=300, start_s=1200, transfer=Transfer.broadcast),
        out=tmp_path,
        event=lambda kind, text: None,
    )
    try:
        receipt = engine.load(net.named_parameters(), version=1)
        assert receipt.verified == 1 and receipt.compared + receipt.sampled > 0
        assert np.abs(np.asarray(engine.probe(PROBE)) - of_net(net, PROBE[:1], PROBE[1:])).mean() < 1e-5
    finally:
        engine.close()
