"""Verifiers behind HTTP: same verdicts, refusals, bounds, the way down; and the verifier that asks them."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.answer import Unreachable
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.remote import Remote
from rlvr_cli.verifiers.server import Limits, Server, serving

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
CASES = [
    (r"\boxed{1/2}", "0.5"),
    (r"\boxed{\sqrt{8}}", r"2\sqrt{2}"),
    (r"\boxed{5 or 6}", "5"),
    ("nothing", "5"),
    ("\ud800 \\boxed{7}", "7"),
]


@dataclass(kw_only=True)
class Sleeper:
    """Takes as long as the response says."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        time.sleep(float(response))
        return Verdict(score=1.0, reason=Reason.correct)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    verifiers = {"math": Math(), "match": Match(), "sleep": Sleeper()}
    limits = Limits(max_body=200_000, max_requests=2, request_s=2.0)
    with serving(verifiers, Verification(timeout_s=4.0), token="s3cret", limits=limits) as running:
        yield running


def ask(
    server: Server,
    body: Any,
    headers: dict[str, str] | None = None,
    path: str = "/verify",
    token: str | None = "s3cret",
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    given = authorization | (JSON if headers is None else headers)
    connection.request("GET" if body is None else "POST", path, raw, given)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    kind = reply.headers.get_content_type()
    content = json.loads(text) if kind == "application/json" else text.decode()
    return reply.status, content, dict(reply.headers)


def test_verdicts_are_those_of_the_process_itself(server: Server) -> None:
    items = [{"verifier": "math", "response": r, "answer": a} for r, a in CASES]
    status, found, _ = ask(server, {"items": items})
    assert status == 200
    for (response, answer), verdict in zip(CASES, found["verdicts"], strict=True):
        direct = Math().verify(response, answer, {})
        assert (verdict["score"], verdict["reason"]) == (direct.score, direct.reason.value)
        assert (verdict["extracted"], verdict["detail"]) == (direct.extracted, direct.detail)
    status, single, _ = ask(server, items[0] | {"extra": {"subject": "x"}})
    assert status == 200 and set(single) == {"score", "reason", "extracted", "detail", "ms"}
    assert single["score"] == 1.0 and ask(server, {"items": []})[1] == {"verdicts": []}


def test_a_verdict_that_takes_too_long_is_a_verdict(server: Server) -> None:
    status, found, _ = ask(server, {"verifier": "sleep", "response": "60", "answer": ""})
    assert (status, found["reason"]) == (200, "timeout")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "must be an object"),
        ({"items": 3}, "items must be a list"),
        ({"items": [], "response": "x"}, "items must be a list"),
        ({"items": [{"verifier": "math", "response": "x"}]}, "items[0]: answer must be there, and text"),
        ({"verifier": "math", "response": 3, "answer": "3"}, "response must be there, and text"),
        ({"verifier": "math", "response": "", "answer": "", "extra": 3}, "extra must be an object"),
        ({"verifier": "maths", "response": "", "answer": ""}, "did you mean 'math'?"),
        ({"response": "", "answer": ""}, "verifier must be one of match, math, sleep"),
        (
            {"verifer": "math", "response": "", "answer": ""},
            "unknown key 'verifer'; did you mean 'verifier'?",
        ),
    ],
)
def test_bad_requests_are_told_what_is_wrong(server: Server, body: Any, says: str) -> None:
    status, found, _ = ask(server, body)
    assert status == 400 and says in found["error"]


def test_refusals(server: Server) -> None:
    item = {"verifier": "math", "response": "\\boxed{1}", "answer": "1"}
    for token in (None, "wrong", "s3cre", "s3cret2"):
        status, _, headers = ask(server, item, token=token)
        assert status == 401 and headers["WWW-Authenticate"] == "Bearer", token
        assert ask(server, None, path="/metrics", token=token)[0] == 401
    assert ask(server, item | {"response": "x" * 300_000})[0] == 413
    assert ask(server, item, headers={"Content-Type": "text/plain"})[0] == 415
    assert ask(server, item, path="/other")[0] == ask(server, None, path="/verify")[0] == 404
    assert ask(server, item, headers=JSON | {"Transfer-Encoding": "chunked"})[0] in (400, 411)
    assert ask(server, item)[0] == 200  # and it goes on


