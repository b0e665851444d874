"""`rlvr retriever`: what a corpus of our own answers over HTTP."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rlvr_cli.commands.main import main
from rlvr_cli.environments.retrieval import Retrieval, open_retriever
from rlvr_cli.environments.retrieval.serve import serving
from rlvr_cli.gym import two_hop

MADE = Retrieval(corpus="synthetic:two_hop")


def test_it_speaks_as_our_client_does() -> None:
    with serving(MADE, "127.0.0.1", 0, 3) as url:
        far, near = open_retriever(Retrieval(url=url)), open_retriever(MADE)
        queries = ["Ken maker born", "Kez born", "nothing", ""]
        assert far.search(queries, 2) == near.search(queries, 2)
        with httpx.Client() as client:
            assert client.get(url.replace("/retrieve", "/health")).json() == {"status": "ok"}
            bare = client.post(url, json={"queries": ["Ken"]}).json()
            assert bare["result"][0][0] == {"id": "Ken", "contents": '"Ken"\nart by Kez'}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "must be a JSON object"),
        (b'{"queries": "q"}', "queries must be a list of texts"),
        (b'{"queries": [1]}', "queries must be a list of texts"),
        (b'{"queries": ["q"], "topk": 0.5}', "topk must be a whole number from 1 to 1000"),
        (b'{"queries": ["q"], "topk": 1001}', "topk must be a whole number from 1 to 1000"),
    ],
)
def test_a_bad_request_is_told(body: bytes, said: str) -> None:
    with serving(MADE, "127.0.0.1", 0, 3) as url:
        reply = httpx.post(url, content=body)
        assert reply.status_code == 400 and said in reply.json()["error"]
        assert httpx.post(url.replace("retrieve", "search"), content=body).status_code == 404


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.jsonl"], "retrieval.corpus: there is no file nowhere.jsonl"),
        (["c.jsonl", "--b", "2"], "--b is 2.0; it must be at most 1"),
        (["c.jsonl", "--port", "70000"], "--port is 70000"),
        (["c.jsonl", "--topk", "0"], "--topk is 0"),
    ],
)
def test_bad_options_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retriever", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    two_hop.write_corpus(tmp_path / "w.jsonl")
    command = [sys.executable, "-m", "rlvr_cli", "retriever", str(tmp_path / "w.jsonl"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = server.stdout.readline()
    url = line.split(" at ")[1].split(";")[0]
    assert httpx.post(url, json={"queries": ["Kez born"], "topk": 1}).json()["result"][0][0]["id"] == "Kez"
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
