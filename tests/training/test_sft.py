"""What supervised fine-tuning makes of its recipe."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_cli.data.sft import Example
from rlvr_cli.engine import process_group
from rlvr_cli.schema import SFT, Model, SFTRecipe, Source
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training import sft as module


class Made(Exception):
    """A trainer was asked for: what comes after it is not needed."""


@pytest.mark.parametrize(("packing", "capacity"), [(True, 48), (False, None)])
def test_rows_hold_several_examples_only_where_packing_says_so(
    packing: bool, capacity: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With packing a row has max_length tokens; without, each example has a row of its own."""
    example = Example(tokens=np.arange(3, dtype=np.int32), mask=np.array([False, True, True]))
    asked: dict[str, Any] = {}

    def trainer(*model_and_settings: Any, **given: Any) -> None:
        asked.update(given)
        raise Made

    monkeypatch.setattr(module, "Trainer", trainer)
    monkeypatch.setattr(process_group, "initialise", lambda *_: None)
    monkeypatch.setattr(module, "load_tokenizer", lambda _: None)
    monkeypatch.setattr(module, "examples", lambda *_: ([example], "one"))
    monkeypatch.setattr(module, "open_tracker", lambda *_, **__: NullTracker())
    monkeypatch.setattr("signal.signal", lambda *details: None)  # pytest's own handlers stay
    recipe = SFTRecipe(
        name="small",
        out=str(tmp_path),
        model=Model(path="nowhere"),
        data={"train": Source(path="nowhere")},
        algorithm=SFT(packing=packing, max_length=48),
        trainer=Settings(steps=1),
    )
    with pytest.raises(Made):
        module.sft(recipe, io.StringIO())
    assert asked["row_capacity"] == capacity
