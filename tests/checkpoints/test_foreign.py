"""A run goes on from a folder somebody else has written into: its files are data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from run_helpers import SFT_RECIPE, rlvr

from rlvr_cli.checkpoints import manifest
from rlvr_cli.core import tensor_files
from rlvr_cli.engine.snapshot import CLASSES

pytestmark = pytest.mark.slow


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    recipe, out, done = tmp_path / "small.yaml", tmp_path / "run", tmp_path / "PWNED"
    recipe.write_text(SFT_RECIPE)
    assert rlvr("sft", str(recipe), f"out={out}", "trainer.steps=1").returncode == 0

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {done}",)

    folder = out / "checkpoints" / "step_1"
    written, file = manifest.read(folder), folder / "trainer" / "mp_rank_00_model_states.pt"
    content = tensor_files.read(file, CLASSES)
    torch.save(content | {"global_steps": Attack()}, file)
    files = written["files"] | {"trainer/mp_rank_00_model_states.pt": manifest.fingerprint(file)}
    head = {key: written[key] for key in ("step", "ranks", "zero_stage")}
    manifest.write(folder, **head, files=files)
    assert manifest.wrong(folder) is None, "the manifest sees it"

    again = rlvr("sft", str(out), "trainer.steps=2")
    assert again.returncode != 0 and not done.exists()
    told = [line for line in again.stderr.splitlines() if "posix.system" in line]
    assert len(told) == 1 and "nothing of it was run" in told[0] and "Traceback" not in again.stderr, (
        again.stderr
    )
