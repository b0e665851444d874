"""The servers of a run: which one gets the next request, which weights they hold, what follows a death."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch

from rlvr_cli.core.errors import Hopeless
from rlvr_cli.rollout.engine import SyncError, demand
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers.client import Gone
from rlvr_cli.rollout.servers.parcels import Cargo
from rlvr_cli.rollout.servers.receipts import of_one_server, of_servers, read
from rlvr_cli.rollout.servers.replica import LOOK_S, Replica
from rlvr_cli.schema import Servers

T = TypeVar("T")
WATCH_S = 2.0
"""Between two questions to a server whether it is at work."""


class Fleet:
    """Lives on one event loop. One that does not lead only asks: another rank updates and restarts."""

    def __init__(
        self,
        replicas: list[Replica],
        settings: Servers,
        cargo: Cargo,
        *,
        leads: bool,
        room: int,
        keeps: bool = False,
        sees: bool = False,
    ) -> None:
        """`room`: samples that a server is given at once; `keeps`: what runs goes on with the keys and values
        of older weights; `sees`: prompts may have images."""
        self.replicas, self.settings, self.cargo, self.leads = replicas, settings, cargo, leads
        self.keeps, self.sees, self.held = keeps, sees, cargo.stamp
        """`held`: the newest weights that all servers are known to have."""
        self.restarts = 0
        """Servers that died and are back, or had to be."""
        self.sent_again = 0
        """Samples that were asked for once more."""
        self.sign_of_life = time.monotonic()
        self.news: deque[str] = deque()
        """What is to be told, oldest first."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that ends the run."""
        self._room = room
        self.backend: str | None = None
        """Of the groups in which weights are broadcast to servers; None: they go by parcels."""
        self.device = torch.device("cpu")
        """Where they are broadcast from."""
        self.updating = asyncio.Lock()
        self.sent = False
        """Weights have been sent: a server without a receipt is not known to hold them."""
        self._changed = asyncio.Condition()
        self._watchers = [asyncio.create_task(self._watch(replica)) for replica in replicas]

    async def choose(self, tokens: int, samples: int) -> Replica:
        """The server with the fewest tokens in flight, once one has room; it has this load from then on."""
        async with self._changed:
            await self._changed.wait_for(self._with_room)
            chosen = min(self._with_room(), key=lambda replica: replica.tokens)
            chosen.tokens += tokens
            chosen.samples += samples
            return chosen

    def _with_room(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.up.is_set() and replica.samples < self._room]

    async def release(self, replica: Replica, tokens: int, samples: int = 1) -> None:
        """So much of a load is done."""
        self.sign_of_life = time.monotonic()
        async with self._changed:
            replica.tokens -= tokens
            replica.samples -= samples
            self._changed.notify_all()

    def next_news(self) -> str | None:
        """The oldest that was not told; None: all is."""
        try:
            return self.news.popleft()
        except IndexError:  # another thread may ask too
            return None

    def doubt(self, replica: Replica, why: str) -> None:
        """It has not answered: nothing more goes there until it has been looked at."""
        if replica.up.is_set():
            replica.up.clear()
            replica.doubts.append(why)

    async def update(self, cargo: Cargo) -> Receipt:
        """Give all servers these weights, between two tokens of each.

        All stop before the first one changes and go on when the last one has: no two policies sample at
        once. One that dies meanwhile gets the weights when it is back, which is waited for.
        """
        async with self.updating:
            taken = await self.all(await self.stop(cargo), self._hand_over)
            await self.all([replica for replica, _ in taken], lambda r: r.client.resume())
        await self.all_up()
        return self.receipt()

    async def stop(self, cargo: Cargo) -> list[Replica]:
        """These are the weights from now on: servers that stand still for them. `updating` is held."""
        self.cargo.close()
        self.cargo, self.sent = cargo, True
        for replica in self.replicas:
            replica.receipt = None
        up = [replica for replica in self.replicas if replica.up.is_set()]
        return [r for r, _ in await self.all(up, lambda r: r.client.pause(keep=self.keeps))]

    async def all_up(self) -> None:
        """Until every server is at work with the current weights. Raises what ends the run."""
        for replica in self.replicas:
            waiting = asyncio.ensure_future(replica.up.wait())
            both: set[asyncio.Future[Any]] = {waiting, self.failed}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self.failed.done():
                waiting.cancel()
                self.failed.result()

    def receipt(self) -> Receipt:
        """What proves that all servers hold the current weights, also those that were replaced meanwhile."""
        return of_servers([r.receipt for r in self.replicas if r.receipt is not None])

    async def all(
        self, replicas: list[Replica], act: Callable[[Replica], Awaitable[T]]
    ) -> list[tuple[Replica, T]]:
        """What each answers; one that does not is doubted and left out."""
        answers = await asyncio.gather(*(act(replica) for replica in replicas), return_exceptions=True)
        found: list[tuple[Replica, T]] = []
        for replica, answer in zip(replicas, answers, strict=True):
            if isinstance(answer, Gone):
                self.doubt(replica, str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append((replica, answer))
        return found

    async def _hand_over(self, replica: Replica) -> None:
        """The current weights, by parcels."""
        cargo = self.cargo
        await self.proved(replica, replica.client.take(cargo.parcels, cargo.stamp, upload=replica.upload))

    async def taken(self, replica: Replica, answer: Awaitable[T]) -> T:
        """A server's answer to weights. SyncError where it refuses them, Gone where it is at its end."""
        try:
            return await answer
        except Gone as gone:
            if gone.answered and await self._still_works(replica):
                raise SyncError(f"weight sync: {replica.name}: {gone}") from gone
            raise

    async def proved(self, replica: Replica, answer: Awaitable[list[dict[str, Any]]]) -> None:
        """Until it has a receipt of the current weights. SyncError where they are not there or refused."""
        cargo = self.cargo
        receipt = of_one_server([read(each) for each in await self.taken(replica, answer)])
        demand(receipt)
        if self.sees:  # a pause that keeps what runs keeps this too
            await replica.client.forget_images()
        if (stamp := await replica.client.stamp()) != cargo.stamp:
            raise SyncError(f"weight sync: {replica.name} holds weights {stamp}, and {cargo.stamp} were sent")
        replica.receipt = receipt

    async def _still_works(self, replica: Replica) -> bool:
        """Whether an error was an answer to what was asked, and not the server's last."""
        await asyncio.sleep(1.0)
        with suppress(Gone):
            await replica.client.stamp()
            return replica.process is None or replica.process.ended() is None
        return False

    async def equip(self, replica: Replica) -> None:
        """A server that has just started, or was found, holds the current weights when this returns."""
        await replica.begin(self.backend, self.device, self.settings.timeout_s)
        if self.cargo.parcels:
            await replica.client.pause(keep=False)  # it may have prefixes of another run's weights
            await self._hand_over(replica)
        else:
            await replica.client.name(self.cargo.stamp)
        await replica.client.resume()  # also of one that was left in the middle of an update
        await self._is_up(replica)

    async def _is_up(self, replica: Replica) -> None:
        replica.doubts.clear()
        replica.up.set()
        async with self._changed:
            self._changed.notify_all()

    async def _watch(self, replica: Replica) -> None:
        """As long as the fleet lives: what is wrong with the server, and its replacement."""
        await replica.up.wait()
        try:
            while True:
                why = await self._trouble(replica)
                replica.up.clear()
                await self._revive(replica, why)
        except Exception as error:
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _trouble(self, replica: Replica) -> str:
        """Why a server has to be replaced, once it has to be."""
        asked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            if replica.process is not None and (how := replica.process.ended()) is not None:
                return how
            if self.updating.locked() or not (replica.doubts or time.monotonic() - asked > WATCH_S):
                continue
            try:
                stamp = await replica.client.stamp()
            except Gone as gone:
                return await replica.end() or (replica.doubts[0] if replica.doubts else str(gone))
            asked = self.sign_of_life = time.monotonic()
            if stamp != self.cargo.stamp and self.leads and not self.updating.locked():
                return f"it holds weights {stamp} in the place of {self.cargo.stamp}"
            if self.leads and self.sent and replica.receipt is None and not self.updating.locked():
                return replica.doubts[0] if replica.doubts else "it has not proved its weights"
            if replica.doubts:  # of one request, not of the server
                await self._is_up(replica)

    async def _revive(self, replica: Replica, why: str) -> None:
        """Replace a dead server, or wait for it. Hopeless when that happens too often, or takes too long."""
        began, settings = time.monotonic(), self.settings
        if not self.leads:
            await self._wait_for_the_leader(replica)
            return
        while True:
            self.restarts += 1
            if self.restarts > settings.restarts:
                raise Hopeless(
                    f"{replica.name}: {why}; {self.restarts} servers have died, and rollout.servers.restarts "
                    f"is {settings.restarts}" + replica.where_to_look()
                )
            self.news.append(
                f"{replica.name}: {why}; " + ("started again" if replica.start else "waited for")
            )
            async with self.updating:
                try:
                    await replica.restart()
                    await self._reached(replica)
                    await self.equip(replica)
                    break
                except Gone as gone:  # also while it starts: counted, and tried again
                    why = str(gone)
        self.news.append(
            f"{replica.name} is back with the current weights after {time.monotonic() - began:.0f} s "
            f"({self.restarts} of {settings.restarts})"
        )

    def _note_life(self) -> None:
        self.sign_of_life = time.monotonic()

    async def _reached(self, replica: Replica) -> None:
        try:
            await replica.answers(self.settings.start_s, self._note_life)
        except TimeoutError:
            raise Hopeless(
                f"{replica.name} has not answered for {self.settings.start_s:g} s (rollout.servers.start_s)"
                + replica.where_to_look()
            ) from None

    async def _wait_for_the_leader(self, replica: Replica) -> None:
        """Another rank replaces the server; it is at work when it holds weights of this run again."""
        end = time.monotonic() + 2 * self.settings.start_s
        while time.monotonic() < end:
            with suppress(Gone):
                if await replica.client.stamp() == self.cargo.stamp:
                    await self._is_up(replica)
                    return
            await asyncio.sleep(LOOK_S)
        raise Hopeless(f"{replica.name} is not back after {2 * self.settings.start_s:g} s")

    async def close(self) -> None:
        """Nothing is watched any more, and what the run has started ends."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(replica.close() for replica in self.replicas))
        self.cargo.close()
        self.failed.cancel()
