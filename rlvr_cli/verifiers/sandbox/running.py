"""One running program, seen from outside: what it is given, what comes back, with limits on all of it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from rlvr_cli.verifiers.sandbox.box_process import Box, SandboxError
from rlvr_cli.verifiers.sandbox.limits import MAX_MESSAGE

CHUNK = 1 << 16
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a program ended. Only ever a reason against it."""

    code: int
    """Exit code; negative: ended by that signal."""
    stdout: bytes
    error: str = ""
    """What it died of, in its own words."""
    stopped: str = ""
    """Why the host ended it: `time`, `output` or `message`."""

    @property
    def clean(self) -> bool:
        return self.code == 0 and not self.stopped


class Program:
    """One running program. Made by Sandbox.open."""

    def __init__(self, box: Box, job: dict[str, Any], stdin: bytes) -> None:
        self._box, self._limit = box, box.limits.output_mb << 20
        self._lines: list[bytes] = []
        self._partial, self._stdout = bytearray(), bytearray()
        self._stopped, self._code = "", 0
        self._running = self._hung_up = False
        output, output_theirs = os.pipe()
        self._output: int | None = output
        self._channel, channel_theirs = socket.socketpair()
        descriptors = [
            sealed(json.dumps(job).encode()),
            sealed(stdin),
            output_theirs,
            channel_theirs.fileno(),
        ]
        try:
            os.set_blocking(output, False)
            self._channel.setblocking(False)
            box.send(descriptors)
            self._running = True
        except SandboxError:
            self.close()
            raise
        finally:
            channel_theirs.close()
            for descriptor in descriptors[:3]:
                os.close(descriptor)

    def send(self, message: bytes, deadline: float) -> None:
        """One line to the program. A program that does not read it is ended at the deadline."""
        left = memoryview(message)
        while left and self._running:
            try:
                left = left[self._channel.send(left) :]
            except BlockingIOError:
                if not ready([self._channel], deadline, select.POLLOUT):
                    self.stop("time")
            except OSError:  # it is gone; `receive` will say so
                return

    def receive(self, deadline: float) -> bytes | None:
        """The program's next line; None if it ends, or has been ended, before it says one."""
        while not self._lines and self._running:
            self._pump(deadline)
        return self._lines.pop(0) if self._lines else None

    def finish(self, deadline: float) -> Outcome:
        """Wait until it has ended, at the latest at the deadline, and say how."""
        while self._running:
            self._pump(deadline)
        return Outcome(
            code=self._code, stdout=bytes(self._stdout), error=self._error(), stopped=self._stopped
        )

    def stop(self, why: str) -> None:
        """End it and everything it has started."""
        if self._running:
            self._stopped = self._stopped or why
            self._box.kill()
            self._ended(self._box.ended(monotonic() + 10.0))

    def close(self) -> None:
        try:
            self.stop("closed")
        finally:
            self._channel.close()
            if self._output is not None:
                os.close(self._output)
                self._output = None

    def _pump(self, deadline: float) -> None:
        """Take in what has come, waiting until the deadline."""
        sources: list[Any] = [self._box.control]
        sources += [] if self._hung_up else [self._channel]
        sources += [] if self._output is None else [self._output]
        heard = ready(sources, deadline, select.POLLIN)
        if not heard or monotonic() > deadline:  # also of one that never stops talking
            self.stop("time")
        if self._output in heard:
            self._read_output()
        if self._channel in heard:
            self._read_channel()
        if self._running and self._box.control in heard:
            self._ended(self._box.ended(monotonic() + 1.0))

    def _ended(self, code: int) -> None:
        """The program is gone; what is still in the pipes is the last there is."""
        self._code, self._running = code, False
        while self._read_output():
            pass
        while self._read_channel():
            pass

    def _read_output(self) -> bool:
        if self._output is None:
            return False
        try:
            chunk = os.read(self._output, CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            os.close(self._output)
            self._output = None
        self._stdout += chunk
        if len(self._stdout) <= self._limit:
            return bool(chunk)
        self._stopped = self._stopped or "output"
        self.stop("output")
        return False

    def _read_channel(self) -> bool:
        try:
            chunk = self._channel.recv(CHUNK)
        except (BlockingIOError, ConnectionResetError):
            return False
        self._hung_up = self._hung_up or not chunk  # it may go on for all we care
        self._partial += chunk
        if b"\n" in chunk:
            *lines, rest = self._partial.split(b"\n")
            self._lines += map(bytes, lines)
            self._partial = bytearray(rest)
        if (
            len(self._partial) + sum(len(line) + 64 for line in self._lines) <= MAX_MESSAGE
        ):  # empty lines cost, too
            return bool(chunk)
        self._stopped = self._stopped or "message"
        self.stop("message")
        return False

    def _error(self) -> str:
        for line in reversed(self._lines):
            message = parse(line)
            if isinstance(message.get("error"), str):
                return message["error"][:300]
        return ""


def ready(sources: list[Any], deadline: float, event: int) -> list[Any]:
    """Those of the sources (descriptors or sockets) with something to do, waiting until the deadline."""
    poll = select.poll()  # and not select, which knows the first 1024 descriptors only
    numbers = {source if isinstance(source, int) else source.fileno(): source for source in sources}
    for number in numbers:
        poll.register(number, event)
    return [numbers[number] for number, _ in poll.poll(max(0.0, deadline - monotonic()) * 1000)]


def sealed(data: bytes) -> int:
    """Descriptor of a file in memory that nobody can change any more."""
    descriptor = os.memfd_create("rlvr", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def parse(line: bytes) -> dict[str, Any]:
    """A program's message; empty where it is no JSON object. It may be hostile: deep, huge, garbage."""
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}
