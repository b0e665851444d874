"""A file of a checkpoint runs nothing when it is read, whoever wrote it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_cli.core import tensor_files
from rlvr_cli.core.errors import UserError


class Attack:
    """Runs a command where it is unpickled as pickles are."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_code_in_a_file_is_refused_and_not_run(zipped: bool, mmap: bool, tmp_path: Path) -> None:
    file, done = tmp_path / "model_states.pt", tmp_path / "PWNED"
    state = {"step": 3, "weight": torch.ones(2), "more": Attack(f"touch {done}")}
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError) as refused:
        tensor_files.read(file, mmap=mmap)
    assert str(file) in str(refused.value) and "nothing of it was run" in str(refused.value)
    assert "\n" not in str(refused.value) and not done.exists()
    torch.load(file, weights_only=False)
    assert done.exists(), "the attack is none"


def test_what_a_file_holds_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    torch.save({"weight": torch.arange(3.0), "rest": (1, "a", None, [2.5])}, file)
    for mmap in (True, False):
        found = tensor_files.read(file, mmap=mmap)
        assert found["weight"].tolist() == [0, 1, 2] and found["rest"] == (1, "a", None, [2.5])
