"""The process in a box that forks for every program: imports are done once, and it holds nothing else.

It is the first process of the box's PID namespace. It never reads a request: descriptors go through
it to the child, so no program finds another's source or input in the memory it inherits.

The control socket carries one program at a time:

    host -> settings (JSON) with 4 descriptors: request, stdin, stdout, channel
    host -> "kill"                              at any time while it runs
    zygote -> {"code": exit code, negative for a signal} or {"failed": why it could not be started}
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from time import monotonic

from rlvr_cli.verifiers.sandbox import kernel, program
from rlvr_cli.verifiers.sandbox.confine import Settings, confine, own_place

REAP_S = 2.0
"""Without a PID namespace: how long leftovers are hunted."""


def warm(packages: str) -> None:
    """Everything that is to be imported before the first fork. `packages`: where numpy lies, or nothing."""
    if packages:
        sys.path.append(packages)
        import_module("numpy.random")  # numpy itself loads it when it is asked for, and then cannot
        sys.path.remove(packages)
    program.prepare()
    gc.collect()
    gc.freeze()  # children share these pages and need not look at them


def serve(control: int) -> None:
    """Until the host hangs up."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    channel = socket.socket(fileno=control)
    channel.send(b'{"ready": true}')
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 4096, 4)
        if not message:
            os._exit(0)
        if len(descriptors) != 4:  # a kill that came too late
            continue
        answer = run(json.loads(message), descriptors, channel)
        channel.send(json.dumps(answer).encode())


def run(settings: Settings, descriptors: list[int], channel: socket.socket) -> dict[str, object]:
    try:
        pid = spawn(settings, descriptors)
    except OSError as error:
        return {"failed": str(error)}
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(channel, select.POLLIN)
    if ended not in dict(poll.poll()):
        if not channel.recv(4096):
            os._exit(0)  # the host is gone; the kernel ends the rest
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(ended)
    if not settings["boxed"]:
        sweep()
    return {"code": os.waitstatus_to_exitcode(status)}


def spawn(settings: Settings, descriptors: list[int]) -> int:
    """The program's process; in a box the first of its own PID namespace, and an orphan adopted here."""
    if not settings["boxed"]:
        child = os.fork()
        if child == 0:
            begin(settings, descriptors)
        return child
    readable, writable = os.pipe()
    middle = os.fork()
    if middle == 0:
        try:
            own_place(settings)
            child = os.fork()
            if child == 0:
                begin(settings, descriptors)
            os.write(writable, str(child).encode())
        except OSError as error:
            os.write(writable, f"{error}".encode())
        finally:
            os._exit(0)
    os.close(writable)
    os.waitpid(middle, 0)
    said = os.read(readable, 4096).decode()
    os.close(readable)
    if not said.isdigit():
        raise OSError(said or "the process that starts a program died")
    return int(said)


def begin(settings: Settings, descriptors: list[int]) -> None:
    """The descriptors in their places, everything else closed, every privilege gone. Never returns."""
    status = 1
    try:
        os.setsid()
        request, *others = (fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in descriptors)
        with open(request, "rb", closefd=False) as file:
            job = json.load(file)
        for place, number in zip((0, 1, program.CHANNEL), others, strict=True):
            os.dup2(number, place)
        os.closerange(program.CHANNEL + 1, 1024)
        confine(settings)
        status = program.run(job)
    except BaseException as error:
        with suppress(BaseException):
            program.tell({"error": f"{type(error).__name__}: {error}"[:300]})
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
        os._exit(status)


def sweep() -> None:
    """Kill what a program without a PID namespace has left to this subreaper."""
    end = monotonic() + REAP_S
    while monotonic() < end:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            left = file.read().split()
        if not left:
            return
        for pid in map(int, left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in map(int, left):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
