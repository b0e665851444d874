"""Checkpoints of a run: the trainer's state and what the loop needs to go on, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.writer import Writer, sync_tree
from rlvr_cli.core import distributed, rng, tensor_files
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import sync_directory, write_atomically
from rlvr_cli.schema import Checkpoint

MAX_FAILURES = 2
"""Checkpoints in a row that cannot be written end the run."""
FLIGHTS = "flights_rank{}.pt"


def flights_file(rank: int, flights: list[dict[str, Any]]) -> dict[str, Any]:
    """The file of a checkpoint with what a rank has in flight (training/flights.py)."""
    return {FLIGHTS.format(rank): flights}


class Optimised(Protocol):
    """A model with its optimizer: policy or critic."""

    settings: Any

    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]: ...

    def load(self, folder: Path, tag: str) -> None: ...


class Weights(Protocol):
    """A model without: the reference."""

    def snapshot(self) -> dict[str, Any]: ...

    def load(self, file: Path) -> None: ...


class CheckpointFailed(RuntimeError):
    """The state could not be written; the checkpoints there are, and `latest`, are as they were."""


class Checkpoints:
    """`checkpoints/step_N/` folders with a manifest each; `latest` and `best` hold names of them.

    Which one is best is part of the newest checkpoint's state, so that a kill cannot part the two.
    `report(kind, message, **fields)` is told what became of a write; the thread that writes never calls it.
    """

    def __init__(
        self, out: Path, settings: Checkpoint, recipe: dict[str, Any], report: Callable[..., None]
    ) -> None:
        """`recipe` goes into every checkpoint: what a run that goes on is compared with."""
        self.folder = out / "checkpoints"
        self.settings = settings
        self.recipe = recipe
        self.report = report
        self.seconds: float | None = None
        """What the last checkpoint took, from `save` to the disk."""
        self._writer: Writer | None = None
        self._step = 0
        self._stall = 0.0
        self._told = True
        self._failures = 0

    # ---------------------------------------------------------------- writing

    def save(
        self,
        step: int,
        trainer: Optimised,
        state: dict[str, Any],
        reference: Weights | None = None,
        critic: Optimised | None = None,
        *,
        files: dict[str, Any] | None = None,
        last: bool = False,
    ) -> None:
        """Take the state after `step` finished steps and start writing it; all ranks must call it.

        `files`: further ones of this rank by name, with names of its own.

        Waits for the write before this one, and for this one where it is the `last`, or
        `checkpoint.background` is off. Raises CheckpointFailed like `settle`.
        """
        self.settle()
        began = time.monotonic()
        whole = {"step": step, "recipe": self.recipe} | state
        content = self._content(whole, trainer, reference, critic) | (files or {})
        rank, ranks = distributed.rank(), distributed.world_size()
        head = {"step": step, "ranks": ranks, "zero_stage": trainer.settings.zero_stage}
        best = (state.get("loop", {}).get("best") or {}).get("step")
        commit = partial(self._commit, head, best)
        self._writer = Writer(self.folder / f".step_{step}.tmp", content, rank, ranks, commit)
        self._step, self._told, self._stall = step, False, time.monotonic() - began
        self._writer.start()
        if last or not self.settings.background:
            self.settle(last=last)

    def settle(self, *, last: bool = False) -> None:
        """Wait for the write under way, if there is one; all ranks must call it.

        Raises CheckpointFailed when it failed and was the `last`, or was the second in a row that did.
        """
        if (writer := self._writer) is None:
            return
        writer.written.wait()
        errors = [error for error in distributed.gather(writer.error) if error]
        if errors:
            writer.cancelled.set()
        writer.join()
        errors += [error for error in distributed.gather(writer.error)[:1] if error]
        if errors and writer.error is None:
            writer.error = errors[0]
        self.poll()
        self._writer = None
        self._failures = self._failures + 1 if errors else 0
        if errors and (last or self._failures == MAX_FAILURES):
            raise CheckpointFailed(
                f"the checkpoint of step {self._step} could not be written to {self.folder}: {errors[0]}"
            )

    def poll(self) -> None:
        """Report what has become of the last write, once it is known; needs no other rank."""
        if self._writer is None or self._told or self._writer.is_alive():
            return
        self._told = True
        if self._writer.error is None:
            self.seconds = self._stall + self._writer.seconds
            self.report("checkpoint", f"saved step {self._step}", step=self._step)
        else:
            self.report(
                "warning",
                f"the checkpoint of step {self._step} could not be written: {self._writer.error}; "
                "those before it are as they were",
                step=self._step,
            )

    def close(self) -> None:
        """Let a write under way end before the process does, also after an error elsewhere."""
        if self._writer is not None:
            self._writer.join(timeout=60)

    def _at(self, step: int) -> Path:
        return self.folder / f"step_{step}"

    def _content(
        self, state: dict[str, Any], trainer: Optimised, reference: Weights | None, critic: Optimised | None
    ) -> dict[str, Any]:
        """This rank's files by name. Copies, where training goes on while they are written."""
        copies = self.settings.background
        files = trainer.snapshot("trainer", copies=copies)
        if critic is not None:
            files |= critic.snapshot("critic", copies=copies)
        if reference is not None and (weights := reference.snapshot()):
            files["reference.pt"] = weights
        files[f"rng_rank{distributed.rank()}.pt"] = rng.state()
        if distributed.rank() == 0:
            files["state.json"] = json.dumps(state, indent=1)
        return files

    def _commit(self, head: dict[str, Any], best: int | None, files: dict[str, Any]) -> None:
        """Rank 0's thread, once all files are on the disk."""
        step = head["step"]
        aside, final = self.folder / f".step_{step}.tmp", self._at(step)
        manifest.write(aside, **head, files=files)
        sync_tree(aside)
        if final.exists():  # a resumed run that made no new step
            os.replace(final, self.folder / f".step_{step}.old")
        os.replace(aside, final)
        sync_directory(self.folder)
        write_atomically(self.folder / "latest", f"step_{step}\n")
        if best and self._at(best).exists():
            write_atomically(self.folder / "best", f"step_{best}\n")
        self._prune(best)

    def _prune(self, best: int | None) -> None:
        for step in manifest.steps(self.folder)[self.settings.keep :]:
            if step != best:  # renamed first: half of a checkpoint must not look like a damaged one
                os.replace(self._at(step), self.folder / f".step_{step}.gone")
        self._clear("old", "gone")

    def _clear(self, *endings: str) -> None:
        for ending in endings:
            for left in self.folder.glob(f".step_*.{ending}"):
                shutil.rmtree(left, ignore_errors=True)

    # ---------------------------------------------------------------- reading

    def latest(self) -> int | None:
        """Step of the newest checkpoint that was completed, whatever has become of it since."""
        complete = (n for n in manifest.steps(self.folder) if (self._at(n) / manifest.NAME).exists())
        return next(complete, None)

    def verify(self, step: int) -> str | None:
        """What is wrong with the checkpoint of `step`, naming the file; None: nothing. Reads all of it."""
        return manifest.wrong(self._at(step))

    def newest_good(self) -> tuple[int | None, list[str]]:
        """Step of the newest checkpoint whose every byte is as it was written, and what was wrong with newer
        ones; those are renamed. All ranks must call it and get the same. None: start afresh.

        Raises UserError where there are checkpoints but none of them is good.
        """
        self.settle()
        found = distributed.gather(self._search() if distributed.rank() == 0 else None)[0]
        assert found is not None
        step, damaged = found
        if damaged and step is None:
            raise UserError(
                f"{self.folder} has no checkpoint that is whole: {'; '.join(damaged)}; put a copy of one of "
                "them there, or start anew with another out="
            )
        return step, damaged

    def _search(self) -> tuple[int | None, list[str]]:
        self._clear("tmp", "old", "gone")
        damaged: dict[int, str] = {}
        for step in manifest.steps(self.folder):
            wrong = self.verify(step)
            if wrong is None:
                for bad in damaged:  # only now: where none is good, all stay for the user to look at
                    manifest.set_aside(self._at(bad))
                write_atomically(self.folder / "latest", f"step_{step}\n")
                return step, [f"step_{bad}: {said}" for bad, said in damaged.items()]
            damaged[step] = wrong
        return None, [f"step_{bad}: {said}" for bad, said in damaged.items()]

    def load(
        self,
        step: int,
        trainer: Optimised,
        reference: Weights | None = None,
        critic: Optimised | None = None,
    ) -> dict[str, Any]:
        """Restore the trainer (and reference and critic) and return the loop's state."""
        folder = self._at(step)
        trainer.load(folder, "trainer")
        if reference is not None and (folder / "reference.pt").exists():
            reference.load(folder / "reference.pt")
        if critic is not None:
            if not (folder / "critic").exists():
                raise UserError(f"{folder} holds no critic: its run had none; start a new one with out=")
            critic.load(folder, "critic")
        state: dict[str, Any] = json.loads((folder / "state.json").read_text())
        return state

    def flights(self, step: int) -> list[list[dict[str, Any]]]:
        """What each rank of then had in flight, in their order; empty where nothing was sampled ahead."""
        folder = self._at(step)
        files = [folder / FLIGHTS.format(rank) for rank in range(manifest.read(folder)["ranks"])]
        return [tensor_files.read(file) for file in files if file.exists()]

    def load_rng(self, step: int, seed: int) -> None:
        """Restore this rank's random generators; of another number of ranks they start from the seed.

        To be called last: loading models and starting an engine draw from them.
        """
        folder, rank, now = self._at(step), distributed.rank(), distributed.world_size()
        before = manifest.read(folder)["ranks"]
        if before == now:
            rng.load(tensor_files.read(folder / f"rng_rank{rank}.pt"))
            return
        rng.seed(seed + step, rank)
        self.report(
            "resume",
            f"the checkpoint of {before} rank{'s' * (before > 1)} was converted for {now}; random generators "
            "start from the seed",
            ranks=now,
        )