def test_requests_above_the_bound_are_sent_away(server: Server) -> None:
    def slow(found: list[int]) -> None:
        found.append(ask(server, {"verifier": "sleep", "response": "1.5", "answer": ""})[0])

    found: list[int] = []
    threads = [threading.Thread(target=slow, args=(found,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 10
    while server.metrics.in_work < 2 and time.monotonic() < end:
        time.sleep(0.01)
    status, content, headers = ask(server, {"verifier": "match", "response": "1", "answer": "1"})
    assert status == 429 and headers["Retry-After"] == "1" and "2 requests" in content["error"]
    assert ask(server, None, path="/health", token=None)[0] == 200  # not a request for a verdict
    for thread in threads:
        thread.join()
    assert found == [200, 200]
    client = Remote(url=server.url, token_env="RLVR_TEST_TOKEN", verifier="match")
    os.environ["RLVR_TEST_TOKEN"] = "s3cret"
    try:
        assert client.verify("1", "1", {}).score == 1.0
    finally:
        del os.environ["RLVR_TEST_TOKEN"]


def test_a_body_that_does_not_come_is_given_up(server: Server) -> None:
    with socket.create_connection(server.server_address[:2], timeout=10) as client:
        head = "POST /verify HTTP/1.1\r\nAuthorization: Bearer s3cret\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        started = time.monotonic()
        while not (answered := select.select([client], [], [], 0.3)[0]) and time.monotonic() - started < 10:
            client.sendall(b" ")  # one byte now and then would keep a plain time-out from ever ringing
        assert answered
        assert b" 408 " in client.recv(1000).splitlines()[0]
    assert 1.5 < time.monotonic() - started < 10
    end = time.monotonic() + 10  # the answer leaves before the request is counted out
    while server.metrics.in_work and time.monotonic() < end:
        time.sleep(0.01)
    assert server.metrics.in_work == 0


def test_metrics_count(server: Server) -> None:
    def value(name: str) -> float:
        text = ask(server, None, path="/metrics")[1]
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    name = 'rlvr_verdicts_total{verifier="match",reason="wrong"}'
    before, seconds = value(name), value("rlvr_verdict_seconds_count")
    item = {"verifier": "match", "response": "1", "answer": "2"}
    ask(server, {"items": [item, item]})
    assert value(name) == before + 2 and value("rlvr_verdict_seconds_count") == seconds + 2
    assert value('rlvr_verdict_seconds_bucket{le="+Inf"}') == seconds + 2
    assert value('rlvr_requests_total{code="200"}') > 0


def test_the_remote_verifier_in_a_pool(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLVR_TEST_TOKEN", "s3cret")
    remote = Remote(url=server.url, token_env="RLVR_TEST_TOKEN", verifier="math", connections=2)
    with Pool({"r": remote}, Verification(workers=1)) as pool:
        found = [pool.submit("r", response, answer, {}) for response, answer in CASES]
        for (response, answer), future in zip(CASES, found, strict=True):
            assert replace(future.result(60), ms=0.0) == Math().verify(response, answer, {})
        wrong = replace(remote, verifier="maths")
    with Pool({"r": wrong}, Verification(workers=1)) as pool:
        verdict = pool.submit("r", "1", "1", {}).result(60)
    assert verdict.reason is Reason.crash and "answers 400" in verdict.detail and "maths" in verdict.detail


def test_no_server_is_a_crash_after_the_retries() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        remote = Remote(url=f"http://127.0.0.1:{taken.getsockname()[1]}", retries=2)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no verdict from http"):
            remote.verify("1", "1", {})
        assert 0.3 <= time.monotonic() - started < 5  # pauses of 0.1 and 0.2 s
        with Pool({"r": replace(remote, wait_s=0.0)}, Verification(workers=1)) as pool:
            verdict = pool.submit("r", "1", "1", {}).result(60)
    assert verdict.reason is Reason.crash and not verdict.scored and "refused" in verdict.detail


def test_a_busy_server_is_asked_again_and_a_token_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            busy = len(seen) < 3
            body = b"" if busy else b'{"score": 0.5, "reason": "wrong", "extracted": null, "detail": "d"}'
            self.send_response(429 if busy else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    remote = Remote(url=f"http://127.0.0.1:{httpd.server_port}/")
    verdict = remote.verify("a", "b", {"c": 1})
    assert verdict == Verdict(score=0.5, reason=Reason.wrong, detail="d")
    assert seen == [{"response": "a", "answer": "b", "extra": {"c": 1}, "verifier": None}] * 3
    del seen[:]
    with pytest.raises(Unreachable, match="429"):
        replace(remote, retries=1).verify("a", "b", {})
    assert len(seen) == 2
    httpd.shutdown()
    httpd.server_close()
    monkeypatch.delenv("RLVR_TEST_TOKEN", raising=False)
    with pytest.raises(ValueError, match="RLVR_TEST_TOKEN is not set"):
        replace(remote, token_env="RLVR_TEST_TOKEN").verify("a", "b", {})


@pytest.mark.parametrize(
    "settings",
    [{"url": "ftp://x"}, {"url": "localhost"}, {"timeout_s": 0}, {"retries": -1}, {"connections": 0}],
)
def test_settings_of_remote(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Remote(**settings)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_answers_what_is_in_work_and_leaves_nothing(how: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlvr_cli", "serve-verifier", "--verifier", "math", "--port", "0"]
    process = subprocess.Popen([*command, "verification.workers=1"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:(\d+)/verify, 1 workers", process.stdout.readline())
    assert found
    items = [{"response": rf"\boxed{{\sqrt{{{n}}}+1}}", "answer": r"2\sqrt{3}"} for n in range(100, 140)]
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    connection.request("POST", "/verify", json.dumps({"items": items}), JSON)
    time.sleep(0.3)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(how)
    reply = connection.getresponse()
    assert reply.status == 200 and len(json.loads(reply.read())["verdicts"]) == 40
    assert process.wait(30) == 0
    process.stdout.close()
    connection.close()
    psutil.wait_procs(children, 10)
    assert not any(child.is_running() for child in children)
