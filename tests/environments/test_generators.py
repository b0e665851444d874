"""Frozen generators and their judge: servers, a model in the process, and what becomes of s3's episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model_servers import Server, server
from played import played, task

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.generators import Generation, open_generator
from rlvr_cli.environments.judging import Judging
from rlvr_cli.environments.retrieval import Retrieval
from rlvr_cli.environments.s3 import S3
from rlvr_cli.environments.servers import NoAnswer

__all__ = ["server"]  # a fixture, which pytest finds by its name
WORLD = Retrieval(corpus="synthetic:two_hop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlvr_cli.environments.servers.BACKOFF_S", 0.01)


def test_a_server_answers_from_the_documents(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENERATOR_KEY", "secret")
    server.answers = [(200, " Don \n", {})]
    asked = Generation(base_url=server.url, model="g", api_key_env="GENERATOR_KEY", max_tokens=9)
    assert open_generator(asked).answer("who {context}?", "Doc 1", ["x"]) == "Don"
    body = server.bodies[-1]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("g", 9, 0.0)
    assert server.keys == ["Bearer secret"]
    system, user = body["messages"]
    assert system["role"] == "system" and user["content"] == "Doc 1\n\nQuestion: who {context}?\nAnswer:"


def test_the_rule_is_right_where_a_gold_stands_in_the_documents() -> None:
    rule = open_generator(Generation(name="gold_in_context"))
    assert rule.answer("q", "Doc 1 (Title: a)\nborn Don, home", ["Vur", "Don"]) == "Don"
    assert rule.answer("q", "Donna", ["Don"]) == "unknown"


def test_a_judge_is_asked_once_for_all_golds_and_only_without_a_span(server: Server) -> None:
    judge = Judging(base_url=server.url, model="j", retries=0)
    assert judge.gen_acc("q", ["Eiffel Tower"], "the Eiffel Tower") == 1.0 and not server.bodies
    for said, acc in (("Yes.", 1.0), ("No", 0.0)):
        server.answers = [(200, said, {})]
        assert judge.gen_acc("which?", ["Eiffel Tower", "la tour"], "Eiffel-Tower") == acc
    content = server.bodies[-1]["messages"][0]["content"]
    assert (
        "Eiffel Tower\nla tour" in content and "which?" in content and server.bodies[-1]["max_tokens"] == 10
    )
    assert judge.gen_acc("q", ["x"], " ") == 0.0 and len(server.bodies) == 2
    server.answers = [(200, "maybe", {})]
    with pytest.raises(NoAnswer, match="said neither yes nor no: 'maybe'"):
        judge.gen_acc("q", ["x"], "y")
    assert Judging().gen_acc("q", ["x"], "y") == 0.0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, "down", {}), r"^the generator at .*/chat/completions: it answers 500: .*\(2 attempts in"),
        ((401, "bad key secret", {}), r"^the generator at .*: it answers 401: "),
    ],
)
def test_a_generator_that_fails_ends_the_episode_without_a_verdict(
    server: Server, answer: tuple[int, str, dict[str, str]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATOR_KEY", "secret")
    generator = Generation(base_url=server.url, model="g", api_key_env="GENERATOR_KEY", retries=1)
    environment = S3(retrieval=WORLD, generator=generator)
    environment.warm()
    server.answers = [answer]
    with pytest.raises(NoAnswer, match=said) as raised:
        list(
            played(
                environment,
                task("Bik maker born", ["Don"]),
                lambda seen: "<search_complete>1</search_complete>",
            )
        )
    assert "secret" not in str(raised.value)


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^generator.model: .*nowhere cannot be loaded: ") as raised:
        open_generator(Generation(name="model", model=str(tmp_path / "nowhere")))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_model_in_the_process(tmp_path: Path) -> None:
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.schema import TinyModel

    shape = TinyModel(hidden_size=32, layers=1, heads=2, kv_heads=1, max_positions=256)
    make_tiny(tmp_path / "tiny", shape, seed=0)
    settings: dict[str, Any] = {"name": "model", "model": str(tmp_path / "tiny"), "max_tokens": 5}
    generator = open_generator(Generation(**settings))
    said = generator.answer("Bik maker born", "Doc 1", ["Don"])
    assert said == generator.answer("Bik maker born", "Doc 1", ["Vur"]) and len(said) <= 5
