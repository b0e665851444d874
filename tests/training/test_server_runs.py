"""Whole runs whose samples come from servers: long, as every server takes half a minute to start."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_helpers import RECIPE, comparable, rlvr, rollout_server, steps_of

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Request, Sampling, make_engine
from rlvr_cli.schema import Placement, Precision, Servers

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
DAPO = (
    RECIPE.replace("algorithm: grpo", "algorithm: dapo")
    .replace("rollout: hf", "rollout: vllm")
    .replace("algorithm: {kl: {coef: 0.05}, reference: {}}\n", "")
    .replace("max_tokens: 12}", "max_tokens: 12, kv_cache_gb: 0.25}")
    .replace("steps: 3", "steps: 5")
    + "preflight: {enabled: false}\ncheckpoint: {every: 1}\n"
)
BESIDE = ["rollout.placement=servers"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "beside.yaml"
    path.write_text(DAPO)
    return path


@pytest.fixture(scope="module")
def inside(recipe: Path) -> list[dict[str, float]]:
    """The rows of a run with its engine in the process."""
    return run(recipe, recipe.parent / "inside")


def run(recipe: Path, out: Path, *overrides: str) -> list[dict[str, float]]:
    done = rlvr("dapo", str(recipe), f"out={out}", *overrides, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return steps_of(out)


def same(rows: list[dict[str, float]], wanted: list[dict[str, float]]) -> None:
    """Tokens are the same, and sums of their logprobs up to rounding: batches differ."""
    assert len(rows) == len(wanted)
    for row, other in zip(map(comparable, rows), map(comparable, wanted), strict=True):
        for key in other:
            if key.startswith("actor/") or key == "response_length/end_probability":
                assert row[key] == pytest.approx(other[key], rel=1e-3, abs=1e-5), key
            elif key.startswith(("reward/", "response_length/", "group/")):
                assert row[key] == other[key], key
        assert row["mismatch/mean_abs"] < 1e-5


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_learns_the_same_from_servers(
    count: int, recipe: Path, inside: list[dict[str, float]], tmp_path: Path
) -> None:
    """Also where weights are broadcast: to the bit what comes of those that go through memory."""
    more = [*BESIDE, f"rollout.servers.count={count}"]
    same(run(recipe, tmp_path / "run", *more), inside)
    assert (tmp_path / "run" / "logs" / f"server{count - 1}.log").is_file()
    same(run(recipe, tmp_path / "sent", *more, "rollout.servers.transfer=broadcast"), inside)
    one, other = (tmp_path / name / "final" / "model.safetensors" for name in ("run", "sent"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("transfer", ["memory", "broadcast"])
def test_a_run_learns_the_same_where_servers_are_sent_adapters(
    transfer: str, recipe: Path, tmp_path: Path
) -> None:
    """As where they have whole weights, with the adapters in them, up to rounding."""
    lora = ["model.lora.rank=4", "trainer.lr=1e-2", *BESIDE, f"rollout.servers.transfer={transfer}"]
    merged = run(recipe, tmp_path / "merged", *lora)
    rows = run(recipe, tmp_path / "adapter", *lora, "rollout.lora=adapter")
    same(rows, merged)
    assert all(row["sync/verified"] == 1 for row in rows)


@pytest.mark.parametrize("transfer", ["memory", "broadcast"])
def test_two_ranks_sample_through_one_server(
    transfer: str, recipe: Path, inside: list[dict[str, float]], tmp_path: Path
) -> None:
    more = [*BESIDE, f"rollout.servers.transfer={transfer}"]
    rows = run(recipe, tmp_path / "run", *more, "trainer.ranks=2", "trainer.zero_stage=3")
    assert [row["reward/mean"] for row in rows[:1]] == [inside[0]["reward/mean"]]
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)


@pytest.mark.parametrize("on_update", ["recompute", "keep"])
def test_servers_sample_while_the_trainer_works(on_update: str, recipe: Path, tmp_path: Path) -> None:
    ahead = ["rollout.max_staleness=1", "rollout.overlap=beside", "algorithm/mismatch=truncate"]
    rows = run(recipe, tmp_path / "run", *BESIDE, *ahead, f"rollout.on_update={on_update}")
    assert len(rows) == 5 and max(row["staleness/max"] for row in rows) <= 1


def test_a_server_elsewhere_serves_a_run_that_is_killed_and_goes_on(
    recipe: Path, inside: list[dict[str, float]], tmp_path: Path
) -> None:
    """The second start finds a server with the weights of the first, and gives it the start model again."""
    with rollout_server(recipe) as url:
        out = tmp_path / "run"
        more = [*BESIDE, f'rollout.servers.urls=["{url}"]', "rollout.servers.transfer=broadcast"]
        words = [sys.executable, "-m", "rlvr_cli", "dapo", str(recipe), f"out={out}", *more]
        first = subprocess.Popen(words, start_new_session=True)
        while not (out / "metrics.jsonl").is_file() or len(steps_of(out)) < 2:
            assert first.poll() is None
            time.sleep(0.1)
        first.kill()
        first.wait()
        time.sleep(2)
        same(run(recipe, out, *more), inside)
        refused = rlvr("dapo", str(recipe), f"out={tmp_path / 'other'}", *more, "rollout.max_tokens=40")
        assert refused.returncode == 2 and "has room for 28 tokens" in refused.stderr


def test_a_hundred_syncs_and_five_deaths(tiny_path: Path, tmp_path: Path) -> None:
    """The engine is the trainer's after each, and no group is lost, doubled or changed by a death."""
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    rng, torch_rng = random.Random(3), torch.Generator().manual_seed(3)
    engine: Any = make_engine(
        schema.Rollout(
            kv_cache_gb=0.25, placement=Placement.servers, servers=Servers(count=2, threads=1, restarts=5)
        ),
        path=str(tiny_path),
        tokenizer=load_tokenizer(schema.Model(path=str(tiny_path))),
        eos=[1],
        seed=0,
        precision=Precision.fp32,
        max_model_len=256,
        out=tmp_path,
        event=lambda kind, text: print(text),
    )
    probe = np.random.default_rng(0).integers(4, 100, size=48).tolist()
    requests = [Request(key=i, tokens=[10 + i, 20], samples=4, seed=1000 * i) for i in range(32)]
    long = Sampling(temperature=1.0, top_p=1.0, max_tokens=200)
    deadly = sorted(rng.sample(range(100), 5))
    try:
        for number in range(100):
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.add_(0.002 * torch.randn(parameter.shape, generator=torch_rng))
            engine.load(net.named_parameters(), version=number + 1)
            with torch.no_grad():
                logits = net(torch.tensor([probe])).logits[0, :-1].log_softmax(-1)
            theirs = logits.gather(1, torch.tensor(probe)[1:, None])[:, 0].numpy()
            assert np.abs(np.asarray(engine.probe(probe)) - theirs).mean() < 1e-5, number
            if number in deadly:
                whole = {key: [c.tokens.tolist() for c in g] for key, g in engine.generate(requests, long)}
                victim = rng.choice(engine._fleet.replicas).process.pid
                threading.Timer(
                    rng.uniform(0.0, 0.3), lambda pid=victim: os.kill(pid, signal.SIGKILL)
                ).start()
                pairs = list(engine.generate(requests, long))
                assert len(pairs) == len(requests)
                assert {key: [c.tokens.tolist() for c in g] for key, g in pairs} == whole, number
                time.sleep(0.5)
        assert engine.measures()["rollout/server_restarts"] == 5
    finally:
        engine.close()
