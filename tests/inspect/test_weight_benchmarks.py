"""What `benchmarks/rotated.py` computes from runs: known numbers, no training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from places import ROOT
from safetensors.torch import save_file

from rlvr_cli.inspect.changed import changed_in_bf16, jaccard_at_random
from rlvr_cli.inspect.folder import Folder

sys.path.append(str(ROOT / "benchmarks"))
import rotated

NAME = "model.layers.1.self_attn.o_proj.weight"
EDITED, _, OTHERS, _ = rotated.GROUPS.values()


def noisy(w0: torch.Tensor, seed: int) -> rotated.Update:
    noise = torch.randn(w0.shape, generator=torch.Generator().manual_seed(seed))
    return {NAME: changed_in_bf16(w0, w0 + 1e-4 * noise)}


def test_noises_have_entries_in_common_by_bf16_alone() -> None:
    """And none beyond chance where the other matrix has other numbers in these places."""
    torch.manual_seed(0)
    w0, other = 0.05 * torch.randn(2, 256, 256)
    assert rotated.overlap(noisy(w0, 0), noisy(w0, 1), EDITED) > 1.08
    assert rotated.overlap(noisy(w0, 0), noisy(other, 1), EDITED) == pytest.approx(1, abs=0.02)


def test_groups_are_of_their_layers() -> None:
    found = noisy(0.05 * torch.randn(64, 64), 0)
    p = float(found[NAME].float().mean())
    assert rotated.overlap(found, found, EDITED) == pytest.approx(1 / jaccard_at_random(p, p))
    elsewhere = {NAME.replace("1", "0"): found[NAME]}
    assert rotated.overlap(elsewhere, elsewhere, OTHERS) == rotated.overlap(found, found, EDITED)


def test_a_shuffled_update_has_the_sizes_of_the_update(tmp_path: Path) -> None:
    torch.manual_seed(0)
    w0, update = torch.ones(100, 10), torch.zeros(100, 10)
    update[:20] = 0.01  # rows; bf16 has steps of 2^-7 above 1 and of 2^-8 below
    folders = []
    for name, weight in (("start", w0), ("final", w0 + update)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file({NAME: weight}, tmp_path / name / "model.safetensors")
        folders.append(Folder(str(tmp_path / name), name))
    [found] = rotated.shuffled(*folders, seed=0).values()
    assert rotated.trained(*folders)[NAME].sum() == found.sum() == 200
    assert found[:20].float().mean() < 0.5
