"""What ends a response."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import eos_ids, load_model
from rlvr_cli.schema import Model, Precision


@pytest.mark.parametrize(
    ("declared", "ids"),
    [({"eos_token_id": [9, 7]}, [1, 7, 9]), ({"eos_token_id": 7}, [1, 7]), ({}, [1]), (None, [1])],
)
def test_the_tokenizers_end_of_sequence_and_those_of_the_generation_config_end_a_response(
    declared: dict[str, Any] | None, ids: list[int], tmp_path: Path
) -> None:
    """The file is optional, and so is the entry in it."""
    if declared is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(declared))
    assert eos_ids(str(tmp_path), SimpleNamespace(eos_token_id=1)) == ids


def test_damaged_weights_are_told_in_a_line(tiny_path: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_path, tmp_path / "damaged")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.path: no causal language model loads from .*file not fully"):
        load_model(Model(path=str(folder)), Precision.fp32)
