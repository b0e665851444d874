"""Which checkpoints stay, that all ranks or none wrote one, and what a converted run draws from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.checkpoints.writer import Writer
from rlvr_cli.core import rng
from rlvr_cli.schema import Checkpoint


class Model:
    """What a checkpoint asks of a trainer."""

    settings = SimpleNamespace(zero_stage=0)

    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]:
        return {f"{tag}/weights.pt": {"w": torch.ones(2)}}


def folder(out: Path, events: list[str], **settings: Any) -> Checkpoints:
    chosen = Checkpoint(**{"background": False} | settings)
    return Checkpoints(out, chosen, {}, lambda kind, message, **fields: events.append(message))


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path: Path) -> None:
    """The best is step 2 until step 6 is: then step 2 goes as every other."""
    kept, checkpoints = {}, folder(tmp_path, [], keep=2)
    for step in range(1, 8):
        best = None if step < 2 else 2 if step < 6 else 6
        loop = {"best": {"step": best, "value": 0.5}} if best else {}
        checkpoints.save(step, Model(), {"loop": loop})  # type: ignore[arg-type]
        kept[step] = manifest.steps(tmp_path / "checkpoints")
    assert kept == {1: [1], 2: [2, 1], 3: [3, 2], 4: [4, 3, 2], 5: [5, 4, 2], 6: [6, 5], 7: [7, 6]}
    names = [(tmp_path / "checkpoints" / name).read_text() for name in ("best", "latest")]
    assert names == ["step_6\n", "step_7\n"]
    assert checkpoints.verify(7) is None


@pytest.mark.parametrize("failing", [None, 0, 1])
def test_one_ranks_failure_leaves_no_checkpoint(failing: int | None, tmp_path: Path) -> None:
    """A function cannot be written."""
    aside = tmp_path / ".step_3.tmp"
    committed: list[dict[str, Any]] = []
    contents: list[Any] = [(lambda: None) if rank == failing else "text" for rank in (0, 1)]
    writers = [Writer(aside, {f"{rank}.pt": contents[rank]}, rank, 2, committed.append) for rank in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=20)
    if failing is None:
        assert [list(files) for files in committed] == [["0.pt", "1.pt"]] and writers[0].error is None
    else:
        assert committed == [] and not aside.exists()
        assert "lambda" in str(writers[0].error), "rank 0 is the one to tell"


def test_a_failure_to_clean_up_does_not_keep_the_run_waiting(tmp_path: Path) -> None:
    """A file in the place of a folder fails twice: as it is written below, and as what is left is removed."""
    aside = tmp_path / ".step_3.tmp"
    aside.mkdir()
    (aside / "trainer").touch()
    committed: list[dict[str, Any]] = []
    writer = Writer(aside, {"trainer/weights.pt": "text"}, 0, 1, committed.append)
    writer.run()
    assert writer.written.is_set() and "exists" in str(writer.error) and committed == []


def drawn(checkpoints: Checkpoints, step: int, seed: int) -> list[float]:
    checkpoints.load_rng(step, seed)
    return torch.rand(4).tolist()


def test_a_run_of_another_number_of_ranks_does_not_draw_what_it_began_with(tmp_path: Path) -> None:
    """Nor what it drew when it was converted before; from one seed and step it always draws the same."""
    events: list[str] = []
    checkpoints = folder(tmp_path, events)
    for step in (4, 5):
        (tmp_path / "checkpoints" / f"step_{step}").mkdir(parents=True)
        manifest.write(tmp_path / "checkpoints" / f"step_{step}", step=step, ranks=2, zero_stage=2, files={})
    before = rng.state()
    try:
        rng.seed(7, 0)
        fresh = torch.rand(4).tolist()
        found = [drawn(checkpoints, 4, 7), drawn(checkpoints, 5, 7), drawn(checkpoints, 4, 7)]
    finally:
        rng.load(before)
    assert fresh not in found and found[0] != found[1] and found[0] == found[2]
    assert "the checkpoint of 2 ranks was converted for 1" in events[0]


def test_a_run_of_as_many_ranks_draws_on(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path, [])
    before = rng.state()
    try:
        checkpoints.save(4, Model(), {})  # type: ignore[arg-type]
        on = torch.rand(4).tolist()
        assert drawn(checkpoints, 4, 7) == on
    finally:
        rng.load(before)
