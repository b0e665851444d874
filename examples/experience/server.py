"""A scripted model behind an OpenAI-compatible address, to watch `rlvr experience` learn without any model.

    python examples/experience/server.py --port 8720 &
    rlvr experience examples/experience/recipe.yaml

It plays both parts. Asked `47+85=` it is right with probability 0.2, and with 0.9 where the prompt holds
LESSON; else it forgets a carry. As editor it proposes LESSON when it is shown right and wrong attempts and
the library has no such thing yet. Answers are a function of prompt and seed. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LESSON = "When two digits add up to ten or more, carry one into the next column."
WITHOUT, WITH = 0.2, 0.9


def sum_of(prompt: str, seed: int) -> str:
    """The policy: right or wrong by chance, more often right with the lesson in the prompt."""
    a, b = map(int, re.findall(r"(\d+)\+(\d+)=", prompt)[-1])
    right = random.Random(f"{prompt}:{seed}").random() < (WITH if LESSON in prompt else WITHOUT)
    return f"I add the columns. \\boxed{{{a + b if right else a + b - 10}}}"


def edit_of(prompt: str) -> str:
    """The editor: what it is asked is told by the sections of the prompt."""
    known = LESSON in between(prompt, "library")
    attempts = between(prompt, "attempts")
    mixed = "(right" in attempts and "(wrong" in attempts
    if attempts and "merged" not in prompt and "<Experiences>" not in prompt:
        return fenced([{"option": "add", "experience": LESSON}] if mixed and not known else [])
    if "library_with_candidates" in prompt:
        ids = re.findall(r"\[([CG]\d+)\]", between(prompt, "library_with_candidates"))
        one = {"option": "merge", "experience": LESSON, "merged_from": ids}
        return fenced([one] if len(ids) > 1 else [])
    if attempts:
        return f"<Experiences>\n{'1. ' + LESSON if mixed else ''}\n</Experiences>"
    if "<insights>" in prompt:
        return fenced([{"operation": "NONE" if known else "ADD", "id": None, "content": LESSON}])
    if "<operations>" in prompt:
        return fenced([{"operation": "ADD", "id": None, "content": LESSON}])
    grade = between(prompt, "grade")
    carried = "carried" if grade.startswith("right") else "did not carry"
    return f"1. The columns were added; it {carried} the one.\nFinal answer: as graded ({grade})."


def between(prompt: str, tag: str) -> str:
    """The text of a section."""
    found = re.search(rf"<{tag}>\n(.*?)\n</{tag}>", prompt, re.DOTALL)
    return found[1] if found else ""


def fenced(items: list[dict[str, Any]]) -> str:
    return f"Compared.\n```json\n{json.dumps(items)}\n```"


def said(body: dict[str, Any]) -> str:
    """The answer to a request."""
    prompt = str(body["messages"][-1]["content"])
    parts = ("<attempt>", "<attempts>", "<library_with_candidates>", "<insights>", "<operations>")
    if any(part in prompt for part in parts):
        return edit_of(prompt)
    return sum_of(prompt, int(body.get("seed") or 0))


class Scripted(ThreadingHTTPServer):
    """The server; `asked` has the bodies of all requests, `says` what answers them."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.asked: list[dict[str, Any]] = []
        self.says = said
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one piece: in two the second waits for the first one's receipt
    server: Scripted

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "scripted"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            text = self.server.says(body)
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": len(text.split())}
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self.reply({"choices": [choice], "usage": usage})

    def reply(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8720)
    server = Scripted(parser.parse_args().port)
    print(f"scripted model at {server.url}")
    server.serve_forever()
