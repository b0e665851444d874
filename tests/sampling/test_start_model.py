"""The engine each rank starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core import distributed
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.sampling.start_model import start_engine
from rlvr_cli.schema import Model, Precision, Rollout, RolloutEngine


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
