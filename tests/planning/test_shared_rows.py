"""`rlvr plan` where ranks share micro-batches: activations of a piece, time on the link, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from doc_tables import tables
from places import ROOT
from plans import PLAIN, PUBLISHED, changed, job, line
from shared_rows import groups
from thread_ranks import on_ranks
from transformers import AutoConfig, AutoModelForCausalLM

from rlvr_cli.commands.main import main
from rlvr_cli.engine import attention
from rlvr_cli.engine.logprobs import hidden_states
from rlvr_cli.planning import activations
from rlvr_cli.planning.advice import advise
from rlvr_cli.planning.gpus import GIB
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.shapes import shape_of
from rlvr_cli.planning.speed import times_of
from rlvr_cli.schema import Model

SMALL = {
    "vocab_size": 100,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
}


def saved_bytes(layers: int, size: int, patch: pytest.MonkeyPatch) -> list[float]:
    """Bytes that autograd keeps of each of a row's tokens, on each of the ranks that share it."""
    config = AutoConfig.for_model("qwen2", **SMALL, num_hidden_layers=layers)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    attention.register()
    model.set_attn_implementation(attention.PACKED)
    model.train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    lengths, ranks, each = (96, 96, 32, 32), groups(size, size), 256 // size
    starts = torch.tensor([0, 96, 192, 224, 256], dtype=torch.int32)
    positions = torch.cat([torch.arange(n) for n in lengths])[None]

    def work(rank: int) -> float:
        seen: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                seen[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        piece = positions[:, rank * each : (rank + 1) * each]
        layout = attention.Layout(lengths, starts, ulysses=ranks[rank])
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            hidden_states(model.get_decoder(), torch.zeros_like(piece), piece, layout)
        return sum(t.untyped_storage().nbytes() for t in seen.values()) / each

    return on_ranks(patch, size, work)


@pytest.mark.parametrize("size", [2, 4])
def test_activations_of_a_piece_are_what_autograd_keeps(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four ranks two have the same key-value head."""
    AutoConfig.for_model("qwen2", **SMALL, num_hidden_layers=2).save_pretrained(tmp_path)
    one = activations.layer(shape_of(Model(path=str(tmp_path))), 2, attention="runs", row=64, together=size)
    two, four = (saved_bytes(layers, size, monkeypatch) for layers in (2, 4))
    for fewer, more in zip(two, four, strict=True):
        assert (more - fewer) / 2 == pytest.approx(one, rel=0.01)


def test_a_7b_update_of_four_ranks_that_share_by_hand() -> None:
    """A micro-batch of 24,576 tokens, 6,144 on each: a quarter of all but for the attention's output."""
    alone = changed(PLAIN(), "batch", tokens_per_microbatch=24_576)
    shared = changed(alone, "trainer", sequence_parallel=4)
    before, after = memory_of(alone), memory_of(shared)
    assert shared.piece_tokens == 6144 and alone.piece_tokens == 24_576
    outputs = 6144 * 2 * 3584  # of the one layer that is recomputed at a time
    assert line(after, "activations") == pytest.approx(line(before, "activations") / 4 + outputs)
    assert line(after, "weights") == line(before, "weights") == 2 * PUBLISHED["Qwen/Qwen2.5-7B"] / 8
    small = (changed(j, "batch", tokens_per_microbatch=1) for j in (alone, shared))  # a row, not a chunk
    assert [j.micro_tokens for j in small] == [alone.longest] * 2
    wide = changed(shared, "batch", tokens_per_microbatch=4 * 24_576)  # as many micro-batches as alone
    fast, slow = times_of(alone), times_of(wide)
    assert fast is not None and slow is not None
    sent = 0.75 * wide.row_tokens * 2 * 28 * (3584 + 512) * 2 / wide.device.link
    assert slow["update"] - fast["update"] == pytest.approx(3 * sent)
    assert slow["rollout"] == fast["rollout"]


@pytest.mark.slow
def test_long_responses_are_shared_where_they_do_not_fit() -> None:
    """Of 100,000 tokens each, on 8 H100 with recomputation: no other setting makes a micro-batch smaller."""
    long = job("rollout.max_tokens=100000", "algorithm/shaping=identity", "trainer.sleep=true")
    assert not memory_of(long).fits
    found = advise(long)
    assert found and any("trainer.sequence_parallel=" in s for a in found for s in a.settings)
    for advice in found:
        assert advice.memory.fits


def test_the_figures_of_the_page() -> None:
    """docs/scale.md: what a rank holds of sequences of 131,072 tokens."""
    given_, page = job("rollout.max_tokens=129024"), (ROOT / "docs" / "scale.md").read_text()
    found = []
    for size in (1, 2, 4):
        memory = memory_of(changed(given_, "trainer", sequence_parallel=size))
        held, peak = line(memory, "activations") / GIB, memory.total("update") / GIB
        found.append((f"{size}", f"{held:.1f}", f"{peak:.1f}" + ("" if memory.fits else ": does not fit")))
    [table] = [rows for rows in tables(page) if "N" in rows[0]]
    assert [tuple(row.values()) for row in table] == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--ranks 8 trainer.sequence_parallel=3", "8 ranks cannot be divided into groups of 3"),
        ("--ranks 24 trainer.sequence_parallel=8", "'qwen2' has 28 attention heads"),
        ("--ranks 8 trainer.sequence_parallel=2 model.attention=sdpa", "model.attention=auto"),
        ("trainer.ranks=3 trainer.sequence_parallel=2", "3 ranks cannot be divided into groups of 2"),
        ("trainer.sequence_parallel=0", "it must be at least 1"),
    ],
)
def test_what_cannot_be_shared_is_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "dapo_qwen7b", "--gpu", "h100", *words.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


@pytest.mark.slow
def test_the_page_says_what_a_rank_has(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "dapo_qwen7b", "--gpu", "h100", "--ranks", "8", "trainer.sequence_parallel=4"]
    assert main(words) == 0
    page = capsys.readouterr().out
    assert "of which 4 ranks have" in " ".join(page.split()) and max(map(len, page.splitlines())) <= 100
