"""Which checkpoints stay, that all ranks or none wrote one, and what a converted run draws from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.checkpoint import CheckpointFailed, Checkpoints
from rlvr_cli.checkpoints.writer import Writer
from rlvr_cli.core import rng
from rlvr_cli.schema import Checkpoint


class Model:
    """What a checkpoint asks of a trainer."""

    settings = SimpleNamespace(zero_stage=0)

    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]:
        return {f"{tag}/weights.pt": {"w": torch.ones(2)}}

    def load(self, folder: Path, tag: str) -> None: ...


class Flaky(Model):
    """Only the checkpoints whose number is in `fine` can be written: a function cannot be."""

    def __init__(self, *fine: int) -> None:
        self.fine, self.number = fine, 0

    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]:
        self.number += 1
        return super().snapshot(tag, copies=copies) if self.number in self.fine else {"bad.pt": lambda: None}


class Reference:
    """Saves weights only once it was reset, as that of a run does."""

    def __init__(self, weights: torch.Tensor | None = None) -> None:
        self.weights = weights

    def snapshot(self) -> dict[str, Any]:
        return {} if self.weights is None else {"w": self.weights}

    def load(self, file: Path) -> None:
        self.weights = torch.load(file)["w"]


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


def test_two_failures_in_a_row_end_the_run_and_two_with_a_good_one_between_do_not(tmp_path: Path) -> None:
    """The second and the fourth are written; the sixth is the second failure in a row."""
    events: list[str] = []
    checkpoints, model = folder(tmp_path, events, keep=9), Flaky(2, 4)
    for step in range(1, 6):
        checkpoints.save(step, model, {})  # type: ignore[arg-type]
    assert manifest.steps(tmp_path / "checkpoints") == [4, 2]
    assert [said.startswith("saved") for said in events] == [False, True, False, True, False]
    with pytest.raises(CheckpointFailed, match="the checkpoint of step 6 could not be written"):
        checkpoints.save(6, model, {})  # type: ignore[arg-type]


def test_a_reference_that_was_reset_comes_back_and_one_that_was_not_stays(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path, [])
    checkpoints.save(1, Model(), {}, Reference())  # type: ignore[arg-type]
    checkpoints.save(2, Model(), {}, Reference(torch.tensor([3.0, 4.0])))  # type: ignore[arg-type]
    start = torch.zeros(2)
    found = [Reference(start), Reference(start)]
    for step, reference in enumerate(found, start=1):
        checkpoints.load(step, Model(), reference)  # type: ignore[arg-type]
    assert [reference.weights.tolist() for reference in found] == [[0.0, 0.0], [3.0, 4.0]]  # type: ignore[union-attr]


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
