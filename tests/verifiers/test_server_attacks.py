"""Requests made to harm a verifier's server: others are answered within a second, and memory is bounded."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import IO

import psutil
import pytest

from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.connections import Limits
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.server import serving

pytestmark = pytest.mark.slow

ITEM = {"response": "1", "answer": "1"}
TYPE = "Content-Type: application/json\r\n"
POST = f"POST /verify HTTP/1.1\r\n{TYPE}"


@dataclass
class Command:
    """`rlvr serve-verifier` as it comes, and what it wrote as errors."""

    port: int
    process: subprocess.Popen[str]
    errors: IO[str]

    @property
    def memory_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    path = tmp_path_factory.mktemp("server") / "errors"
    line = [sys.executable, "-m", "rlvr_cli", "serve-verifier", "--verifier", "match", "--port", "0"]
    with open(path, "w") as errors:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:(\d+)/verify", process.stdout.readline())
    assert found
    with open(path) as errors:
        yield Command(int(found[1]), process, errors)
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()


def ask(port: int, body: object = None, path: str = "/health") -> tuple[int, float]:
    """Status and seconds."""
    began = time.monotonic()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    if body is None:
        connection.request("GET", path)
    else:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", "/verify", raw, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status, time.monotonic() - began


def told(port: int, request: bytes, wait_s: float = 5.0) -> tuple[bytes, float]:
    """All that the server says until it closes the connection, and how long that took."""
    began, said = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        client.sendall(request)
        with suppress(TimeoutError):
            while part := client.recv(1 << 16):
                said += part
    return said, time.monotonic() - began


RAW = {
    "superscript": (f"{POST}Content-Length: \xb2\r\n\r\n".encode("latin-1"), 400),
    "digits": (f"{POST}Content-Length: {'1' * 5000}\r\n\r\n".encode(), 400),
    "sign": (f"{POST}Content-Length: +5\r\n\r\n12345".encode(), 400),
    "twice": (f"{POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}".encode(), 400),
    "list": (f"{POST}Content-Length: 2, 2\r\n\r\n{{}}".encode(), 400),
    "folded": (f"{POST}Content-Length: 2\r\n 2\r\n\r\n{{}}".encode(), 400),
    "space before the colon": (f"{POST}Content-Length : 2\r\n\r\n{{}}".encode(), 400),
    "chunked": (f"{POST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), 411),
    "both": (f"{POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}".encode(), 411),
    "no length": (f"{POST}\r\n".encode(), 411),
    "large": (f"{POST}Content-Length: 99999999999\r\n\r\n".encode(), 413),
    "GET with a body": (b"GET /health HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET / HTT", 400),
    "method": (b"X" * 9000 + b" / HTTP/1.1\r\n\r\n", 501),
    "first line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    "large headers": (b"GET / HTTP/1.1\r\n" + (b"a: " + b"b" * 60_000 + b"\r\n") * 50 + b"\r\n", 431),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "version": (b"GET / HTTP/9.9\r\n\r\n", 505),
    "path": (b"GET /" + b"p" * 50_000 + b" HTTP/1.1\r\n\r\n", 404),
}


@pytest.fixture(scope="module")
def answers(command: Command) -> dict[str, tuple[bytes, float]]:
    """Asked for all at once: of most the server waits a second for the rest."""
    with ThreadPoolExecutor(len(RAW)) as threads:
        found = {name: threads.submit(told, command.port, request) for name, (request, _) in RAW.items()}
    return {name: each.result() for name, each in found.items()}


@pytest.mark.parametrize("name", RAW)
def test_every_request_has_a_short_answer_and_its_connection_an_end(
    name: str, command: Command, answers: dict[str, tuple[bytes, float]]
) -> None:
    (said, seconds), (_, status) = answers[name], RAW[name]
    assert said.startswith(b"HTTP/1.1 %d " % status) and said.count(b"HTTP/1.1 ") == 1, said[:100]
    assert len(said) < 1000 and seconds < 3
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]
    assert ask(command.port, ITEM)[0] == 200
    command.errors.seek(0)
    assert command.errors.read() == ""


@contextmanager
def crowd(port: int, many: int, request: Callable[[int], bytes], every_s: float) -> Iterator[None]:
    """So many clients that send one byte now and then, and come again when they are sent away."""
    told_to_end = threading.Event()

    def run(sockets: list[socket.socket | None]) -> None:
        step = 0
        while not told_to_end.is_set():
            for n in range(len(sockets)):
                try:
                    if (client := sockets[n]) is None:
                        client = sockets[n] = socket.create_connection(("127.0.0.1", port), timeout=5)
                        client.sendall(request(n)[:-1000])
                    client.sendall(b"x")
                except OSError:
                    if client is not None:
                        client.close()
                    sockets[n] = None
            step += 1
            told_to_end.wait(every_s)
        for left in sockets:
            if left is not None:
                left.close()

    thread = threading.Thread(target=run, args=([None] * many,))
    thread.start()
    time.sleep(every_s)
    try:
        yield
    finally:
        told_to_end.set()
        thread.join(30)


def slow_head(n: int) -> bytes:
    return f"POST /verify HTTP/1.1\r\nX-{n}: ".encode() + b" " * 1000


def slow_body(n: int) -> bytes:
    return f"{POST}Content-Length: 100000\r\n\r\n".encode() + b" " * 1000


@pytest.mark.parametrize("request_of", [slow_head, slow_body])
def test_slow_connections_keep_nobody_waiting(request_of: Callable[[int], bytes]) -> None:
    limits = Limits(max_requests=16, request_s=1.5)  # 64 connections
    with (
        serving({"match": Match()}, Verification(workers=1), limits=limits) as server,
        crowd(server.server_port, 100, request_of, 0.4),
    ):
        for _ in range(8):
            for body in (None, ITEM):
                status, seconds = ask(server.server_port, body)
                assert status == 200 and seconds < 1
            time.sleep(0.4)


@pytest.mark.long
def test_256_slow_connections_to_the_server_as_it_comes(command: Command) -> None:
    with crowd(command.port, 256, slow_head, 4.0):
        for _ in range(6):
            for body in (None, ITEM):
                status, seconds = ask(command.port, body)
                assert status == 200 and seconds < 1
            time.sleep(1.0)
    command.errors.seek(0)
    assert command.errors.read() == ""


def test_a_refused_body_is_waited_for_a_second(command: Command) -> None:
    with socket.create_connection(("127.0.0.1", command.port), timeout=10) as client:
        client.sendall(f"POST /other HTTP/1.1\r\n{TYPE}Content-Length: 100000\r\n\r\n".encode())
        began, said = time.monotonic(), b""
        client.settimeout(0.2)
        while time.monotonic() - began < 10:
            with suppress(TimeoutError, ConnectionResetError):
                part = client.recv(1000)
                said += part
                if not part:
                    break
            with suppress(OSError):
                client.sendall(b"x")
        assert b" 404 " in said and 0.5 < time.monotonic() - began < 2.5


def test_many_tiny_items_take_neither_memory_nor_time_of_others(command: Command) -> None:
    tiny = b'{"items":[' + b'{"response":"","answer":""},' * 500_000
    empty = b'{"items":[' + b'{"":0},' * 2_000_000
    flat = b'{"response":"1","answer":"1","extra":{"a":[' + b"{}," * 4_000_000
    before, peak, slowest = command.memory_mb, 0.0, 0.0
    statuses: list[int] = []

    def send(body: bytes) -> None:
        statuses.append(ask(command.port, body[:-1] + (b"]}" if body is not flat else b"]}}"))[0])

    with ExitStack() as stack:
        for body in (tiny, empty, flat) * 2:
            thread = threading.Thread(target=send, args=(body,))
            thread.start()
            stack.callback(thread.join)
        while len(statuses) < 6:
            slowest = max(slowest, ask(command.port, ITEM)[1])
            peak = max(peak, command.memory_mb)
            time.sleep(0.05)
    assert set(statuses) <= {413, 429} and 413 in statuses
    assert peak - before < 400 and slowest < 3  # six bodies of 14 MiB and their text; a second on a free core
    assert ask(command.port, {"items": [ITEM] * 10_001})[0] == 413
    assert ask(command.port, {"items": [ITEM] * 10_000})[0] == 200
