"""Run as two ranks by test_checkpoints.py: a real trainer's checkpoints on failing disks; JSON results."""

import json
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
from engine_entries import make_batch, make_trainer, policy_objective

from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.checkpoint import CheckpointFailed, Checkpoints
from rlvr_cli.core import distributed, rng
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine import process_group
from rlvr_cli.schema import Checkpoint

EVENTS: list[tuple[str, str]] = []


def opened(out: Path, **settings) -> Checkpoints:
    return Checkpoints(
        out, Checkpoint(**settings), {}, lambda kind, text, **more: EVENTS.append((kind, text))
    )


@contextmanager
def small_files(ranks: tuple[int, ...]):
    """On these ranks no file can grow past 4 KB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if distributed.rank() in ranks:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(trainer) -> list[float]:
    return [float(w.double().sum()) for _, w in trainer.weights()]


def train(trainer) -> None:
    trainer.update(make_batch(), policy_objective, lr=0.1)


def background(out: Path, path: str) -> dict:
    """What is written is the state at `save`, whatever happened to the weights and generators since."""
    trainer, checkpoints = make_trainer(path, 2), opened(out)
    train(trainer)
    saved, random = weights(trainer), rng.state()
    checkpoints.save(1, trainer, {"loop": {}})
    waited = checkpoints._writer is None
    train(trainer)
    later = torch.rand(1).item()
    checkpoints.settle()
    further = weights(trainer)
    step, damaged = checkpoints.newest_good()
    state = checkpoints.load(1, trainer)
    checkpoints.load_rng(1, seed=0)
    loaded = weights(trainer)
    same = torch.equal(random["torch"], torch.get_rng_state()) and torch.rand(1).item() == later
    train(trainer)
    found = {"saved": saved, "further": further, "loaded": loaded, "again": weights(trainer)}
    return found | {
        "step": step,
        "damaged": damaged,
        "state": state["step"],
        "random": same,
        "waited": waited,
    }


def full_disk(out: Path, path: str, ranks: tuple[int, ...]) -> dict:
    """A failing write between good ones; then two in a row."""
    trainer, checkpoints, seen = make_trainer(path, 2), opened(out, keep=2), []

    def look(step: int) -> None:
        checkpoints.save(step, trainer, {"loop": {}})
        try:
            checkpoints.settle()
            failed = False
        except CheckpointFailed as error:
            failed = str(error)
        distributed.barrier()
        names = sorted(p.name for p in checkpoints.folder.iterdir())
        seen.append({"latest": (checkpoints.folder / "latest").read_text(), "names": names, "failed": failed})
        distributed.barrier()

    look(1)
    with small_files(ranks):
        look(2)
    look(3)
    with small_files(ranks):
        look(4)
        look(5)
    try:
        with small_files(ranks):
            checkpoints.save(6, trainer, {"loop": {}}, last=True)
        last = "written"
    except CheckpointFailed as error:
        last = str(error)
    return {"seen": seen, "last": last, "good": checkpoints.newest_good()}


def damage(out: Path, path: str) -> dict:
    """Newer checkpoints are damaged, each in another way; then all of them."""
    trainer, checkpoints = make_trainer(path, 2), opened(out, keep=9, background=False)
    for step in (1, 2, 3, 4):
        checkpoints.save(step, trainer, {"loop": {}})
    waited = checkpoints._writer is None and checkpoints.latest() == 4
    files = manifest.read(checkpoints.folder / "step_4")["files"]
    if distributed.rank() == 0:
        os.truncate(checkpoints.folder / "step_4" / "trainer" / "mp_rank_00_model_states.pt", 1000)
        (checkpoints.folder / "step_3" / "rng_rank1.pt").unlink()
        (checkpoints.folder / "step_2" / "manifest.json").unlink()
    distributed.barrier()
    found = {
        "files": sorted(files),
        "waited": waited,
        "newest": checkpoints.newest_good(),
        "then": checkpoints.newest_good(),
    }
    if distributed.rank() == 0:
        os.truncate(checkpoints.folder / "step_1" / "state.json", 3)
    distributed.barrier()
    for _ in range(2):
        try:
            checkpoints.newest_good()
        except UserError as error:
            found["none"] = str(error)
    found["names"] = sorted(p.name for p in checkpoints.folder.iterdir())
    distributed.barrier()
    return found


def left_behind(out: Path, path: str) -> dict:
    """Killed while it was written: another rank's word of then must not count now."""
    trainer, checkpoints = make_trainer(path, 0), opened(out)
    if distributed.rank() == 0:
        (checkpoints.folder / ".step_1.tmp").mkdir(parents=True)
        word = {"error": None, "files": {"rng_rank1.pt": {"sha256": "old", "bytes": 1}}}
        (checkpoints.folder / ".step_1.tmp" / "rank1.json").write_text(json.dumps(word))
    distributed.barrier()
    start = checkpoints.newest_good()
    checkpoints.save(1, trainer, {"loop": {}}, last=True)
    wrong = checkpoints.verify(1)
    return {"start": start, "wrong": wrong, "newest": checkpoints.newest_good()}


def main(path: str, out: Path) -> None:
    process_group.initialise()
    results = {
        "background": background(out / "background", path),
        "full on all": full_disk(out / "full", path, (0, 1)),
        "full on one": full_disk(out / "one", path, (1,)),
        "damage": damage(out / "damage", path),
        "left behind": left_behind(out / "left", path),
    }
    agreed = distributed.gather(json.dumps(results))
    if distributed.rank() == 0:
        shutil.rmtree(out / "background")
        (out / "results.json").write_text(json.dumps({"ranks": agreed, "events": EVENTS}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
