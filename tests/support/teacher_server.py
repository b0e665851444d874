"""vLLM's `/v1/completions` with prompt logprobs, `/v1/models` and `/detokenize`, from a real model's
logprobs.

`python teacher_server.py MODEL PORTFILE` serves until it is killed.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Lab:
    """A model, and what is asked of it."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.asked = 0
        self.fail: list[int] = []
        """Status codes of the next answers."""
        self.after = sys.maxsize
        """From so many questions on nobody answers."""
        self.lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/detokenize":
            return {"prompt": self.tokenizer.decode(body["tokens"])}
        ids, k = body["prompt"], body["prompt_logprobs"]
        with self.lock, self.torch.no_grad():
            self.asked += 1
            rows = self.model(self.torch.tensor([ids])).logits[0].log_softmax(-1)
        said: list[Any] = [None]
        for token, row in zip(ids[1:], rows[:-1], strict=True):
            best = {int(i): rank for rank, i in enumerate(row.topk(k).indices, 1)} if k else {}
            rank = int((row > row[token]).sum()) + 1
            known = best | ({} if token in best else {token: rank})
            said.append(
                {
                    str(i): {"logprob": float(row[i]), "rank": r, "decoded_token": "?"}
                    for i, r in known.items()
                }
            )
        return {"choices": [{"text": "x", "prompt_logprobs": said}]}


def serve(lab: Lab, port: int = 0) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "teacher", "max_model_len": 256}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if lab.asked >= lab.after and self.path.endswith("completions"):
                self.close_connection = True
                return
            if lab.fail and self.path.endswith("completions"):
                self.reply(lab.fail.pop(0), {"error": {"message": "not now"}})
                return
            self.reply(200, lab.answer(self.path, body))

        def reply(self, status: int, said: dict[str, Any]) -> None:
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    running = serve(Lab(sys.argv[1]))
    Path(sys.argv[2]).write_text(str(running.server_port))
    threading.Event().wait()
