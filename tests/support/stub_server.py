"""A process with the routes of a rollout server, started as `python stub_server.py PORT MS`: MS a token.

Tokens follow from prompt and seed alone, as a seeded model's do from one set of weights; logprobs are -0.5.
A group's samples are done one after the other, and come in pieces that end anywhere.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STAMP = ["default"]


def tokens_of(prompt: list[int], seed: int, count: int) -> list[int]:
    numbers = random.Random(f"{prompt}:{seed}")
    return [numbers.randrange(4, 99) for _ in range(count)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({"weight_version": STAMP[0]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = json.loads(body) if body else {}
        route = self.path.partition("?")[0]
        found: Any = {}
        if route == "/rlvr/samples":
            return self.stream(self.sampled(asked["tokens"], asked["samples"]))
        if route == "/finish_weight_update":
            STAMP[0] = asked["weight_version"]
        elif route == "/update_weight_version":
            STAMP[0] = asked["new_version"]
        elif route == "/collective_rpc":
            found = {"results": [{"compared": 7}]}
        self.answer(found)

    def sampled(self, prompt: list[int], samples: list[dict[str, Any]]) -> Iterator[bytes]:
        for one in samples:
            stamp, count = STAMP[0], one["max_tokens"]
            tokens = tokens_of(prompt, one["seed"], count)
            time.sleep(count * float(sys.argv[2]) / 1000 / len(samples))
            head = {
                "number": one["number"],
                "counts": [count, count, 0],
                "finish": "length",
                "versions": [[stamp, 0, count]],
            }
            numbers = struct.pack(f"<{count}i{count}f", *tokens, *[-0.5] * count)
            yield json.dumps(head).encode() + b"\n" + numbers

    def stream(self, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            for part in (piece[:50], piece[50:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
