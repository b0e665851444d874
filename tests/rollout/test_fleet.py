"""Servers as a run sees them: which gets what, which weights they hold, and what follows when one dies."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from stub_fleet import sampled, stub_fleet
from stub_server import tokens_of

from rlvr_cli.core.errors import Hopeless
from rlvr_cli.rollout import Request, Sampling, SyncError
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.servers import replica
from rlvr_cli.rollout.servers.client import Gone
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.parcels import Cargo, Parcel
from rlvr_cli.rollout.servers.receipts import of_one_server, of_servers, read, written
from rlvr_cli.rollout.servers.replica import Replica
from rlvr_cli.rollout.shards import Taken
from rlvr_cli.schema import Servers

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=30)


def requests(count: int, samples: int = 4) -> list[Request]:
    return [Request(key=k, tokens=[10 + k, 20], samples=samples, seed=1000 * k) for k in range(count)]


def expected(request: Request) -> list[list[int]]:
    return [tokens_of(request.tokens, 1000 * request.key + n, 30) for n in range(request.samples)]


def test_groups_go_where_the_fewest_tokens_are_in_flight() -> None:
    with stub_fleet(2) as (loop, fleet, _):
        first, second = fleet.replicas
        assert loop.run(fleet.choose(100, 1)) is first
        assert loop.run(fleet.choose(30, 1)) is second
        assert loop.run(fleet.choose(30, 1)) is second
        assert loop.run(fleet.choose(50, 1)) is second  # 60 against 100
        assert loop.run(fleet.choose(1, 1)) is first  # 100 against 110
        loop.run(fleet.release(second, 110, 3))
        assert loop.run(fleet.choose(1, 1)) is second


def test_what_is_sampled_leaves_no_load_behind_also_when_it_is_cancelled() -> None:
    with stub_fleet(2, ms=2) as (loop, fleet, sampler):
        found = sampled(loop, sampler, requests(12), SAMPLING)
        assert {key: [c.tokens.tolist() for c in group] for key, group in found} == {
            request.key: expected(request) for request in requests(12)
        }
        assert [(r.tokens, r.samples) for r in fleet.replicas] == [(0, 0), (0, 0)]
        import queue

        work = loop.start(sampler.serve(sampler.order(requests(40), SAMPLING, queue.SimpleQueue())))
        time.sleep(0.1)
        assert sum(r.samples for r in fleet.replicas) > 0
        work.cancel()
        time.sleep(0.3)
        assert [(r.tokens, r.samples) for r in fleet.replicas] == [(0, 0), (0, 0)]


@pytest.mark.slow
def test_five_deaths_at_random_lose_no_group_and_double_none() -> None:
    """Killed while they sample, servers come back with the current weights, and the same tokens."""
    rng = random.Random(5)
    with stub_fleet(2, ms=3) as (loop, fleet, sampler):
        loop.run(fleet.update(Cargo(stamp="run.1.1")))
        over = threading.Event()

        def kill() -> None:
            for _ in range(5):
                time.sleep(rng.uniform(0.2, 0.6))
                while not (at_work := [r for r in fleet.replicas if r.up.is_set()]):
                    time.sleep(0.01)
                victim = rng.choice(at_work)
                assert victim.process is not None
                with suppress(ProcessLookupError):  # ended, which nobody has seen yet
                    os.kill(victim.process.pid, signal.SIGKILL)
            over.set()

        killer = threading.Thread(target=kill)
        killer.start()
        rounds = 0
        while not over.is_set() or not rounds:
            found = sampled(loop, sampler, requests(30), SAMPLING)
            assert sorted(key for key, _ in found) == list(range(30))
            for key, group in found:
                assert [c.tokens.tolist() for c in group] == expected(requests(30)[key])
            rounds += 1
        killer.join()
        loop.run(fleet.all_up())
        assert 1 <= fleet.restarts <= 5 and fleet.sent_again > 0
        told = [fleet.next_news() for _ in range(2)]
        assert "killed by SIGKILL; started again" in (told[0] or "")
        assert {loop.run(r.client.stamp()) for r in fleet.replicas} == {"run.1.1"}


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, as a GPU that hangs stops one: its connections are there, and nothing comes."""
    monkeypatch.setattr(replica, "END_S", 0.5)
    with stub_fleet(1, timeout_s=1) as (loop, fleet, sampler):
        process = fleet.replicas[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        found = sampled(loop, sampler, requests(2), SAMPLING)
        assert [c.tokens.tolist() for c in dict(found)[1]] == expected(requests(2)[1])
        assert fleet.restarts == 1 and "ReadTimeout" in (fleet.next_news() or "")


def test_after_too_many_deaths_the_run_ends_with_one_line() -> None:
    with stub_fleet(1, restarts=0) as (loop, fleet, _):
        process = fleet.replicas[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(Hopeless, match="server 0: killed by SIGKILL; 1 servers have died"):
            loop.run(wait_for_the_end(fleet))


async def wait_for_the_end(fleet: object) -> None:
    await fleet.failed  # type: ignore[attr-defined]


def test_other_weights_than_asked_for_are_an_error() -> None:
    """A server whose weights somebody else has replaced between two looks."""
    with stub_fleet(1) as (loop, fleet, sampler):
        loop.run(fleet.replicas[0].client.name("run.7.7"))
        with pytest.raises(
            SyncError, match=r"server 0 has sampled with weights run\.7\.7, and run\.0\.0 were"
        ):
            sampled(loop, sampler, requests(1), SAMPLING)


def test_receipts_of_workers_add_up_and_of_servers_the_least_counts() -> None:
    one = Receipt(compared=5, untold={"a": 2}, partial=["x"])
    two = Receipt(compared=3, sampled=4, untold={"a": 2, "b": 1}, wrong=["y"])
    whole = of_one_server([one, two])
    assert (whole.compared, whole.sampled, whole.untold) == (8, 4, {"a": 2, "b": 1})
    least = of_servers([one, two])
    assert (least.compared, least.sampled, least.wrong, least.partial) == (3, 0, ["y"], ["x"])


def test_workers_that_share_a_model_must_have_taken_all_of_it_together() -> None:
    halves = [Receipt(taken={"w": Taken(8, {(offset, (2, 2), (4, 1))})}) for offset in (0, 2)]
    wires = [json.loads(json.dumps(written(half, parts=True))) for half in halves]
    assert of_one_server([read(wire) for wire in wires]).wrong == []
    assert of_one_server([read(wires[0]), read(wires[0])]).wrong == ["w"]
    assert read(written(Receipt(compared=2, taken={"w": Taken(8)}), parts=False)) == Receipt(compared=2)


class Told:
    """The client of a server that does what it is asked; what that was is in `calls`."""

    url = "http://there"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._stamp = "another run.3.7"

    async def begin(self) -> None:
        self.calls.append("begin")

    async def pause(self, *, keep: bool) -> None:
        self.calls.append("pause" if keep else "pause and forget prefixes")

    async def take(self, parcels: list[Parcel], stamp: str, *, upload: bool) -> list[dict[str, Any]]:
        self.calls.append("weights")
        self._stamp = stamp
        return []

    async def stamp(self) -> str:
        return self._stamp

    async def forget_images(self) -> None:
        self.calls.append("forget images")

    async def resume(self) -> None:
        self.calls.append("resume")

    async def name(self, stamp: str) -> None:
        self._stamp = stamp

    async def close(self) -> None: ...


class Failing(Told):
    """Dies of the first weights it is given, and is back as if it had been started again."""

    async def take(self, parcels: list[Parcel], stamp: str, *, upload: bool) -> list[dict[str, Any]]:
        if self.calls.count("weights") == 0:
            self.calls.append("weights")
            raise Gone("it has ended: killed by SIGKILL")
        await super().take(parcels, stamp, upload=upload)
        return [written(Receipt(compared=6, untold={"packed": 2}), parts=False)]


async def updated(client: Any) -> tuple[Receipt, int]:
    """A fleet of this server alone gets new weights: what proves them, and how often it was replaced."""
    replica = Replica(name="there", client=client)
    fleet = Fleet([replica], Servers(restarts=1), Cargo(stamp="run.0.0"), leads=True, room=4)
    await fleet.equip(replica)
    parcels = [Parcel(os.memfd_create("some"), 0, {})]
    receipt = await fleet.update(Cargo(stamp="run.1.1", parcels=parcels))
    await fleet.close()
    return receipt, fleet.restarts


def test_a_server_that_dies_of_new_weights_has_proved_them_when_it_is_back() -> None:
    receipt, restarts = asyncio.run(updated(Failing()))
    assert restarts == 1 and receipt.verified == 6 / 8


def test_a_server_whose_receipt_was_lost_is_given_the_weights_again() -> None:
    """It names the new weights, and nothing proves that it has them."""

    class Lost(Told):
        async def take(self, parcels: list[Parcel], stamp: str, *, upload: bool) -> list[dict[str, Any]]:
            await super().take(parcels, stamp, upload=upload)
            if self.calls.count("weights") == 1:
                raise Gone("ReadTimeout at /collective_rpc")
            return [written(Receipt(compared=6), parts=False)]

    client = Lost()
    receipt, restarts = asyncio.run(updated(client))
    assert restarts == 1 and client.calls.count("weights") == 2 and client.calls[-1] == "resume"
    assert receipt.compared == 6


@pytest.mark.parametrize("sees", [True, False])
def test_what_servers_remember_of_older_weights_is_forgotten(sees: bool) -> None:
    """One that was there may have served another run; one that keeps what runs keeps no image of the old
    tower."""

    async def through() -> list[str]:
        there: Any = Told()
        replica = Replica(name="there", client=there, upload=True)
        cargo = Cargo(stamp="run.0.0", parcels=[Parcel(os.memfd_create("none"), 0, {})])
        fleet = Fleet([replica], Servers(), cargo, leads=True, room=4, keeps=True, sees=sees)
        await fleet.equip(replica)
        await fleet.update(Cargo(stamp="run.1.1"))
        await fleet.close()
        calls: list[str] = there.calls
        return calls

    images = ["forget images"] * sees
    assert asyncio.run(through()) == [
        *("begin", "pause and forget prefixes", "weights", *images, "resume"),
        *("pause", "weights", *images, "resume"),
    ]
