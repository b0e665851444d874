"""A reward model made on the spot, and a server that plays a judge."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

# --- batches and workers of one's own


def make_reward_model(path: Path, **special: str) -> Path:
    """A random Qwen2 with one output, and a tokenizer of single characters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForSequenceClassification

    torch.manual_seed(0)
    vocabulary = {character: n for n, character in enumerate("?_abcdefghij:\n~")}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="_", unk_token="?", **special)
    tokenizer.save_pretrained(path)
    config = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    Qwen2ForSequenceClassification(config).save_pretrained(path)
    return path


def logit(path: Path, text: str) -> float:
    """What the model itself says, one text at a time and without padding."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    model.config.pad_token_id = 14
    with torch.inference_mode():
        return float(model(**AutoTokenizer.from_pretrained(path)(text, return_tensors="pt")).logits[0, 0])


@dataclass
class Server:
    """What the judge's server got, and what it answers: (status, text, headers), the last one for good."""

    answers: list[tuple[int, str, dict[str, str]]] = field(default_factory=lambda: [(200, "Score: 1", {})])
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    says: Callable[[str], tuple[int, str, dict[str, str]]] | None = None
    """Prompt -> answer, in the place of `answers`: of requests that come side by side."""
    delay_s: float = 0.0
    most_at_once: int = 0
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state, lock, busy = Server(), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with lock:
                state.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                state.keys.append(self.headers.get("Authorization"))
                if state.says is not None:
                    status, text, headers = state.says(state.bodies[-1]["messages"][0]["content"])
                else:
                    status, text, headers = (
                        state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
                    )
                busy[0] += 1
                state.most_at_once = max(state.most_at_once, busy[0])
            time.sleep(state.delay_s)
            reply = {"choices": [{"message": {"content": text}}]} if status == 200 else {"error": text}
            body = json.dumps(reply).encode()
            with lock:
                busy[0] -= 1
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client has given up
                pass

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
