"""A process group of a trainer and the workers of one server, beside all others: weights go through it.

torch's own backends without torch's list of groups, as two programs meet here that know nothing of each
other's: NCCL between GPUs, gloo between CPUs. Nothing in it waits for ever: work is looked at, not waited
for, and who has waited long enough leaves the group.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C._distributed_c10d import BroadcastOptions
from torch.distributed import PrefixStore, TCPStore

T = TypeVar("T")
NCCL, GLOO = "nccl", "gloo"
LOOK_S = 0.0005
ALIVE_S = 1.0
"""Between two looks at whether the trainer lives."""
INTERFACE = "GLOO_SOCKET_IFNAME"
UNHANDLED = "TORCH_NCCL_ASYNC_ERROR_HANDLING"


class Broken(RuntimeError):
    """The group is of no use any more: one of it is gone, or late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What a server is told, so that its workers join: the trainer is rank 0."""

    host: str
    port: int
    size: int
    """Ranks: the trainer and the workers."""
    backend: str
    timeout_s: float
    """Until all have joined, and of each broadcast."""
    secret: int = field(default_factory=lambda: secrets.randbits(62))
    """The first thing that is broadcast: whoever else listens at this address does not know it."""


class Channel:
    """One rank's end. `broadcast` begins the next transfer; all ranks must begin the same ones in order."""

    def __init__(
        self, meeting: Meeting, rank: int, device: torch.device, listening: socket.socket | None = None
    ) -> None:
        """Joins; blocks until all have. `listening`: rank 0's, bound to the address of the meeting.

        RuntimeError where they have not within its time; Broken where who has joined is somebody else.
        """
        patience = timedelta(seconds=meeting.timeout_s)
        self.device, self._timeout_s, self._last = device, meeting.timeout_s, None
        self._store = _store(meeting, patience, listening)
        store = PrefixStore("weights", self._store)
        with _as_both_ends_have_it(meeting.backend):
            self._group: Any = _backend(meeting, rank, store, patience)
            mark = torch.tensor([meeting.secret if rank == 0 else 0], device=device)
            self.wait(self.broadcast(mark))  # NCCL connects with the first one
        if int(mark) != meeting.secret:
            raise Broken("another program has answered in the place of the trainer")

    def broadcast(self, flat: Tensor) -> Any:
        """Rank 0's numbers to all, in place: work that is done when `done` says so."""
        if self._group is None:
            raise Broken("the group has been left")
        options = BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        try:
            self._last = self._group.broadcast([flat], options)
            return self._last
        except RuntimeError as error:
            raise Broken(first_line(error)) from error

    def done(self, work: Any) -> bool:
        """Whether all of it has gone, or come. Broken where it never will."""
        if not work.is_completed():
            return False
        try:
            work.wait()  # raises what went wrong; of NCCL: what this thread computes next comes after it
        except RuntimeError as error:
            raise Broken(first_line(error)) from error
        return True

    def wait(self, work: Any) -> None:
        """Until it is done. Broken where it fails, takes too long, or the trainer is gone; the group is left
        then."""
        began = asked = time.monotonic()
        try:
            while not self.done(work):
                now = time.monotonic()
                if now - began > self._timeout_s:
                    raise Broken(f"a broadcast has not ended within {self._timeout_s:g} s")
                if now - asked > ALIVE_S:
                    asked = now
                    self._demand_trainer()
                time.sleep(LOOK_S)
        except Broken:
            self.leave()
            raise

    def _demand_trainer(self) -> None:
        try:
            self._store.check(["weights"])  # a question: the store lives in the trainer
        except RuntimeError as error:
            raise Broken("the trainer is gone") from error

    def leave(self) -> None:
        """At once, whatever is on its way."""
        group, self._group = self._group, None
        on_its_way = self._last is not None and not self._last.is_completed()
        self._last = None  # it would keep the connections open
        if group is None:
            return
        if not on_its_way:
            _abort(group)
            return
        # Where the last reference goes its end would be waited for, also by a process that ends. NCCL's
        # kernels end by an abort, gloo's threads when the other end closes, or by their timeout.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))
        threading.Thread(target=_abort, args=(group,), daemon=True).start()


def _abort(group: Any) -> None:
    with suppress(RuntimeError):
        group.abort()


def _backend(meeting: Meeting, rank: int, store: Any, patience: timedelta) -> Any:
    from torch.distributed import distributed_c10d

    if meeting.backend == NCCL:
        of_nccl = distributed_c10d.ProcessGroupNCCL.Options()
        of_nccl._timeout = patience
        return distributed_c10d.ProcessGroupNCCL(store, rank, meeting.size, of_nccl)
    kind: Any = distributed_c10d.ProcessGroupGloo
    if os.environ.get(INTERFACE):
        return kind(store, rank, meeting.size, patience)
    options = kind._Options()
    options._devices = [kind.create_device(hostname=address_towards(meeting.host, meeting.port))]
    options._timeout, options._threads = patience, 2
    return kind(store, rank, meeting.size, options)


def _store(meeting: Meeting, patience: timedelta, listening: socket.socket | None) -> TCPStore:
    """Where addresses are exchanged: in the trainer, which has the socket."""
    join = partial(
        TCPStore, meeting.host, meeting.port, meeting.size, timeout=patience, wait_for_workers=False
    )
    if listening is None:
        return join(is_master=False)
    descriptor = listening.detach()
    try:
        return join(is_master=True, master_listen_fd=descriptor)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def _as_both_ends_have_it(backend: str) -> Iterator[None]:
    """vLLM pins settings of NCCL in its processes that must be the same in all of a group; and torch ends
    a process in which a group of NCCL fails, unless it is told not to when the group is made."""
    if backend != NCCL:
        yield
        return
    before = os.environ.get(UNHANDLED)
    os.environ[UNHANDLED] = "0"
    pins = sys.modules.get("vllm.utils.nccl")
    try:
        with nullcontext() if pins is None else pins.unpinned_nccl_env():
            yield
    finally:
        if before is None:
            del os.environ[UNHANDLED]
        else:
            os.environ[UNHANDLED] = before


def address_towards(host: str, port: int) -> str:
    """This machine's address on the way to another: nothing is sent. OSError where there is no way."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as asking:
        asking.connect(address)
        return str(asking.getsockname()[0])


def in_thread(function: Callable[[], T]) -> asyncio.Future[T]:
    """Its result, from a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as failure:
            error = failure
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=work, name="channel", daemon=True).start()
    return future


def first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
