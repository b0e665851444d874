"""A hosted chat model is measured with messages: a real HTTP server that speaks nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.chat_server import ChatEngine
from rlvr_cli.schema import Server, ServerApi, Source

SAMPLING = Sampling(temperature=0.5, top_p=0.9, max_tokens=7, stop=["##"])
ASKED = [{"role": "user", "content": "3+4="}]


class Handler(BaseHTTPRequestHandler):
    bodies: ClassVar[list[dict[str, Any]]] = []
    says: ClassVar[dict[str, Any]] = {}
    """Replaces parts of the answer: message, finish_reason, usage."""
    lock: ClassVar[threading.Lock] = threading.Lock()
    refuses_max_tokens: ClassVar[bool] = False

    def answer(self, code: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer(404, {})  # many hosts list no models

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self.answer(404, {"error": "no such path"})
        with self.lock:
            self.bodies.append(body)
            if len(self.bodies) % 3 == 1 and not self.refuses_max_tokens:
                return self.answer(503, {})
        if self.refuses_max_tokens and "max_tokens" in body:
            return self.answer(
                400, {"error": {"message": "Unsupported: use 'max_completion_tokens' instead."}}
            )
        a, b = body["messages"][-1]["content"].rstrip("=").split("+")
        message = {"role": "assistant", "content": f"\\boxed{{{int(a) + int(b)}}}"} | self.says.get(
            "message", {}
        )
        choice = {"message": message, "finish_reason": self.says.get("finish_reason", "stop")}
        usage = self.says.get("usage", {"completion_tokens": 9})
        return self.answer(200, {"choices": self.says.get("choices", [choice]), "usage": usage})

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    Handler.bodies, Handler.says, Handler.refuses_max_tokens = [], {}, False
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


def engine(url: str, tokenizer: Any = None) -> ChatEngine:
    settings = Server(url=url, api=ServerApi.chat, connections=2)
    return ChatEngine(settings, model="hosted", tokenizer=tokenizer, pause=0.01)


def sample(url: str, **said: Any) -> Any:
    Handler.says = said
    request = Request(key=0, tokens=[], messages=ASKED, samples=1, seed=5)
    [(_, [completion])] = engine(url).generate([request], SAMPLING)
    return completion


def test_messages_go_out_and_text_length_and_truncation_come_back(server: str) -> None:
    requests = [Request(key=n, tokens=[], messages=ASKED, samples=2, seed=10 * n) for n in range(3)]
    found = dict(engine(server).generate(requests, SAMPLING))
    assert [[c.text for c in found[n]] for n in range(3)] == [["\\boxed{7}"] * 2] * 3
    assert all(len(c.tokens) == 9 and len(c.logprobs) == 0 and c.finished for c in found[0])
    body = Handler.bodies[0]
    assert body["model"] == "hosted" and body["messages"] == ASKED and body["stop"] == ["##"]
    assert body["max_tokens"] == 7 and "prompt" not in body and "skip_special_tokens" not in body
    assert {body["seed"] for body in Handler.bodies} == {0, 1, 10, 11, 20, 21}
    assert len(Handler.bodies) > 6  # some were refused and came again
    assert not sample(server, finish_reason="length").finished


def test_reasoning_that_is_kept_apart_is_part_of_the_response(server: str) -> None:
    said = sample(server, message={"content": "\\boxed{7}", "reasoning_content": "3 and 4"})
    assert said.text == "<think>\n3 and 4\n</think>\n\n\\boxed{7}"
    cut = sample(server, message={"content": None, "reasoning": "3 and"}, finish_reason="length")
    assert cut.text == "<think>\n3 and\n</think>\n\n" and not cut.finished
    assert sample(server, message={"content": None, "refusal": "No."}).text == "No."


def test_the_other_name_of_the_length_limit(server: str) -> None:
    Handler.refuses_max_tokens = True
    assert sample(server).text == "\\boxed{7}"
    assert Handler.bodies[-1]["max_completion_tokens"] == 7 and "max_tokens" not in Handler.bodies[-1]


def test_a_server_that_counts_nothing_or_says_nothing(server: str) -> None:
    with pytest.raises(
        UserError, match=r"does not say how many tokens .* give a model folder with a tokenizer"
    ):
        sample(server, usage=None)
    request = Request(key=0, tokens=[], messages=ASKED, samples=1, seed=5)
    with pytest.raises(UserError, match="gives no completion"):
        Handler.says = {"message": {"content": None}, "choices": []}
        list(engine(server).generate([request], SAMPLING))


def test_prompts_become_messages_without_a_tokenizer(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "3+4=", "answer": "7"}\n')
    source = Source(path=str(file), system="Be brief.", prompt="Add: {prompt}")
    [problem], _ = problems("mine", source, None, 1, 0)
    wanted = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add: 3+4="}]
    assert problem.messages == wanted and problem.tokens == []
    assert problem.prompt == "system: Be brief.\n\nuser: Add: 3+4="


def test_contamination_cannot_be_asked_of_a_chat() -> None:
    with pytest.raises(UserError, match="contamination shows a text that is cut off"):
        compose.load_eval(
            None, ["server.api=chat"], benches=["addition"], model="m",
            settings={"server": {"url": "http://x/v1"}, "contamination": 0.5},
        )  # fmt: skip


@pytest.mark.slow
def test_evaluation_of_a_hosted_model(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name alone: no folder, no hub, no tokenizer."""
    import subprocess
    import sys

    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "rlvr_cli",
        "eval",
        "--model",
        "hosted-4o",
        "--server",
        server,
        "--bench",
    ]
    done = subprocess.run(
        [
            *command,
            "addition",
            "server.api=chat",
            "benches.addition.source.options.size=3",
            "-k",
            "2",
            f"out={out}",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "addition.json").read_text())
    assert result["summary"]["avg@2"] == 1.0 and result["summary"]["response_length"] == 9
    assert result["api"] == "chat" and result["engine"] == server and result["model"] == "hosted-4o"
    assert {body["model"] for body in Handler.bodies} == {"hosted-4o"}
    assert "the length of a prompt is not known" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_server_without_completions_says_what_to_set(server: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.rollout.server import ServerEngine
    from rlvr_cli.schema import TinyModel

    make_tiny(tmp_path / "m", TinyModel(hidden_size=16, layers=1, heads=2, kv_heads=1), 0)
    plain = ServerEngine(
        Server(url=server), model="m", tokenizer=AutoTokenizer.from_pretrained(tmp_path / "m"), pause=0.01
    )
    with pytest.raises(UserError, match=r"HTTP 404.*server.api=chat"):
        list(plain.generate([Request(key=0, tokens=[1], samples=1, seed=0)], SAMPLING))


def test_mistakes_are_one_line(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "eval",
        "--model",
        "m",
        "--bench",
        "addition",
        "--server",
        server,
        "server.api=chatt",
        "--dry-run",
    ]
    assert main(words) == 2
    assert "server.api" in capsys.readouterr().err
