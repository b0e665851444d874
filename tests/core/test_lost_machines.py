"""A rank that gives no sign of life, on another machine than this one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from torch.distributed import PrefixStore, TCPStore

from rlvr_cli.core import lost_machines
from rlvr_cli.core.lost_machines import Lookout

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BEAT_S", 0.05), ("LOST_S", 1.0), ("LOOK_S", 0.05)):
        monkeypatch.setattr(lost_machines, name, value)


@contextmanager
def three(port: int = 0) -> Iterator[tuple[list[Lookout], dict[int, str]]]:
    """Ranks at work in one store, and who has given up, why."""
    kept = TCPStore("127.0.0.1", port, is_master=True, timeout=timedelta(seconds=5))
    gave_up: dict[int, str] = {}

    def notes(rank: int) -> Callable[[str], None]:
        return lambda cause: gave_up.__setitem__(rank, cause)

    lookouts = [
        Lookout(PrefixStore("run", kept).clone(), rank, 3, notes(rank))  # type: ignore[attr-defined]
        for rank in range(3)
    ]
    for each in lookouts:
        each.start()
    yield lookouts, gave_up
    for each in lookouts:
        each.stop(ended=False)


def wait_for(holds: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_others_end_where_one_is_lost_and_not_where_one_has_ended() -> None:
    with three() as (ranks, gave_up):
        ranks[1].stop(ended=True)
        time.sleep(1.5)
        assert not gave_up
        began = time.monotonic()
        ranks[2].stop(ended=False)
        wait_for(lambda: set(gave_up) == {0})
        assert time.monotonic() - began >= 0.9
        host = socket.gethostname()
        assert gave_up[0].startswith(f"no sign of life from rank 2 on {host} for ")


def test_a_store_that_answers_nobody_is_a_machine_lost() -> None:
    """The rank cannot tell which: it sees nobody."""
    silent = threading.Event()

    class Frozen:
        def __init__(self, store: object) -> None:
            self.store = store

        def __getattr__(self, name: str) -> object:
            if silent.is_set():
                time.sleep(60)
            return getattr(self.store, name)

    with three() as (ranks, gave_up):
        ranks[0]._store = Frozen(ranks[0]._store)  # type: ignore[assignment]
        silent.set()
        wait_for(lambda: 0 in gave_up)
        assert gave_up[0].startswith("no sign of life from 2 ranks (rank 1 and others) on ")


def test_a_rank_that_stood_still_itself_gives_the_others_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended job that goes on: everybody's last sign of life is old."""
    with three() as (_, gave_up):
        clock, leap = time.monotonic, 0.0
        monkeypatch.setattr(lost_machines.time, "monotonic", lambda: clock() + leap)
        leap = 100.0
        time.sleep(0.4)
        assert not gave_up


def test_it_starts_where_a_process_may_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5))
    waited: list[bool] = []
    lost_machines.watch(kept, 0, 1, lambda: waited.append(True))
    assert waited == [True] and kept.num_keys() <= 1
    monkeypatch.setattr(lost_machines, "_give_up", print)
    lost_machines.watch(kept, 0, 1, lambda: waited.append(True))
    assert waited == [True, True] and kept.get("alive/0").endswith(b" 0")
    lost_machines.stop(ended=True)
    assert kept.get("alive/0") == b"ended" and lost_machines._lookout is None
