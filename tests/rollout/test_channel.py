"""Weights broadcast through a process group of two: what arrives, and what follows when one end is gone."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr_cli.rollout import SyncError
from rlvr_cli.rollout.engine import Names
from rlvr_cli.rollout.servers import update as updates
from rlvr_cli.rollout.servers.buckets import Bucket, apart, buckets, size_of
from rlvr_cli.rollout.servers.channel import Broken, Channel, Meeting
from rlvr_cli.rollout.servers.engine import ServersEngine
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.loop import Loop
from rlvr_cli.rollout.servers.meet import backend_of, said
from rlvr_cli.rollout.servers.parcels import Cargo, seal
from rlvr_cli.rollout.servers.replica import Replica
from rlvr_cli.schema import Servers, Transfer

CPU = torch.device("cpu")
WEIGHTS = {
    "a": torch.arange(12.0).view(3, 4),
    "b": torch.arange(6, dtype=torch.bfloat16).view(2, 3).T,
    "c": torch.ones(1),
    "d": torch.tensor(3.0),
    "e": torch.arange(5, dtype=torch.bfloat16),
}


def met(timeout_s: float = 5.0) -> tuple[Channel, Channel]:
    """Both ends, of the trainer and of a worker."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    meeting = Meeting(host="127.0.0.1", port=port, size=2, backend="gloo", timeout_s=timeout_s)
    with ThreadPoolExecutor(2) as pool:
        mine = pool.submit(Channel, meeting, 0, CPU, listening)
        theirs = pool.submit(Channel, meeting, 1, CPU)
        return mine.result(), theirs.result()


def test_buckets_are_of_one_type_and_not_larger_than_they_may_be() -> None:
    found = [*buckets(WEIGHTS.items(), CPU, most=50)]
    assert [[*each.shapes] for each in found] == [["a"], ["b", "e"], ["c", "d"]]
    assert [len(each.flat) for each in found] == [48, 22, 8]
    found = [*buckets(WEIGHTS.items(), CPU, most=56)]
    assert [[*each.shapes] for each in found] == [["a", "c", "d"], ["b", "e"]]
    with pytest.raises(SyncError, match="a is sent twice"):
        [*buckets([*WEIGHTS.items(), ("a", torch.ones(2))], CPU)]


def test_what_is_broadcast_arrives_to_the_bit_and_a_broken_seal_is_noted() -> None:
    mine, theirs = met()
    arrived, wrong = {}, []
    for bucket in buckets(WEIGHTS.items(), CPU, most=50):
        sent = mine.broadcast(bucket.flat)
        flat = torch.empty(len(bucket.flat), dtype=torch.uint8)
        theirs.wait(theirs.broadcast(flat))
        mine.wait(sent)
        arrived |= dict(apart(flat, **bucket.info, broken=wrong))
        damaged = flat.clone()
        damaged[-1] ^= 1
        found: list[str] = []
        assert len([*apart(damaged, **bucket.info, broken=found)]) == len(bucket.shapes)
        assert found == [[*bucket.shapes][-1]]
    assert not wrong and {n: seal(t) for n, t in arrived.items()} == {n: seal(t) for n, t in WEIGHTS.items()}
    assert len({t.untyped_storage().data_ptr() for t in arrived.values()}) == len(WEIGHTS)
    mine.leave(), theirs.leave()


def test_a_parcel_of_a_bucket_is_read_as_the_bucket() -> None:
    [_, bucket] = buckets(WEIGHTS.items(), CPU)
    parcel = bucket.parcel()
    info = parcel.info(parcel.path)
    flat = torch.from_file(info.pop("path"), shared=False, size=parcel.size, dtype=torch.uint8)
    broken: list[str] = []
    assert info == bucket.info and size_of(info["dtype"], info["shapes"]) == parcel.size
    assert {n: seal(t) for n, t in apart(flat, **info, broken=broken)} == bucket.seals and not broken
    parcel.close()
    assert not os.path.exists(parcel.path)


def test_who_waits_learns_that_the_other_is_gone() -> None:
    mine, theirs = met()
    theirs.leave()
    with pytest.raises(Broken):
        mine.wait(mine.broadcast(torch.zeros(2**20)))
    with pytest.raises(Broken, match="left"):
        mine.broadcast(torch.zeros(1))


def test_who_waits_for_one_that_does_nothing_does_so_for_as_long_as_was_said() -> None:
    mine, theirs = met(timeout_s=1.0)
    with pytest.raises(Broken):
        theirs.wait(theirs.broadcast(torch.zeros(4)))
    mine.leave()


def test_another_program_at_the_address_is_not_the_trainer() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    meeting = Meeting(host="127.0.0.1", port=port, size=2, backend="gloo", timeout_s=5)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(Channel, replace(meeting, secret=1), 0, CPU, listening)
        theirs = pool.submit(Channel, replace(meeting, secret=2), 1, CPU)
        with pytest.raises(Broken, match="another program"):
            theirs.result()


@pytest.mark.parametrize(
    ("transfer", "gpus", "backend"),
    [
        ("auto", [True, True, True], "nccl"),
        ("auto", [True, True, False], None),
        ("auto", [False, False], None),
        ("broadcast", [False, False], "gloo"),
        ("broadcast", [True, False], "gloo"),
        ("broadcast", [True, True], "nccl"),
        ("memory", [True, True], None),
    ],
)
def test_the_way_follows_from_who_has_gpus(transfer: str, gpus: list[bool], backend: str | None) -> None:
    assert backend_of(Transfer(transfer), gpus) == backend
    assert f"transfer={transfer})" in said(backend, Transfer(transfer))


