"""A pool of verifiers behind HTTP: POST /verify and /judge, GET /health and /metrics (docs/verifiers.md).

The standard library's server, a thread per connection: what takes time is the pool, which has its own bound,
and a run without vLLM needs no web framework. What a connection may take is in connections.py, what becomes
of a request in handler.py.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from rlvr_cli.core.errors import UserError, told
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.connections import Connections, Limits, Memory
from rlvr_cli.verifiers.handler import Handler
from rlvr_cli.verifiers.meters import Metrics
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import wants_rows

DRAIN_S = 30.0
"""Longest wait for requests in work when the server is told to end."""


class Server(ThreadingHTTPServer):
    """Serves `pool`; `token`: what clients must send, if anything."""

    daemon_threads = True  # an idle connection must not keep the process
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        pool: Pool,
        verifiers: dict[str, Any],
        token: str | None,
        limits: Limits,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pool, self.verifiers, self.token, self.limits = pool, verifiers, token, limits
        self.names = sorted(verifiers)
        self.slots = threading.BoundedSemaphore(limits.max_requests)
        self.connections, self.memory = Connections(limits.connections), Memory(limits.memory)
        self.metrics = Metrics()
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def full(self) -> bool:
        """As many requests are in work as may be."""
        return self.metrics.in_work >= self.limits.max_requests

    def process_request(self, request: Any, client_address: Any) -> None:
        # Threads are bounded, those too that wait for a request.
        if self.connections.enter(request, client_address[0]):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line for an error of the server's own; a client that hangs up is no news."""
        error = sys.exception()
        if not isinstance(error, OSError):
            said = told(f"{type(error).__name__}: {error}"[:300])
            print(f"rlvr: a request could not be answered: {said}", file=sys.stderr)


@contextmanager
def serving(
    verifiers: dict[str, Any],
    verification: Verification,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Server]:
    """A server that answers while the block runs; requests in work when it ends are answered first."""
    with Pool(verifiers, verification) as pool:
        try:
            server = Server((host, port), pool, verifiers, token, limits or Limits())
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {error.strerror or error}") from error
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()  # no new connections
            deadline = time.monotonic() + DRAIN_S
            while server.metrics.in_work and time.monotonic() < deadline:
                time.sleep(0.05)
            server.server_close()


def serve(
    verifiers: dict[str, Any],
    verification: Verification,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
) -> int:
    """Serve until SIGINT or SIGTERM; a second signal ends the process at once, and its workers with it."""
    told = threading.Event()

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with serving(verifiers, verification, host=host, port=port, token=token, limits=limits) as server:
        for name, verifier in verifiers.items():
            for line in _introduced(verifier) if wants_rows(verifier) else ():
                print(f"{name}: {line}", flush=True)
        names = ", ".join(server.names)
        print(
            f"rlvr: {names} at {server.url}/verify, {verification.workers} workers; Ctrl-C ends it",
            flush=True,
        )
        while not told.wait(1.0):
            if server.pool.fault:
                print(f"rlvr: error: {server.pool.fault}", file=sys.stderr)
                return 1
    return 0


def _introduced(verifier: Any) -> Iterator[str]:
    """How a user's function is called, and what it does not see here."""
    yield from verifier.describe(None, 0.0)
    if verifier.together:
        yield "it gets each response by itself here, and not all to a problem together"
