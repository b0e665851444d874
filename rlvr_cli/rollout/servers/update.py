"""An update of all servers by broadcast: bucket by bucket, while the trainer makes the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import Future

from torch import Tensor

from rlvr_cli.rollout.engine import Names
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers.buckets import Bucket, buckets
from rlvr_cli.rollout.servers.channel import LOOK_S, Broken
from rlvr_cli.rollout.servers.client import Gone
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.loop import Loop
from rlvr_cli.rollout.servers.parcels import Cargo
from rlvr_cli.rollout.servers.replica import Replica


def broadcast(
    loop: Loop, fleet: Fleet, weights: Iterable[tuple[str, Tensor]], cargo: Cargo, known: Names
) -> Receipt:
    """Give all servers these weights as they come. At most two buckets are held, and in host memory a copy
    of all, for a server that has to be replaced: unless the first death ends the run.

    Another rank's turn in `weights` comes with this one's: they are gone through whatever becomes of servers.
    """
    update = Update(fleet, cargo)
    keeps = fleet.settings.restarts > 0
    names: list[str] = []
    sending: Future[None] | None = None
    loop.run(update.begin())
    try:
        for bucket in buckets(weights, fleet.device):
            names += bucket.seals
            if sending is not None:
                loop.wait(sending)
            sending = loop.start(update.send(bucket))
            if keeps:
                cargo.parcels.append(bucket.parcel())
        if sending is not None:
            loop.wait(sending)
        known.check(names)
        return loop.run(update.finish())
    except BaseException:
        if sending is not None:
            sending.cancel()
        raise  # the run ends: nobody replaces a server that has half of the weights


class Update:
    """Lives on the fleet's loop. A server that fails is left out; what replaces it gets the copy."""

    def __init__(self, fleet: Fleet, cargo: Cargo) -> None:
        self._fleet, self._cargo = fleet, cargo
        self._there: list[Replica] = []

    async def begin(self) -> None:
        """All stop between two tokens."""
        await self._fleet.updating.acquire()
        there = await self._fleet.stop(self._cargo)
        began = await self._fleet.all(there, lambda replica: replica.client.start_update())
        self._there = [replica for replica, _ in began]

    async def send(self, bucket: Bucket) -> None:
        """Until every server that is still there has loaded it."""
        carried = await self._fleet.all(self._there, lambda replica: self._carry(replica, bucket))
        self._there = [replica for replica, _ in carried]

    async def _carry(self, replica: Replica, bucket: Bucket) -> None:
        """Gone where it has not all of it: the server has ended or left the group, or takes too long."""
        channel, limit_s = replica.channel, self._fleet.settings.timeout_s
        if channel is None:
            raise Gone("it is in no group with the trainer")
        until = time.monotonic() + limit_s
        answer = asyncio.ensure_future(replica.client.load(bucket.info))
        try:
            work = channel.broadcast(bucket.flat)
            while not channel.done(work):
                if replica.process is not None and (how := replica.process.ended()) is not None:
                    raise Gone(f"it has ended: {how}")
                if answer.done():
                    answer.result()  # refused before it joined in
                if time.monotonic() > until:
                    raise Gone(f"a broadcast to it has not ended within {limit_s:g} s")
                await asyncio.sleep(LOOK_S)
        except BaseException as error:  # also where the trainer gives up
            replica.leave()
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            if isinstance(error, Broken | Gone):
                raise Gone(str(error)) from error
            raise
        await self._fleet.taken(replica, answer)

    async def finish(self) -> Receipt:
        """The receipts of all; they go on when the last has its weights. Then the replaced are waited for."""
        fleet, stamp = self._fleet, self._cargo.stamp
        taken = await fleet.all(self._there, lambda r: fleet.proved(r, r.client.finish(stamp)))
        await fleet.all([replica for replica, _ in taken], lambda replica: replica.client.resume())
        fleet.updating.release()
        await fleet.all_up()
        return fleet.receipt()
