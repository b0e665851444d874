"""Ranks that share rows make the update of one that has them whole; threads stand for the ranks."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from f1 import algorithm, make
from shared_rows import SHAPE, Plain, groups, model_of, owned, rows
from thread_ranks import on_ranks
from torch import Tensor
from transformers import Qwen2Config

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.attention import Layout, packed_attention
from rlvr_cli.engine.localise import localise
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.engine.sequence_parallel import cut
from rlvr_cli.engine.ulysses import Heads, Ulysses
from rlvr_cli.training.loop import objective
from rlvr_cli.training.token_records import blank, noted

BUDGET = 60


# --- pieces and the exchange -----------------------------------------------------------------------


def row_of_11() -> MicroBatch:
    """Two sequences of 6 and 5 tokens; the last 2 and 4 are trained."""
    return MicroBatch(
        input_ids=torch.arange(11)[None] + 50,
        position_ids=torch.cat([torch.arange(6), torch.arange(5)])[None],
        layout=Layout((6, 5), torch.tensor([0, 6, 11], dtype=torch.int32)),
        predictors_n=torch.tensor([3, 4, 6, 7, 8, 9]),
        targets_n=torch.tensor([54, 55, 57, 58, 59, 60]),
        tokens_n=torch.tensor([20, 21, 0, 1, 2, 3]),
        lengths_b=torch.tensor([2, 4]),
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 11, 12])
def test_the_pieces_of_a_row_are_the_row_and_what_fills_it_up(size: int) -> None:
    whole = row_of_11()
    pieces = [cut(whole, Ulysses(size, place)) for place in range(size)]
    rowed = torch.cat([piece.micro.input_ids for piece in pieces], 1)
    assert rowed[:, :11].equal(whole.input_ids) and not rowed[:, 11:].any() and rowed.shape[1] < 11 + size
    assert len({piece.micro.input_ids.shape for piece in pieces}) == 1
    assert sorted(torch.cat([piece.own for piece in pieces]).tolist()) == list(range(6))
    for piece in pieces:
        at_hand = piece.micro
        assert (at_hand.input_ids[0, at_hand.predictors_n] + 1).equal(at_hand.targets_n)
        assert at_hand.targets_n.equal(whole.targets_n[piece.own])
        assert at_hand.position_ids[0, at_hand.predictors_n].equal(
            whole.position_ids[0, whole.predictors_n[piece.own]]
        )


@pytest.mark.parametrize(("size", "keys"), [(2, 4), (2, 2), (2, 1), (4, 2), (4, 1)])
@pytest.mark.parametrize("shared", [False, True])
def test_attention_over_pieces_is_attention(
    size: int, keys: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 tokens over 2 and 4 ranks, also with fewer key-value heads than ranks: values and gradients."""
    torch.manual_seed(0)
    layout = Layout((6, 5, 2), torch.tensor([0, 6, 11, 13], dtype=torch.int32))
    if shared:  # a prompt of 3 tokens, once in the row for the first two
        places = [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 7, 8, 9, 10, 11, 12]
        collect = torch.tensor([places.index(t) for t in range(13)])
        starts = torch.tensor([0, 7, 14, 16], dtype=torch.int32)
        layout = Layout((7, 7, 2), starts, torch.tensor(places), collect)
    inputs = [torch.randn(1, heads, 13, 8, dtype=torch.float64) for heads in (4, keys, keys)]
    towards = torch.randn(1, 13, 4, 8, dtype=torch.float64)
    each = -(-13 // size)

    def attended(tensors: list[Tensor], layout: Layout, goal: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaves = [x.clone().requires_grad_() for x in tensors]
        out, _ = packed_attention(None, *leaves, None, scaling=0.3, layout=layout)
        (out * goal).sum().backward()
        return out.detach(), [x.grad for x in leaves]

    def piece(x: Tensor, dim: int, place: int) -> Tensor:
        filled = torch.cat([x, torch.full_like(x.narrow(dim, 0, each * size - 13), 7.0)], dim)
        return filled.narrow(dim, place * each, each)

    whole, wanted = attended(inputs, layout, towards)
    ranks = groups(size, size)

    def work(rank: int) -> tuple[Tensor, list[Tensor]]:
        cut_inputs = [piece(x, 2, rank) for x in inputs]
        return attended(cut_inputs, replace(layout, ulysses=ranks[rank]), piece(towards, 1, rank))

    found = on_ranks(monkeypatch, size, work)
    assert torch.allclose(torch.cat([out for out, _ in found], 1)[:, :13], whole, atol=1e-12)
    for n, gradient in enumerate(wanted):
        joined = torch.cat([parts[n] for _, parts in found], 2)
        assert torch.allclose(joined[:, :, :13], gradient, atol=1e-12)
        assert not joined[:, :, 13:].any()  # what fills up has no part in anything


# --- updates ---------------------------------------------------------------------------------------


def updated(
    patch: pytest.MonkeyPatch, model: Any, ranks: int, size: int, batch: Batch, rule: Any, **how: Any
) -> list[tuple[Any, ...]]:
    """Scores, loss and metrics, the gradient and what is noted of each token, of every rank."""
    members, models = groups(ranks, size), [deepcopy(model) for _ in range(ranks)]

    def work(rank: int) -> tuple[Any, ...]:
        trainer, own = Plain(models[rank], members[rank], BUDGET, **how), replace(batch)
        blank(own)
        scores = trainer.score(own.sequences, own.trained, owners=own.owners)
        totals = trainer.update(own, noted(own, partial(objective, rule)), lr=0.0)
        totals.pop("grad_norm")  # of its own part: DeepSpeed averages before
        return scores, totals, trainer.gradient(), own.notes

    return on_ranks(patch, ranks, work)


TOKENS = algorithm(loss=make("loss", "clipped", dual_clip=3.0), kl=make("kl", "loss", coef=0.1))
SEQUENCES = algorithm(
    loss="sequence_ratio", aggregation="seq_mean_token_mean", mismatch=make("mismatch", "mask")
)
ENTROPY = algorithm(entropy=make("entropy", "bonus", coef=0.01))


@pytest.mark.parametrize(
    ("family", "ranks", "size", "rule"),
    [
        ("qwen2", 2, 2, TOKENS),
        ("qwen2", 4, 2, SEQUENCES),
        ("gemma3", 4, 4, SEQUENCES),
        ("qwen3_moe", 2, 2, ENTROPY),
    ],
    ids=["tokens", "sequences", "windows, 4 ranks", "entropy, experts"],
)
def test_an_update_does_not_depend_on_who_shares_rows(
    family: str, ranks: int, size: int, rule: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores, loss, every metric, the records of tokens and the gradient, also with prompts in a row once."""
    model, batch, how = model_of(family), rows(6), {"entropy_gradient": rule is ENTROPY}
    if rule is SEQUENCES:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    [(scores, totals, gradient, notes)] = updated(monkeypatch, model, 1, 1, batch, rule, **how)
    assert len(totals) > 5 and totals["loss"] != 0
    together = updated(monkeypatch, model, ranks, size, batch, rule, **how)
    for found_scores, found_totals, found_gradient, _ in together:
        for found, wanted in zip(found_scores, scores, strict=True):
            assert torch.allclose(found, wanted, atol=1e-5)
        assert found_totals == pytest.approx(totals, rel=1e-5, abs=1e-6)
        assert (found_gradient - gradient).norm() < 1e-5 * gradient.norm()
    assert torch.allclose(sum(notes for *_, notes in together), notes, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_a_piece_and_a_group_may_have_no_trained_token(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt of 42 tokens before a response of 3: the first of two ranks predicts none. Of one sequence the
    second group has nothing at all."""
    batch = rows(2)
    batch = owned(rows(2) if count == 2 else first_of(batch), 4, 2)
    micro_batches = Plain(model_of("qwen2"), Ulysses(), BUDGET).micro_batches(batch.sequences, batch.trained)
    assert any(cut(micro, Ulysses(2, 0)).own.numel() == 0 for micro in micro_batches)
    model = model_of("qwen2")
    alone = updated(monkeypatch, model, 1, 1, replace(batch, owners=None), SEQUENCES)[0]
    for scores, totals, gradient, _ in updated(monkeypatch, model, 4, 2, batch, SEQUENCES):
        assert torch.allclose(scores[0], alone[0][0], atol=1e-5)
        assert totals == pytest.approx(alone[1], rel=1e-5, abs=1e-6)
        assert (gradient - alone[2]).norm() < 1e-5 * alone[2].norm()


def first_of(batch: Batch) -> Batch:
    """Its first sequence alone."""
    count = int(batch.trained[0].sum())
    tensors = {f"{name}_N": x_N[:count] for name, x_N in batch.per_token().items()}
    return replace(batch, sequences=batch.sequences[:1], trained=batch.trained[:1], **tensors)


def test_a_search_for_a_spike_finds_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ranks that share rows one reports it, with the norm of the whole gradient."""
    model, batch = model_of("qwen2"), rows(4)
    batch.advantages_N[9] = 400.0
    rule = partial(objective, algorithm())

    def search(ranks: int, size: int) -> list[list[dict[str, Any]]]:
        members, models = groups(ranks, size), [deepcopy(model) for _ in range(ranks)]
        return on_ranks(
            monkeypatch,
            ranks,
            lambda rank: localise(
                Plain(models[rank], members[rank], BUDGET), batch, rule, spike=60.0, budget=64
            ),
        )

    [alone] = search(1, 1)
    assert [row["tokens"] for row in alone] == [1, 1]
    for found in search(2, 2):
        for row, wanted in zip(found, deepcopy(alone), strict=True):
            for name in ("sequences", "layers"):
                assert row.pop(name) == pytest.approx(wanted.pop(name), rel=1e-4)
            assert row == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_a_loss_that_is_not_finite_is_named_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_of("qwen2"), rows(3)

    def broken(logprobs_n: Tensor, *others: Any) -> tuple[Tensor, dict[str, Tensor]]:
        at = others[-1]
        losses_n = torch.where(at["tokens"] == 11, math.nan * logprobs_n, logprobs_n)
        return (losses_n * at["weights"].clamp(min=1e-9)).sum(), {}

    def work(rank: int, members: list[Ulysses], models: list[Any]) -> dict[str, Any]:
        with pytest.raises(NonFinite) as caught:
            Plain(models[rank], members[rank], BUDGET).update(batch, broken, lr=0.0)
        return caught.value.where

    found = [
        on_ranks(
            monkeypatch,
            ranks,
            partial(work, members=groups(ranks, ranks), models=[deepcopy(model) for _ in range(ranks)]),
        )
        for ranks in (1, 2)
    ]
    assert found[0][0]["what"] == "loss" and found[0][0]["count"] == 1
    assert found[1] == 2 * found[0]


# --- what cannot be shared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "changes", "said"),
    [
        (2, {}, None),
        (4, {}, None),  # two key-value heads for four ranks
        (3, {}, "'qwen2' has 4 attention heads; set a divisor of 4"),
        (6, {"num_attention_heads": 12, "num_key_value_heads": 4}, "has 4 key-value heads"),
        (2, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "(dynamic)"),
    ],
)
def test_attention_that_cannot_be_shared_is_refused(
    size: int, changes: dict[str, Any], said: str | None
) -> None:
    heads = Heads.of(Qwen2Config(**SHAPE | changes))
    why = heads.no_shares(size, packed=True)
    assert why is None if said is None else said in why and "\n" not in why
    assert "not computed over sequences laid end to end" in (heads.no_shares(size, packed=False) or "")
    assert heads.no_shares(1, packed=False) is None


@pytest.mark.parametrize("mixing", [False, True])
def test_a_model_that_looks_at_other_tokens_elsewhere_is_refused(
    mixing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token but a sequence's first also sees the one before it: of a cut row one is on another rank."""
    model, members = model_of("qwen2"), groups(2, 2)

    def shifted(module: Any, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return out + out.roll(1, 1) * (given[0] != 1)[..., None]

    if mixing:
        model.get_decoder().embed_tokens.register_forward_hook(shifted)
    models = [deepcopy(model) for _ in range(2)]

    def work(rank: int) -> str:
        try:
            Plain(models[rank], members[rank], BUDGET).demand_apart()
        except UserError as error:
            return str(error)
        return ""

    for said in on_ranks(monkeypatch, 2, work):
        assert ("more than attention looks at other tokens" in said) is mixing
