"""One connection of `rlvr serve-verifier`: its requests are read, refused or answered here.

Every request is bounded in size, in time and in number before its body is read; what is over a bound is
refused and never queued. What two readers could cut differently (a proxy and this) is refused as well.
"""

from __future__ import annotations

import hmac
import io
import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from threading import BoundedSemaphore
from typing import Any, Protocol

from rlvr_cli.core.types import Verdict
from rlvr_cli.verifiers.connections import Account, Connections, Full, Incoming, Limits, Memory
from rlvr_cli.verifiers.judge_requests import parse_judge, rewards_of
from rlvr_cli.verifiers.messages import (
    VALUE_BYTES,
    BadRequest,
    Item,
    counted,
    decode,
    parse,
    reply_of,
    values,
)
from rlvr_cli.verifiers.meters import Metrics
from rlvr_cli.verifiers.pool import Pool

CHUNK = 1 << 16
DRAIN_S = 1.0
"""Longest wait for the rest of a request that was refused."""
LENGTH_DIGITS = 18
ECHO = 200
"""Characters of an error that may quote what a client sent."""
SERVED = "there is /verify and /judge (POST), /health and /metrics"


class Refusal(Exception):
    """Why a request is not read to its end: the connection cannot go on after it."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.headers = status, {"Connection": "close"} | (headers or {})


class Shared(Protocol):
    """What the requests of a server share."""

    pool: Pool
    verifiers: dict[str, Any]
    names: list[str]
    token: str | None
    limits: Limits
    slots: BoundedSemaphore
    connections: Connections
    memory: Memory
    metrics: Metrics

    @property
    def full(self) -> bool: ...


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # a reply always begins with its status
    server: Shared  # type: ignore[assignment]
    unread: int
    """Bytes of the body that are still to come; where that is not known, the most that may."""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.incoming = Incoming(self.connection, self.server.limits)
        self.rfile = io.BufferedReader(self.incoming)

    def handle_one_request(self) -> None:
        self.unread = self.server.limits.max_body
        self.incoming.begin()
        self.server.connections.wait(self.connection)
        super().handle_one_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: responses of a model have no place on a terminal, and /metrics counts."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses while it reads the head."""
        self._refuse(Refusal(code, message or self.responses[code][0]))

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        try:
            self._check_framing()
        except Refusal as refusal:
            self._refuse(refusal)
            return False
        return True

    def do_GET(self) -> None:
        try:
            if self.path == "/health":
                fault = self.server.pool.fault
                status = {"status": "failed" if fault else "ok", "verifiers": self.server.names}
                self._reply(503 if fault else 200, status | ({"error": fault} if fault else {}))
            elif self.path == "/metrics":
                self._check_token()
                self._send(200, self.server.metrics.text().encode(), "text/plain; version=0.0.4")
            else:
                raise Refusal(404, SERVED)
        except Refusal as refusal:
            self._refuse(refusal)

    def do_POST(self) -> None:
        try:
            if self.path not in ("/verify", "/judge"):
                raise Refusal(404, SERVED)
            self._check_token()
            self._check_body()
            if self.server.full:  # said before the body is sent, where that is known
                raise self._busy()
            with self.server.memory.account() as account:
                self._work(self._body(account), account)
        except Full:
            self._refuse(self._busy())
        except Refusal as refusal:
            self._refuse(refusal)

    def _work(self, body: bytes, account: Account) -> None:
        self.server.connections.work(self.connection)
        if not self.server.slots.acquire(blocking=False):
            raise self._busy()
        self.server.metrics.working(1)
        try:
            text = decode(body)
            account.take(VALUE_BYTES * values(text))
            items, single = self._items(text)
            futures = [(item.verifier, self.server.pool.submit(*item)) for item in items]
            verdicts = [(name, future.result()) for name, future in futures]
        except BadRequest as error:
            self._reply(error.status, {"error": str(error)})
        except RuntimeError as error:  # the pool has failed or is closed
            self._reply(503, {"error": str(error)}, {"Retry-After": "1"})
        else:
            for name, verdict in verdicts:
                self.server.metrics.verdict(name, *counted(verdict))
            self._answer([verdict for _, verdict in verdicts], single)
        finally:
            self.server.metrics.working(-1)
            self.server.slots.release()

    def _items(self, text: str) -> tuple[list[Item], bool]:
        if self.path == "/judge":
            return [parse_judge(text, self.server.verifiers)], True
        return parse(text, self.server.names, self.server.limits.max_items)

    def _answer(self, verdicts: list[Verdict], single: bool) -> None:
        if self.path != "/judge":
            self._reply(200, reply_of(verdicts, single))
            return
        try:
            self._reply(200, rewards_of(verdicts[0]))
        except BadRequest as error:
            self._reply(error.status, {"error": str(error)})

    # ---------------------------------------------------------------- checks

    def _check_framing(self) -> None:
        """Raises Refusal where it is open which bytes the body has."""
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            raise Refusal(411, "send Content-Length; other transfer encodings are not taken")
        if len(lengths) > 1 or any(_bytes(given) is None for given in lengths):
            raise Refusal(400, "Content-Length must be there once, and a number of bytes")
        if self.headers.defects:
            raise Refusal(400, "the headers are not `Name: value`, one a line")
        self.unread = min(self.unread, _bytes(lengths[0]) or 0) if lengths else 0
        if self.command != "POST" and self.unread:
            raise Refusal(400, f"{self.command[:20]} takes no body")

    def _check_token(self) -> None:
        token = self.server.token
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        # Constant time: how long a comparison takes must not tell how much of a guess was right.
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise Refusal(401, "send `Authorization: Bearer TOKEN`", {"WWW-Authenticate": "Bearer"})

    def _check_body(self) -> None:
        # A web page may post text to a loopback port, but not this type without being asked first.
        if self.headers.get_content_type() != "application/json":
            raise Refusal(415, "Content-Type must be application/json")
        length = _bytes(self.headers.get("Content-Length", ""))
        if length is None:
            raise Refusal(411, "send Content-Length")
        if length > self.server.limits.max_body:
            raise Refusal(413, f"at most {self.server.limits.max_body} bytes a request")

    def _busy(self) -> Refusal:
        return Refusal(429, f"{self.server.limits.max_requests} requests are in work", {"Retry-After": "1"})

    # ---------------------------------------------------------------- reading and writing

    def _body(self, account: Account) -> bytes:
        self.incoming.body()
        parts = []
        while self.unread:
            try:
                part = self.rfile.read1(min(self.unread, CHUNK))
            except TimeoutError:
                raise Refusal(408, "the request came too slowly") from None
            if not part:
                raise Refusal(400, "the body is shorter than Content-Length")
            self.unread -= len(part)
            account.take(len(part))
            parts.append(part)
        return b"".join(parts)

    def _refuse(self, refusal: Refusal) -> None:
        self.close_connection = True
        self._reply(refusal.status, {"error": str(refusal)[:ECHO]}, refusal.headers)
        # Closing a socket with unread data resets it, and the client would not see the answer.
        self.incoming.body()
        self.incoming.end_in(DRAIN_S)
        with suppress(OSError):
            while self.unread > 0 and (part := self.rfile.read1(min(self.unread, CHUNK))):
                self.unread -= len(part)

    def _reply(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), "application/json", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.server.metrics.request(status)
        self.send_response(status)
        for name, value in (
            {"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.connection.settimeout(self.server.limits.request_s)
        self.end_headers()
        self.wfile.write(body)


def _bytes(given: str) -> int | None:
    """A length as a header gives it; None for all else. `isdigit` alone takes superscripts."""
    if not (given.isascii() and given.isdigit() and len(given) <= LENGTH_DIGITS):
        return None
    return int(given)
