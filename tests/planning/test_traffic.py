"""What ranks tell each other and what a sync moves: by hand, and how it grows with the ranks."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from doc_tables import section, tables
from places import ROOT
from plans import PLAIN, SHORT, changed, with_parts

from rlvr_cli.commands.main import main
from rlvr_cli.planning.gpus import NETWORK, cpu
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.page import size
from rlvr_cli.planning.speed import times_of
from rlvr_cli.planning.traffic import (
    GATHERS,
    GROUP,
    KNOWN_TOKEN,
    PARCEL,
    PASSED_S,
    PROMPT_TOKEN,
    RANK,
    SAMPLE,
    SAMPLE_S,
    SENT_SAMPLE,
    TOKEN_S,
    Step,
    step_of,
    sync_of,
    traffic,
)
from rlvr_cli.schema import Placement, RolloutLora, Servers, Transfer

SMALL = Step(
    ranks=4,
    machine=2,
    engines=4,
    together=1,
    sampled=96,
    trained=64,
    group=8,
    prompt=100,
    response=1000,
    updates=4,
    columns=4,
    versions=False,
)
"""12 prompts with 8 samples, of which 8 train, on two machines."""


def test_four_ranks_by_hand() -> None:
    found = traffic(SMALL)
    block = 3 * (GROUP + 8 * SAMPLE + 100 * PROMPT_TOKEN) + RANK
    assert found.scores == 3 * block
    assert found.tokens == pytest.approx(12 * (8000 + SENT_SAMPLE) + 3 * PARCEL)  # of 16 samples 4 stay
    assert found.sums == 2 * 3 / 4 * 4 * 4 * 64_000
    assert found.known == KNOWN_TOKEN * 64_000
    others = 2 * found.tokens * 2 / 3  # of two ranks elsewhere, who send to three
    assert found.entering == pytest.approx(found.scores + found.sums + others)
    assert traffic(replace(SMALL, machine=4)).entering == 0


def test_what_is_shared_goes_to_several_and_comes_from_fewer() -> None:
    plain, pairs = traffic(SMALL), traffic(replace(SMALL, together=2))
    assert pairs.tokens == pytest.approx(2 * plain.tokens - 3 * PARCEL)
    assert pairs.sums == plain.sums and pairs.scores == plain.scores
    half = traffic(replace(SMALL, engines=2))
    assert half.tokens == pytest.approx(2 * plain.tokens - 3 * PARCEL)
    assert half.scores == pytest.approx(2 * plain.scores - 3 * RANK)  # the others' blocks are as long
    dated = traffic(replace(SMALL, versions=True))
    assert dated.tokens - plain.tokens == pytest.approx(12 * 4000)


def test_of_the_same_step_on_more_ranks_only_the_handing_over_shrinks() -> None:
    large = replace(SMALL, sampled=16_384, trained=8192, group=16, machine=8)
    few, many, most = (traffic(replace(large, ranks=n, engines=n)) for n in (8, 64, 512))
    assert few.tokens > 7 * many.tokens > 49 * most.tokens
    assert few.sums < many.sums < most.sums < few.sums * 8 / 7
    assert few.known == many.known == most.known
    told = (GATHERS + 4) * PASSED_S
    assert most.controller - few.controller == pytest.approx(2 * (511 - 7) * told)
    assert few.entering == 0 < many.entering < most.entering * 1.1


def test_a_recipe_as_its_step() -> None:
    """DAPO with 16 updates a step: old logprobs, no reference. Half of the groups pass the filter."""
    step = step_of(replace(PLAIN(), kept=0.5))
    assert (step.sampled, step.trained, step.group, step.columns) == (16_384, 8192, 16, 4)
    assert step.updates == 16
    assert (step.ranks, step.engines, step.together, step.machine) == (8, 8, 1, 8)
    assert step_of(changed(PLAIN(), "batch", updates_per_step=1)).columns == 1
    assert step_of(changed(PLAIN(), "tracker", tokens=True)).columns == 7
    assert step_of(changed(PLAIN(), "rollout", tensor_parallel=4)).engines == 2
    assert step_of(changed(PLAIN(), "trainer", sequence_parallel=2)).together == 2
    assert step_of(changed(PLAIN(), "rollout", max_staleness=1)).versions
    compared = changed(PLAIN(), "algorithm", kl=SimpleNamespace(needs_reference=True, in_reward=False))
    assert step_of(compared).columns == 7
    assert step_of(with_parts(PLAIN(), critic=PLAIN().policy)).columns == 5
    assert step_of(replace(SHORT(), kept=0.5)).sampled == 1024, "its filter drops nothing"


def test_a_sync_of_the_7b_model() -> None:
    whole = 2 * 7_615_616_512
    found = sync_of(replace(PLAIN(), ranks=16))
    assert (found.weights, found.gathered, found.entering) == (whole, whole * 15 / 16, whole / 2)
    assert found.host == found.posted == 0
    assert sync_of(PLAIN()).entering == 0
    assert sync_of(changed(PLAIN(), "trainer", zero_stage=2)).gathered == 0
    elsewhere = changed(PLAIN(), "rollout", placement=Placement.servers)
    assert (sync_of(elsewhere).host, sync_of(elsewhere).posted) == (whole, 0)
    assert sync_of(elsewhere).broadcast == whole
    urls = Servers(urls=["http://a:1", "http://b:1"], transfer=Transfer.memory)
    posted = sync_of(changed(elsewhere, "rollout", servers=urls))
    assert (posted.posted, posted.broadcast, posted.host) == (2 * whole, 0, whole)
    urls = replace(urls, transfer=Transfer.broadcast, restarts=0)
    sent = sync_of(changed(elsewhere, "rollout", servers=urls))
    assert (sent.posted, sent.broadcast, sent.host) == (0, 2 * whole, 0)
    on_cpus = replace(elsewhere, device=cpu())
    assert (sync_of(on_cpus).broadcast, sync_of(on_cpus).host) == (0, whole)
    adapters = replace(PLAIN().policy, trained=20_000_000)
    merged = with_parts(PLAIN(), policy=adapters, plain=PLAIN().plain)
    alone = changed(PLAIN(), "rollout", lora=RolloutLora.adapter)
    assert sync_of(merged).weights == whole
    assert sync_of(with_parts(alone, policy=adapters)).weights == 40_000_000


def test_ranks_on_several_machines_wait_for_the_network() -> None:
    """NVLink carries 300 GB a second, the network 25."""
    here = replace(PLAIN(), ranks=16, machine=16)
    apart = replace(PLAIN(), ranks=16)
    assert (here.link, apart.link, replace(PLAIN(), ranks=8).link) == (300e9, NETWORK, 300e9)
    fast, slow = times_of(here), times_of(apart)
    assert fast is not None and slow is not None
    gathered = 2 * 7_615_616_512
    assert slow["sync"] - fast["sync"] == pytest.approx(gathered / 25e9 - gathered / 300e9)
    assert slow["update"] > fast["update"] and slow["rollout"] == fast["rollout"]


def test_what_every_rank_knows_of_all_tokens_is_planned_in_the_hosts_memory() -> None:
    [line] = [item for item in memory_of(PLAIN()).items if item.name == "numbers of all tokens"]
    assert line.host and line.phases["update"] == KNOWN_TOKEN * 8192 * 1000


def test_the_page_of_512_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "dapo_qwen7b", "--gpu", "h100", "--ranks", "512", "batch.updates_per_step=32"]
    assert main(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "between 512 ranks on 64 machines, a step:" in text
    assert "an update of a rank: 5,632 tokens on average, at most 22,528 more" in text
    assert "256 of 512 ranks have nothing of an update, which has 256 samples" in text
    assert "a weight sync: 15.2 GB, of which a rank receives 15.2 GB from the others" in text
    assert main([*command[:-1], "--per-machine", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["between_ranks"]["entering"] > found["between_ranks"]["sums"] > 1e9
    assert found["weight_sync"]["entering"] == 2 * 7_615_616_512 * 508 / 512
    assert main([*command[:4], "--per-machine", "0"]) == 2
    assert "--per-machine is 0; it must be at least 1" in capsys.readouterr().err


def test_the_page_of_servers_says_how_weights_come_to_them(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "dapo_qwen7b", "--gpu", "h100", "--ranks", "8", "trainer.sleep=false"]
    command.append("rollout.placement=servers")
    for more, said in (
        ([], "broadcast to servers: 15.2 GB, 15.2 GB kept in CPU memory for one that is replaced"),
        (["rollout.servers.transfer=memory"], "on their way to servers: 15.2 GB of CPU memory"),
    ):
        assert main([*command, *more]) == 0
        assert said in " ".join(capsys.readouterr().out.split())


def test_the_figures_of_the_page() -> None:
    """docs/scale.md: DAPO on Qwen2.5-7B, 16 updates a step."""
    rows: list[list[str]] = []
    for ranks in (8, 64, 512):
        job = replace(PLAIN(), ranks=ranks, prompt=200.0, response=4000.0, kept=0.5)
        told, sync, seconds = traffic(step_of(job)), sync_of(job), times_of(job)
        assert seconds is not None
        entering = ["-", "-"] if ranks == 8 else [size(told.entering), size(sync.entering)]
        rows.append(
            [
                f"{sum(seconds.values()):,.0f}",
                f"{job.row_tokens / 16:,.0f} + {job.longest:,}",
                *(size(sent) for sent in (told.scores, told.tokens, told.sums, told.known)),
                f"{told.controller:.1f}",
                size(sync.gathered),
                *entering,
            ]
        )
    page = section((ROOT / "docs" / "scale.md").read_text(), "What it costs")
    [table] = [rows for rows in tables(page) if "512 GPUs" in rows[0]]
    assert [[row[f"{n} GPUs"] for row in table] for n in (8, 64, 512)] == rows


def test_the_constants_of_the_page() -> None:
    page = " ".join(section((ROOT / "docs" / "scale.md").read_text(), "What it costs").split())
    told = f"{SAMPLE} a sample, {GROUP} a group, {PROMPT_TOKEN:.1f} a token of its prompt, {RANK:,} a rank"
    assert told in page and f"8 a token (with `rollout.max_staleness` 12), {SENT_SAMPLE} a sample" in page
    work = (
        f"{SAMPLE_S * 1e6:.0f} µs a sample, {TOKEN_S * 1e6:.2f} µs a token, and {PASSED_S * 1e6:.0f} µs for"
    )
    assert work in page and f"{KNOWN_TOKEN} bytes each in CPU memory" in page
    assert f"a step {GATHERS} gathers and one for each update" in page
