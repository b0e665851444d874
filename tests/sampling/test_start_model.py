"""The engine each rank starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.rollout.vllm_arguments import CPU_HEADS
from rlvr_cli.sampling.start_model import check_heads, start_engine
from rlvr_cli.schema import Model, Precision, Rollout, RolloutEngine, TinyModel


def test_every_rank_draws_random_numbers_of_its_own(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where samples have no seeds they come from the engine's: equal ones would sample alike on all ranks."""
    model = Model(path=str(tiny_path))
    tokenizer = load_tokenizer(model)

    def seed_on(rank: int) -> int:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        rollout = Rollout(engine=RolloutEngine.hf)
        engine: Any = start_engine(rollout, model, tokenizer, 7, Precision.fp32, 64)
        return int(engine.seed)

    assert [seed_on(rank) for rank in (0, 1, 2)] == [7, 8, 9]


@pytest.mark.slow
def test_sizes_of_heads_are_those_of_the_installed_vllm() -> None:
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    assert list(CPU_HEADS) == CPUAttentionBackend.get_supported_head_sizes()


def test_heads_that_vllm_does_not_know_are_refused_before_it_starts(tmp_path: Path) -> None:
    """It would end at its first step, with "Unsupported CPU attention configuration"."""
    make_tiny(tmp_path / "m", TinyModel(hidden_size=64, layers=1, heads=4, kv_heads=2), seed=0)
    model = Model(path=str(tmp_path / "m"))
    check_heads(Rollout(engine=RolloutEngine.hf), model)
    with pytest.raises(UserError, match=r"heads of size 16, and vLLM on CPUs knows 32, 64, .*rollout=hf"):
        check_heads(Rollout(), model)
    make_tiny(tmp_path / "fit", TinyModel(hidden_size=64, layers=1, heads=2, kv_heads=1), seed=0)
    check_heads(Rollout(), Model(path=str(tmp_path / "fit")))
