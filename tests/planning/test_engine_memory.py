"""Engines on several ranks, and those that are sent adapters: memory and time by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import PLAIN, PUBLISHED, SHORT, changed, line

from rlvr_cli.planning.advice import advise
from rlvr_cli.planning.gpus import GIB, GPUS
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.speed import SUM_S, summed, times_of
from rlvr_cli.schema import Lora, RolloutLora

COUNT = PUBLISHED["Qwen/Qwen2.5-7B"]


def test_an_engine_on_four_ranks_has_a_quarter_of_the_model_on_each() -> None:
    """7.6B weights; 28 layers with 4 key-value heads of 128, of which each rank has one."""
    whole = changed(PLAIN(), "rollout", gpu_memory_utilization=0.5, max_num_seqs=256)
    split = changed(whole, "rollout", tensor_parallel=4)
    memory = memory_of(split)
    assert line(memory, "vLLM: weights", "sync") == 2 * COUNT / 4
    one_pass = 16_384 * 2 * 4 * (18944 + 3584)
    free = 0.5 * GPUS["h100"].memory - 2 * COUNT / 4 - GIB - one_pass
    assert memory.cache_tokens == pytest.approx(free / (28 * 1 * 2 * 128 * 2))
    assert memory.total("update") == memory_of(whole).total("update")
    few = changed(split, "rollout", max_num_seqs=None)
    assert few.decoded == min(1024, 4 * few.sequences)


def test_an_engine_that_cannot_be_split_so_is_a_problem() -> None:
    eighth = changed(PLAIN(), "rollout", tensor_parallel=8)
    heads = memory_of(eighth)
    assert not heads.fits and "has 28 attention heads, which cannot be cut so" in heads.problems[0]
    assert any("rollout.tensor_parallel=1" in advice.settings for advice in advise(eighth))
    odd = memory_of(replace(changed(PLAIN(), "rollout", tensor_parallel=4), ranks=6))
    assert "there are 6 ranks, no multiple of it" in odd.problems[0]


def test_the_parts_of_a_layer_are_added_up_in_each_decoding_step() -> None:
    """Two sums a layer of `rows` hidden states: each rank sends 2·3/4 of them, none quicker than SUM_S."""
    split = changed(PLAIN(), "rollout", tensor_parallel=4)
    sent = 2 * 3 / 4 * 100 * 3584 * 2
    assert summed(split, 100) == pytest.approx(2 * 28 * (sent / GPUS["h100"].link + SUM_S))
    assert summed(PLAIN(), 100) == 0.0
    before, after = times_of(PLAIN()), times_of(split)
    assert before is not None and after is not None
    assert 0.2 < after["rollout"] / before["rollout"] < 2 and after["update"] == before["update"]


def test_adapters_alone_are_small_and_keep_the_start_model_in_the_hosts_memory() -> None:
    """They are sent in the place of all weights; while the engine sleeps, what is not sent again is kept."""
    lora = changed(PLAIN(), "model", lora=Lora(rank=16))
    merged, alone = (changed(lora, "rollout", lora=way, sleep=True) for way in RolloutLora)
    own = 2 * lora.policy.trained
    memory = memory_of(alone)
    assert line(memory, "vLLM: adapters", "rollout") == line(memory, "vLLM: adapters", "sync") == own
    asleep = "vLLM: start model, asleep"
    assert line(memory, asleep, "update") == 2 * COUNT + own and line(memory, asleep, "rollout") == 0
    assert line(memory, "sync buffer", "sync") == 2 * own < line(memory_of(merged), "sync buffer", "sync")
    awake = memory_of(changed(alone, "rollout", sleep=False))
    assert line(awake, asleep, "update") == 0 and line(awake, "vLLM: adapters", "update") == own
    halves = changed(alone, "rollout", tensor_parallel=2)
    assert line(memory_of(halves), "vLLM: adapters", "sync") == own * 3 / 4  # of two matrices one is cut
    slow, fast = times_of(merged), times_of(changed(alone, "rollout", sleep=False))
    sleeping = times_of(alone)
    assert slow is not None and fast is not None and sleeping is not None
    assert fast["sync"] < slow["sync"] < sleeping["sync"]
    assert sleeping["sync"] - fast["sync"] == pytest.approx(2 * 2 * COUNT / 20e9)


def test_an_engine_that_is_too_large_for_a_gpu_is_to_be_split() -> None:
    small = changed(replace(SHORT(), device=GPUS["l4"], ranks=8), "trainer", zero_stage=3, sleep=True)
    large = changed(small, "model", path="Qwen/Qwen2.5-14B")
    found = advise(changed(large, "trainer", zero_stage=3, sleep=True))
    settings = [setting for advice in found for setting in advice.settings]
    assert any(setting.startswith("rollout.tensor_parallel=") for setting in settings)