class There:
    """A server with one worker, which takes what is broadcast; after `lives` buckets it does not answer."""

    url = "http://there"

    def __init__(self, end: Channel, lives: int = 100, goes: bool = True) -> None:
        self.end, self.lives, self.goes = end, lives, goes
        self.taken: dict[str, Any] = {}
        self.calls: list[str] = []

    async def pause(self, *, keep: bool) -> None:
        self.calls.append("pause")

    async def start_update(self) -> None:
        self.calls.append("start")

    async def load(self, info: dict[str, Any]) -> None:
        self.lives -= 1
        if self.lives < 0:
            if self.goes:
                self.end.leave()
            await asyncio.sleep(60)
        flat = torch.empty(size_of(info["dtype"], info["shapes"]), dtype=torch.uint8)
        await asyncio.to_thread(lambda: self.end.wait(self.end.broadcast(flat)))
        self.taken |= dict(apart(flat, **info, broken=[]))

    async def finish(self, stamp: str) -> list[dict[str, Any]]:
        self.calls.append("finish")
        self.name = stamp
        return [{"compared": len(self.taken), "taken": {}}]

    async def stamp(self) -> str:
        return getattr(self, "name", "run.0.0")

    async def resume(self) -> None:
        self.calls.append("resume")

    async def leave(self) -> None:
        self.calls.append("leave")

    async def close(self) -> None: ...


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop("test")
    yield made
    made.close()


@pytest.mark.parametrize("goes", [True, False])
def test_a_server_that_goes_in_the_middle_is_left_out_and_the_copy_is_whole(
    goes: bool, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections close, or it hangs; the other has all, and what follows is the watch's affair."""
    monkeypatch.setattr(updates, "buckets", lambda w, d: buckets(w, d, most=50))
    replicas, there = [], []
    for number in range(2):
        mine, theirs = met(timeout_s=60.0)
        there.append(There(theirs, lives=1 if number else 100, goes=goes))
        client: Any = there[-1]
        replicas.append(Replica(name=f"server {number}", client=client, channel=mine))

    async def opened() -> Fleet:
        made = Fleet(replicas, Servers(timeout_s=1.0), Cargo(stamp="run.0.0"), leads=True, room=4)
        for replica in replicas:
            replica.up.set()
        made.backend = "gloo"
        return made

    async def only_the_first(self: Fleet) -> None: ...

    monkeypatch.setattr(Fleet, "all_up", only_the_first)
    fleet = loop.run(opened())
    cargo = Cargo(stamp="run.1.1")
    began = time.monotonic()
    receipt = updates.broadcast(loop, fleet, iter(WEIGHTS.items()), cargo, Names())
    assert time.monotonic() - began < 10 and receipt.compared == len(WEIGHTS)
    assert {n: seal(t) for n, t in there[0].taken.items()} == {n: seal(t) for n, t in WEIGHTS.items()}
    assert there[0].calls == ["pause", "start", "finish", "resume"] and there[1].calls == ["pause", "start"]
    assert [name for parcel in cargo.parcels for name in parcel.seals] == [*"abecd"]
    assert replicas[1].channel is None and not replicas[1].up.is_set() and replicas[0].up.is_set()
    assert not fleet.updating.locked()
    loop.run(fleet.close())


def test_where_no_death_is_survived_no_copy_is_kept(loop: Loop) -> None:
    mine, theirs = met()
    client: Any = There(theirs)
    replica = Replica(name="server", client=client, channel=mine)

    async def opened() -> Fleet:
        made = Fleet([replica], Servers(restarts=0), Cargo(stamp="run.0.0"), leads=True, room=4)
        replica.up.set()
        return made

    fleet, cargo = loop.run(opened()), Cargo(stamp="run.1.1")
    updates.broadcast(loop, fleet, iter(WEIGHTS.items()), cargo, Names())
    assert not cargo.parcels and len(client.taken) == len(WEIGHTS)
    with pytest.raises(SyncError, match="1 weights missing"):
        known = Names()
        known.check([*WEIGHTS, "f"])
        updates.broadcast(loop, fleet, iter(WEIGHTS.items()), Cargo(stamp="run.2.2"), known)
    loop.run(fleet.close())


def test_a_rank_whose_sync_fails_goes_on_gathering_with_the_others() -> None:
    engine: Any = object.__new__(ServersEngine)
    engine._loads, engine._adapters, engine._run = 1, False, "run"
    engine._fleet = SimpleNamespace(leads=True, next_news=lambda: None)

    def refused(coming: Iterator[Any], cargo: Cargo) -> None:
        next(coming)
        raise SyncError("refused")

    engine._hand_over = refused
    coming = iter(WEIGHTS.items())
    with pytest.raises(SyncError, match="refused"):
        engine.load(coming)
    assert next(coming, None) is None


def test_a_bucket_has_what_was_copied_when_the_tensor_is_gone() -> None:
    tensor = torch.ones(3)
    bucket = Bucket(flat=torch.empty(12, dtype=torch.uint8), dtype=torch.float32)
    bucket.add("a", tensor)
    tensor.zero_()
    assert bucket.closed().flat.view(torch.float32).tolist() == [1, 1, 1]
