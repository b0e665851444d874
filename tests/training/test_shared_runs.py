"""`trainer.sequence_parallel`: two ranks that share every row compute what two that do not do, and one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_helpers import run_entries
from small_parts import Still, recipe, small_parts
from thread_ranks import on_ranks

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion, Elsewhere
from rlvr_cli.engine.shares import owners_of
from rlvr_cli.launch.prerequisites import check_groups
from rlvr_cli.schema import Trainer
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.dynamic_sampling import Rollouts, sample_groups


def completions(rollouts: Rollouts) -> list[Completion]:
    return [c for g in rollouts.kept for c in g.completions]


class Together(Still):
    """Two ranks share what it trains on."""

    def owners(self, updates: Any, lengths: list[int], prompts: list[bytes]) -> list[int]:
        return owners_of(updates, lengths, tokens_per_microbatch=64, prompts=prompts, together=2)


def test_every_rank_of_a_group_gets_the_tokens_it_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ranks sample, each its own prompts; logprobs are known to all of them, counted once."""
    asked = recipe(trainer=Trainer(steps=9, sequence_parallel=2))

    def work(rank: int) -> tuple[Rollouts, Any]:
        parts = small_parts(asked, trainer=Together())
        rollouts = sample_groups(parts, step=0)
        return rollouts, make_batches(parts, rollouts.kept, rollouts.owners)

    [(alone, wanted)] = on_ranks(monkeypatch, 1, work)
    both = on_ranks(monkeypatch, 4, work)
    assert {owner for rollouts, _ in both for owner in rollouts.owners or []} == {0, 2}
    for rank, (rollouts, batches) in enumerate(both):
        for owner, got, whole in zip(
            rollouts.owners or [], completions(rollouts), completions(alone), strict=True
        ):
            assert isinstance(got.tokens, Elsewhere) == (owner != rank // 2 * 2)
            if owner == rank // 2 * 2:
                np.testing.assert_array_equal(got.tokens, whole.tokens)
        for got, whole in zip(batches, wanted, strict=True):
            assert got.rollout_logprobs_N.equal(whole.rollout_logprobs_N)


def test_ranks_that_cannot_share_are_refused_before_anything_starts() -> None:
    asked = recipe(trainer=Trainer(steps=9, sequence_parallel=2))
    check_groups(asked, 4)
    with pytest.raises(
        UserError, match="3 ranks cannot be divided into groups of 2; set it to a divisor of 3"
    ):
        check_groups(asked, 3)


@pytest.fixture(scope="module")
def results(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_entries("sequence_entries.py", 2, tiny_path, tmp_path_factory.mktemp("shared"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sft", "tokens", "sequences", "lora", "critic", "bf16"])
def test_two_updates_are_those_of_ranks_apart(case: str, results: dict[str, Any]) -> None:
    """Dense and with adapters, under ZeRO 0 to 3: scores, loss, metrics, norm of the gradient, weights."""
    near = {"rel": 0.02, "abs": 0.01} if case == "bf16" else {"rel": 1e-5, "abs": 1e-5}
    apart, shared = results[f"{case} 1"], results[f"{case} 2"]
    assert shared["scores"][0] and shared["totals"][0]["grad_norm"] > 1e-2
    for found, wanted in zip(shared["scores"], apart["scores"], strict=True):
        assert found == pytest.approx(wanted, **near)
    for found, wanted in zip(shared["totals"], apart["totals"], strict=True):
        assert found == pytest.approx(wanted, **near)
    for name, total in apart["weights"].items():
        assert shared["weights"][name] == pytest.approx(total, abs=1e-3 if case != "bf16" else 0.1), name


@pytest.mark.slow
def test_supervised_fine_tuning_is_that_of_plain_transformers(results: dict[str, Any]) -> None:
    first = results["sft 2"]["totals"][0]
    for name, wanted in results["by hand"].items():
        assert first[name] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_run_is_the_same_and_goes_on_with_another_number(results: dict[str, Any]) -> None:
    """Two steps with shared rows and, after a stop, one without: metrics and the record of every token."""
    found, wanted = results["run 2, then 1"], results["run 1"]
    for got, row in zip(found["rows"], wanted["rows"], strict=True):
        assert got == pytest.approx(row, abs=1e-4, rel=1e-4)
    for got, row in zip(found["records"], wanted["records"], strict=True):
        assert got["response_tokens"] == row["response_tokens"]
        for name in ("logprobs", "trainer_logprobs", "entropies", "old_logprobs"):
            assert got[name] == pytest.approx(row[name], abs=1e-4), name
