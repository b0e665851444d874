"""`rlvr plan` with servers: their GPUs are not the ranks', on CPUs their memory is all ranks'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plans import PLAIN, changed, line, with_parts

from rlvr_cli.planning.gpus import GIB, GPUS, cpu
from rlvr_cli.planning.memory import BASE, memory_of
from rlvr_cli.planning.speed import times_of
from rlvr_cli.schema import Placement, RolloutLora, Servers, Transfer
from rlvr_cli.schema.placement import BUCKET


def test_on_gpus_a_rank_holds_nothing_of_the_engine() -> None:
    inside = PLAIN()
    beside = changed(inside, "rollout", placement=Placement.servers, servers=Servers(count=2))
    there, elsewhere = memory_of(inside), memory_of(beside)
    assert any(item.name.startswith("vLLM") for item in there.items)
    assert not any(item.name.startswith("vLLM") for item in elsewhere.items)
    assert elsewhere.cache_tokens == there.cache_tokens  # a GPU as large, and the same share of it
    kept = next(item for item in elsewhere.items if item.name == "weights kept for servers")
    assert kept.host and kept.phases["rollout"] == 2 * inside.plain.parameters


def test_what_weights_take_on_each_way_to_servers() -> None:
    inside = changed(PLAIN(), "rollout", placement=Placement.servers)

    def lines(trained: int = 0, **servers: Any) -> dict[str, float]:
        lora = RolloutLora.adapter if trained else RolloutLora.merged
        job = changed(inside, "rollout", servers=Servers(**servers), lora=lora)
        items = memory_of(
            with_parts(job, policy=replace(job.policy, trained=trained)) if trained else job
        ).items
        names = ("weights on their way", "weights kept for servers", "buckets on their way")
        return {item.name: max(item.phases.values()) for item in items if item.name in names}

    whole, largest = 2.0 * inside.plain.parameters, 2 * inside.plain.largest
    buckets = {"buckets on their way": BUCKET + largest}
    assert largest > BUCKET
    assert lines() == lines(transfer=Transfer.broadcast) == {"weights kept for servers": whole} | buckets
    assert lines(restarts=0) == buckets
    assert lines(transfer=Transfer.memory) == {"weights on their way": whole}
    alone = 2 * 20_000_000.0
    assert lines(20_000_000) == {"weights kept for servers": alone, "buckets on their way": BUCKET}
    assert lines(20_000_000, transfer=Transfer.memory) == {"weights on their way": alone}


def test_a_broadcast_spares_the_way_through_the_host() -> None:
    inside = changed(PLAIN(), "rollout", placement=Placement.servers)

    def seconds(**servers: Any) -> float:
        return (times_of(changed(inside, "rollout", servers=Servers(**servers))) or {})["sync"]

    sent = 2 * inside.plain.parameters
    memory, kept = seconds(transfer=Transfer.memory), seconds()
    assert memory - kept == pytest.approx(sent / 20e9 - sent / 300e9)
    assert kept - seconds(restarts=0) == pytest.approx(sent / 20e9)
    assert seconds(count=3) - kept == pytest.approx(2 * sent / 300e9), "one after the other"
    two = seconds(urls=["http://a:1", "http://b:1"])
    assert two - kept == pytest.approx(2 * sent / 25e9 - sent / 300e9)


def test_more_servers_sample_faster() -> None:
    inside = PLAIN()
    seconds = [
        (times_of(changed(inside, "rollout", placement=Placement.servers, servers=Servers(count=n))) or {})[
            "rollout"
        ]
        for n in (1, 2, 8)
    ]
    assert seconds[0] > seconds[1] > seconds[2]
    assert seconds[2] == (times_of(inside) or {})["rollout"]  # 8 ranks with an engine each


def test_a_model_too_large_for_a_server_is_told() -> None:
    small = replace(PLAIN(), device=GPUS["l4"])
    beside = changed(small, "rollout", placement=Placement.servers, gpu_memory_utilization=0.3)
    assert any(each.startswith("a server: vLLM: rollout.gpu") for each in memory_of(beside).problems)


def test_on_cpus_servers_share_the_memory_of_the_ranks() -> None:
    inside = replace(PLAIN(), device=cpu(), ranks=2)
    beside = memory_of(changed(inside, "rollout", placement=Placement.servers, servers=Servers(count=4)))
    assert line(beside, "servers: KV cache") == 4 / 2 * inside.rl.rollout.kv_cache_gb * GIB
    assert line(beside, "servers: libraries") == 4 / 2 * BASE["server"]
    assert line(beside, "libraries") == BASE["rl"]
    urls = memory_of(
        changed(inside, "rollout", placement=Placement.servers, servers=Servers(urls=["http://a:1"]))
    )
    assert not any(item.name.startswith("servers") for item in urls.items)
