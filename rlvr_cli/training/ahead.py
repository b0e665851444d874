"""What runs ahead of the training (`rollout.max_staleness`): its state between two uses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.rollout import Engine
from rlvr_cli.schema import OnUpdate, Overlap, Placement, Rollout
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.beside import Beside
from rlvr_cli.training.flights import Flight, Flights, share_of, unpacked
from rlvr_cli.vision.exact import digests
from rlvr_cli.vision.processor import Processor

SHOWN = 5


class Ahead:
    """This rank's prompts in flight, and the thread that samples them, if there is one."""

    def __init__(
        self,
        settings: Rollout,
        engine: Engine,
        tracker: Tracker | NullTracker,
        processor: Processor | None = None,
    ) -> None:
        """`processor`: of a model that sees."""
        self.settings, self.tracker, self._processor = settings, tracker, processor
        self.flights = Flights()
        self.beside = Beside(engine) if settings.overlap is Overlap.beside else None
        self.keeps = settings.on_update is OnUpdate.keep
        """Whether what runs goes on while weights come."""
        self.counts = settings.placement is Placement.in_process
        """Whether the engine asks for more after each of its steps; servers make theirs elsewhere."""
        self.engine_steps = 0
        """Steps of the engine since the last record."""
        self.beside_steps = 0
        """Those of them that were made while the trainer worked."""
        self.dropped = 0
        """Prompts dropped by any rank since the last record."""
        self._taken_at: int | None = None
        self._counted = 0

    # ------------------------------------------------------------- the thread

    def taken(self) -> None:
        """A step has its groups: what the engine does from now on, it does beside the trainer."""
        self._taken_at = self.beside.steps if self.beside is not None else None

    def pause(self, *, updating: bool = False) -> None:
        """End what the thread samples, and keep it as far as it is: before the engine is used for anything
        else and the flights are saved. `updating`: for new weights, where `on_update` may ask to finish, or
        not to end at all."""
        if self.beside is None or (updating and self.keeps):
            return
        finish = updating and self.settings.on_update is OnUpdate.finish
        for index, completions in self.beside.end(finish=finish):
            self.flights[index].came(completions)
        self.count()
        self._taken_at = None

    def count(self) -> None:
        """Bring the numbers of the engine's steps up to now."""
        if self.beside is None:
            return
        steps, began = self.beside.steps, self._taken_at
        self.engine_steps += steps - self._counted
        self.beside_steps += 0 if began is None else steps - began
        self._counted, self._taken_at = steps, None if began is None else steps

    def paused(self) -> Flights:
        """What is in flight, as far as it is."""
        self.pause()
        return self.flights

    def close(self) -> None:
        if self.beside is not None:
            self.beside.close()

    # ------------------------------------------------------------- prompts that do not train

    def drop_too_old(self, version: int) -> None:
        """Drop what can no longer train, and say so; all ranks must call it."""
        least = version - self.settings.max_staleness

        def old() -> list[int]:
            return [flight.index for flight in self.flights if flight.oldest(version) < least]

        if old():
            self.pause()  # then it is known how old they are, and nothing of them comes any more
        self.drop(old(), f"older than rollout.max_staleness={self.settings.max_staleness} allows")

    def drop(self, indices: Collection[int], why: str) -> None:
        """Give up prompts of this rank; all ranks must call it, and `why` is the same on all."""
        lost = self.flights.remove(indices)
        shares = distributed.gather(([flight.index for flight in lost], sum(f.tokens for f in lost)))
        gone = sorted(index for share, _ in shares for index in share)
        if not gone:
            return
        self.dropped += len(gone)
        shown = ", ".join(map(str, gone[:SHOWN])) + (", ..." if len(gone) > SHOWN else "")
        tokens = sum(count for _, count in shares)
        self.tracker.event(
            "dropped",
            f"{len(gone)} prompts in flight dropped with {tokens} tokens ({shown}): {why}",
            indices=gone,
            tokens=tokens,
        )

    def abandon(self, flights: Flights, why: str) -> None:
        """Give up all of `flights`, and those a checkpoint has brought back: they have come since, or are
        among them. All ranks must call it."""
        self.flights = flights
        self.drop([flight.index for flight in flights], why)

    def begin_anew(self, why: str) -> None:
        """Forget what was sampled and keep the prompts; all ranks must call it."""
        self.pause()
        found = distributed.gather((len(self.flights), self.flights.begin_anew()))
        prompts, tokens = (sum(column) for column in zip(*found, strict=True))
        if tokens:
            self.tracker.event(
                "begun_anew", f"{prompts} prompts in flight begin anew, {tokens} tokens are forgotten: {why}"
            )

    # ------------------------------------------------------------- checkpoints

    def state(self) -> list[dict[str, Any]]:
        """For a checkpoint: what is in flight on this rank."""
        return self.paused().state(self._processor)

    def load(self, saved: list[list[dict[str, Any]]], sampler: Sampler[Problem], engine: Engine) -> None:
        """Take this engine's share of what was in flight on all ranks, however many there were."""
        self.pause()
        known = {(name, p.id): p for name, found in sampler.items.items() for p in found}
        mine = share_of(saved, distributed.gather(engine.leader), distributed.rank())
        self.flights = Flights()
        lost, changed = [], 0
        for row in mine:
            problem = known.get((row["source"], row["problem"]))
            if problem is None:
                lost.append(row["index"])
                unknown = Problem(
                    id=row["problem"], prompt="", tokens=[], answer="", source=row["source"], verifiers=[]
                )
                self.flights.add([unpacked(row, unknown, engine.text)])
            elif row.get("images", []) != digests(problem.tokens, self._processor):
                changed += 1
                self.flights.add([Flight(index=row["index"], problem=problem)])
            else:
                self.flights.add([unpacked(row, problem, engine.text)])
        self.drop(lost, "their problems are not in the data any more")
        if count := sum(distributed.gather(changed)):
            self.tracker.event(
                "begun_anew", f"{count} prompts in flight begin anew: their images are others than they were"
            )


def demand_ahead(saved: list[list[dict[str, Any]]], step: int) -> None:
    """UserError where prompts are in flight, in a run that trains on none."""
    count = sum(map(len, saved))
    if count:
        raise UserError(
            f"the checkpoint of step {step} holds {count} prompts in flight, which rollout.max_staleness=0 "
            "never trains on; go on with rollout.max_staleness=1 or more"
        )
