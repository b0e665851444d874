"""An index behind HTTP, in Search-R1's form: `POST /retrieve`, and `GET /health`."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json
from rlvr_cli.environments.retrieval import Retrieval, Retriever, open_retriever

MAX_BODY = 16 << 20
MAX_QUERIES, MAX_TOPK = 10_000, 1000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    retriever: Retriever
    topk: int

    def do_GET(self) -> None:
        self._answer(
            *((200, {"status": "ok"}) if self.path == "/health" else (404, {"error": "no such path"}))
        )

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", -1))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            self._answer(413, {"error": f"a request has a Content-Length of at most {MAX_BODY} bytes"})
            return
        body = self.rfile.read(length)
        if self.path != "/retrieve":
            self._answer(404, {"error": "no such path; POST /retrieve"})
            return
        try:
            queries, topk, scores = asked(from_json(body), self.topk)
        except ValueError as error:
            self._answer(400, {"error": str(error)})
            return
        found = self.retriever.search(queries, topk)
        rows = [[({"id": d.id, "contents": d.contents}, d.score) for d in documents] for documents in found]
        lists = [[{"document": row, "score": s} if scores else row for row, s in each] for each in rows]
        self._answer(200, {"result": lists})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None: ...


def asked(body: Any, topk: int) -> tuple[list[str], int, bool]:
    """(queries, topk, whether with scores) of a request; ValueError says what is wrong with it."""
    if not isinstance(body, dict):
        raise ValueError("the request must be a JSON object")
    queries, topk = body.get("queries"), body.get("topk") or topk
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError("queries must be a list of texts")
    if len(queries) > MAX_QUERIES:
        raise ValueError(f"{len(queries)} queries; at most {MAX_QUERIES} in a request")
    if not isinstance(topk, int) or not 1 <= topk <= MAX_TOPK:
        raise ValueError(f"topk must be a whole number from 1 to {MAX_TOPK}")
    return queries, topk, bool(body.get("return_scores", False))


@contextmanager
def serving(settings: Retrieval, host: str, port: int, topk: int) -> Iterator[str]:
    """Answer while the block runs; gives the address."""
    handler = type("Handler", (Handler,), {"retriever": open_retriever(settings), "topk": topk})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}/retrieve"
    finally:
        server.shutdown()
        server.server_close()


def serve(settings: Retrieval, host: str, port: int, topk: int) -> int:
    """Serve until SIGINT or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with serving(settings, host, port, topk) as url:
        print(f"rlvr: {settings.corpus} at {url}; Ctrl-C ends it", flush=True)
        told.wait()
    return 0
