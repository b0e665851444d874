"""The machine: a disk that is slow or full, ranks that die, stand still or keep all they see."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from fault_cases import Place, case, plugin


@case("the disk is slow", r"writing takes .* of a step", begins=0)
def slow_disk(place: Place) -> list[str]:
    """Each write of samples waits for a second: `os.replace` as of a busy network disk."""
    return [plugin("slow_writes")]


@contextmanager
def small_disk(place: Place) -> Iterator[None]:
    """A real one of 1.5 MB, with room for a few steps and for no checkpoint. Only root may mount it."""
    disk = place.folder / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@case("the disk is full", r"No space left on device", around=small_disk)
def full_disk(place: Place) -> list[str]:
    return [f"out={place.folder / 'disk' / 'run'}", "checkpoint.every=1"]


@case("a rank is killed", r"rank 1.*killed by SIGKILL|killed by SIGKILL.*rank 1", begins=3)
def killed_rank(place: Place) -> list[str]:
    return ["trainer.ranks=2", plugin("killed")]


@case("a rank stands still", r"no sign of life for", begins=3)
def hang(place: Place) -> list[str]:
    return ["faults.hang_s=4", "faults.max_restarts=0", plugin("stands_still")]


@case("a rank keeps all that it sees", r"memory of a rank rose steadily")
def growing_memory(place: Place) -> list[str]:
    return [plugin("keeps_all")]


@case("a checkpoint is torn", r"damaged checkpoint was set aside", begins=4)
def torn_checkpoint(place: Place) -> list[str]:
    return ["checkpoint.every=2", plugin("torn")]


@case("a key of the recipe is misspelt", r"did you mean")
def misspelt_key(place: Place) -> list[str]:
    return ["+rollout.temprature=0.7"]


@case("batch sizes that do not divide", r"updates_per_step.*divide|divi")
def batch_sizes(place: Place) -> list[str]:
    return ["batch.updates_per_step=3"]
