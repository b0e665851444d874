"""A pool of verifiers behind HTTP: POST /verify, GET /health, GET /metrics (docs/verifiers.md).

The standard library's server, a thread per connection: what takes time is the pool, which has its own bound,
and a run without vLLM needs no web framework. Every request is bounded in size, in time and in number
before its body is read; what is over a bound is refused and never queued.
"""

from __future__ import annotations

import hmac
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.messages import BadRequest, counted, parse, reply_of
from rlvr_cli.verifiers.meters import Metrics
from rlvr_cli.verifiers.pool import Pool

CHUNK = 1 << 16
DRAIN_S = 30.0
"""Longest wait for requests in work when the server is told to end."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_body: int = 16 << 20
    """Bytes of a request; larger ones get 413."""
    max_requests: int = 64
    """Requests in work; others get 429."""
    idle_s: float = 30.0
    """Silence after which a connection is closed, and the time a body may take."""


class Server(ThreadingHTTPServer):
    """Serves `pool`; `token`: what clients must send, if anything."""

    daemon_threads = True  # an idle connection must not keep the process
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], pool: Pool, names: list[str], token: str | None, limits: Limits
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pool, self.names, self.token, self.limits = pool, names, token, limits
        self.slots = threading.BoundedSemaphore(limits.max_requests)
        self.connections = threading.BoundedSemaphore(4 * limits.max_requests)
        self.metrics = Metrics()
        super().__init__(address, Handler)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.connections.acquire(blocking=False):
            self.shutdown_request(request)  # threads are bounded, even those that wait for a request
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hangs up is no news
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.request.settimeout(self.server.limits.idle_s)
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: responses of a model have no place on a terminal, and /metrics counts."""

    def do_GET(self) -> None:
        if self.path == "/health":
            fault = self.server.pool.fault
            status = {"status": "failed" if fault else "ok", "verifiers": self.server.names}
            self._reply(503 if fault else 200, status | ({"error": fault} if fault else {}))
        elif self.path == "/metrics":
            if self._allowed():
                self._send(200, self.server.metrics.text().encode(), "text/plain; version=0.0.4")
        else:
            self._refuse(404, "there is /verify (POST), /health and /metrics")

    def do_POST(self) -> None:
        if self.path != "/verify":
            self._refuse(404, "there is /verify (POST), /health and /metrics")
        elif self._allowed() and (length := self._length()) is not None:
            if not self.server.slots.acquire(blocking=False):
                self._refuse(
                    429, f"{self.server.limits.max_requests} requests are in work", {"Retry-After": "1"}
                )
                return
            self.server.metrics.working(1)
            try:
                self._verify(length)
            finally:
                self.server.metrics.working(-1)
                self.server.slots.release()

    def _verify(self, length: int) -> None:
        try:
            items, single = parse(self._body(length), self.server.names)
            futures = [(item.verifier, self.server.pool.submit(*item)) for item in items]
            verdicts = [(name, future.result()) for name, future in futures]
        except BadRequest as error:
            self._reply(400, {"error": str(error)})
        except RuntimeError as error:  # the pool has failed or is closed
            self._reply(503, {"error": str(error)}, {"Retry-After": "1"})
        else:
            for name, verdict in verdicts:
                self.server.metrics.verdict(name, *counted(verdict))
            self._reply(200, reply_of([verdict for _, verdict in verdicts], single))

    def _allowed(self) -> bool:
        token = self.server.token
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        # Constant time: how long a comparison takes must not tell how much of a guess was right.
        if token is None or hmac.compare_digest(given, f"Bearer {token}".encode()):
            return True
        self._refuse(401, "send `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})
        return False

    def _length(self) -> int | None:
        """Bytes of the body; None after a refusal."""
        # A web page may post text to a loopback port, but not this type without being asked first.
        if self.headers.get_content_type() != "application/json":
            self._refuse(415, "Content-Type must be application/json")
            return None
        given = self.headers.get("Content-Length", "")
        if not given.isdigit():
            self._refuse(411, "send Content-Length")
            return None
        if int(given) > self.server.limits.max_body:
            self._refuse(413, f"at most {self.server.limits.max_body} bytes a request")
            return None
        return int(given)

    def _body(self, length: int) -> bytes:
        """All of it by the deadline, though every single byte may come in time."""
        deadline, parts = time.monotonic() + self.server.limits.idle_s, []
        while length:
            part = self.rfile.read1(min(length, CHUNK))
            if not part or time.monotonic() > deadline:
                self.close_connection = True
                raise BadRequest("the body is shorter than Content-Length, or came too slowly")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _refuse(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        """The body stays unread, so the connection cannot go on."""
        self.close_connection = True
        self._reply(status, {"error": why}, {"Connection": "close"} | (headers or {}))
        given = self.headers.get("Content-Length", "0")
        # Closing a socket with unread data resets it, and the client would not see the answer.
        left = min(int(given) if given.isdigit() else 0, self.server.limits.max_body)
        while left > 0 and (part := self.rfile.read1(min(left, CHUNK))):
            left -= len(part)

    def _reply(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.server.metrics.request(status)
        self.send_response(status)
        for name, value in (
            {"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


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
            server = Server((host, port), pool, sorted(verifiers), token, limits or Limits())
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
