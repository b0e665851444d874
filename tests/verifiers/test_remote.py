"""How long the verifier that asks a server waits before it asks again."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers import remote

VERDICT = b'{"score": 1.0, "reason": "correct", "extracted": "4", "detail": ""}'


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real server; nothing sleeps. Without a wish of the server's the pause doubles from 0.1 s."""
    answers = [(429, {"Retry-After": "3"}), (503, {}), (503, {"Retry-After": "0"}), (200, {})]

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(VERDICT))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(VERDICT)

        def log_message(self, *args: Any) -> None:
            pass

    slept: list[float] = []
    monkeypatch.setattr(remote, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept.append))
    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        asked = remote.Remote(url=f"http://127.0.0.1:{server.server_port}")
        verdict = asked.verify("4", "4", {})
        server.shutdown()
    assert verdict == Verdict(score=1.0, reason=Reason.correct, extracted="4")
    assert slept == pytest.approx([3.0, 0.2, 0.4]) and not answers
