"""A process with the routes of a rollout server, started as `python stub_server.py PORT MS`: MS a token.

Tokens follow from prompt and seed alone, as a seeded model's do from one set of weights; logprobs are -0.5.
"""

from __future__ import annotations

import json
import random
import sys
import time
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
        if route == "/inference/v1/generate":
            found = self.sampled(asked["token_ids"], asked["sampling_params"])
        elif route == "/finish_weight_update":
            STAMP[0] = asked["weight_version"]
        elif route == "/update_weight_version":
            STAMP[0] = asked["new_version"]
        elif route == "/collective_rpc":
            found = {"results": [{"compared": 7}]}
        self.answer(found)

    def sampled(self, prompt: list[int], params: dict[str, Any]) -> dict[str, Any]:
        stamp, tokens = STAMP[0], tokens_of(prompt, params["seed"], params["max_tokens"])
        time.sleep(len(tokens) * float(sys.argv[2]) / 1000)
        choice = {
            "token_ids": tokens,
            "logprobs": {"content": [{"token_id": token, "logprob": -0.5} for token in tokens]},
            "finish_reason": "length",
            "weight_versions": [{"version": stamp, "start": 0, "end": len(tokens)}],
        }
        return {"choices": [choice]}

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
