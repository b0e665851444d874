"""What ends a response."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_cli.engine.model import eos_ids


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
