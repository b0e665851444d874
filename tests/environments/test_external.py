"""Agents written against the OpenAI client, in the real worker, over an engine that says what it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_tokenizers import chat_tokenizer, encode, stop_ids
from scripted_engine import SAMPLING, ScriptedEngine, problem, request

from rlvr_cli.core.episode import Ended
from rlvr_cli.core.types import Completion, Reason
from rlvr_cli.environments.environment import History
from rlvr_cli.environments.external import External
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.driver import Episodes
from rlvr_cli.rollout.engine import Request

AGENTS = Path(__file__).parents[1] / "support" / "agents.py"
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
RESULT = "\n<|im_start|>user\n<tool_response>\n5\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
HANGS_S = 4.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    common: dict[str, Any] = {"function": f"{AGENTS}:run", "syntax": Syntax.hermes, "score": Score.returned}
    few = External(**common, max_turns=2, grace_s=0.5)
    hurried = External(**common, step_s=HANGS_S, grace_s=1.0)
    environments = {"external": External(**common), "few": few, "hurried": hurried}
    made = Workers(environments, tmp_path_factory.mktemp("logs"))
    yield made
    made.end()


def spoken(*turns: str, family: str = "qwen2.5") -> Callable[[Request], tuple[list[int], bool]]:
    """A policy that says these, one after the other."""
    waiting = list(turns)
    return lambda asked: ([*encode(family, waiting.pop(0)), stop_ids(family)[0]], True)


def played(
    workers: Workers,
    agent: str,
    *turns: str,
    name: str = "external",
    family: str = "qwen2.5",
    history: History = History.keep,
    **row: Any,
) -> Completion:
    engine = ScriptedEngine(chat_tokenizer(family), stop_ids(family), spoken(*turns, family=family))
    driver = episodes(workers, engine, history)
    asked = problem(tokens=[1], environment=name, answer="5", agent=agent, **row)
    [(_, [made])] = driver.generate([request(0, asked)], SAMPLING)
    assert made.episode is not None
    assert made.episode.violations == 0
    return made


def episodes(workers: Workers, engine: ScriptedEngine, history: History = History.keep) -> Episodes:
    environments = {name: replace(each, history=history) for name, each in workers._environments.items()}
    return Episodes(
        engine,
        environments,
        workers=workers,
        tools={name: [] for name in environments},
        tokenizer=engine.tokenizer,
        eos=engine.eos,
        most_prompt=600,
    )


@pytest.mark.parametrize("agent", ["loop", "loop_async", "loop_streaming", "loop_streaming_async"])
def test_a_tool_loop_is_one_sequence_token_for_token(workers: Workers, agent: str) -> None:
    made = played(workers, agent, CALL, "5")
    tokens = encode("qwen2.5", f"{CALL}<|im_end|>{RESULT}5<|im_end|>")
    assert made.tokens.tolist() == tokens
    assert made.sampled.sum() == len(encode("qwen2.5", f"{CALL}5")) + 2
    assert made.earlier == []
    assert made.episode is not None
    assert (made.episode.ended, made.episode.reward) == (Ended.done, 1.0)
    assert made.episode.measures["tool/calls"] == 1
    prompt = chat_tokenizer("qwen2.5").decode(made.prompt)
    assert '"description": "The sum of two numbers."' in prompt  # the request's tools
    assert prompt.endswith("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")


def test_calls_at_once(workers: Workers) -> None:
    made = played(workers, "loop", CALL + CALL, "4")
    assert made.episode is not None
    assert (made.episode.reward, made.episode.measures["tool/calls"]) == (0.0, 2)
    assert made.episode.turns[0].said.count("<tool_response>\n5\n") == 2


def test_another_conversation_is_another_sequence_of_the_same_episode(workers: Workers) -> None:
    made = played(workers, "forgets", CALL, "5")
    [before] = made.earlier
    assert before.tokens.tolist() == encode("qwen2.5", f"{CALL}<|im_end|>")
    assert made.tokens.tolist() == encode("qwen2.5", "5<|im_end|>")
    assert before.sampled.all() and made.sampled.all()
    prompt = chat_tokenizer("qwen2.5").decode(made.prompt)
    assert "The sum is 5. What is it?" in prompt and "# Tools" not in prompt
    assert made.episode is not None
    assert (made.episode.reward, made.episode.measures["forks"]) == (1.0, 1)


def test_garbage_is_answered_and_the_episode_goes_on(workers: Workers) -> None:
    made = played(workers, "garbage", "5")
    assert made.episode is not None
    assert (made.episode.reward, len(made.episode.turns)) == (1.0, 1)


@pytest.mark.parametrize("history", list(History))
def test_what_had_no_room_leaves_no_trace(workers: Workers, history: History) -> None:
    made = played(workers, "shortens", "4", "5", history=history)
    said = "\n<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n"
    assert made.tokens.tolist() == encode("qwen2.5", f"4<|im_end|>{said}5<|im_end|>")
    assert made.episode is not None
    assert (made.episode.reward, made.episode.measures["refused"]) == (1.0, 1)


def test_what_the_template_refuses_is_the_programs_to_mend(workers: Workers) -> None:
    made = played(workers, "repeats_itself", "5", family="gemma3")
    assert made.episode is not None
    assert (made.episode.reward, len(made.episode.turns)) == (1.0, 1)
    assert made.episode.measures["refused"] == 1


@pytest.mark.parametrize(
    ("agent", "name", "reason", "detail"),
    [
        ("raises", "external", Reason.crash, "KeyError: 'no such thing'"),
        ("asks_nothing", "external", Reason.crash, "without a request that could be served"),
        ("hangs", "hurried", Reason.timeout, f"within {HANGS_S:g} s"),
    ],
)
def test_failures_have_verdicts_of_their_own_and_others_go_on(
    workers: Workers, agent: str, name: str, reason: Reason, detail: str
) -> None:
    engine = ScriptedEngine(chat_tokenizer("qwen2.5"), stop_ids("qwen2.5"), spoken(*"5555"))
    asked = [
        request(0, problem(0, tokens=[1], environment=name, answer="5", agent=agent)),
        request(1, problem(1, tokens=[1], environment="external", answer="5", agent="loop")),
    ]
    found = dict(episodes(workers, engine).generate(asked, SAMPLING))
    failed, right = found[0][0].episode, found[1][0].episode
    assert failed is not None and failed.failure is not None
    assert failed.failure.reason is reason
    assert detail in failed.failure.detail
    assert right is not None and right.reward == 1.0


def test_turns_are_over(workers: Workers) -> None:
    made = played(workers, "loop", CALL, CALL, name="few")
    assert made.episode is not None
    assert (made.episode.ended, made.episode.reward) == (Ended.turns, 0.0)


def test_a_dropped_connection_samples_nothing_twice(workers: Workers) -> None:
    """The engine takes longer than the client waits: its repeat joins the turn."""
    said = spoken("5")

    def slow(asked: Request) -> tuple[list[int], bool]:
        time.sleep(1.0)
        return said(asked)

    engine = ScriptedEngine(chat_tokenizer("qwen2.5"), stop_ids("qwen2.5"), slow)
    asked = problem(tokens=[1], environment="external", answer="5", agent="drops", timeout=0.7)
    [(_, [made])] = episodes(workers, engine).generate([request(0, asked)], SAMPLING)
    assert made.episode is not None
    assert (made.episode.reward, len(engine.asked)) == (1.0, 1)
    assert made.episode.measures["repeated"] >= 1


def test_many_episodes_at_once(workers: Workers) -> None:
    engine = ScriptedEngine(chat_tokenizer("qwen2.5"), stop_ids("qwen2.5"), answering)
    asked = problem(tokens=[1], environment="external", answer="5", agent="loop")
    [(_, found)] = episodes(workers, engine).generate([request(0, asked, samples=32)], SAMPLING)
    assert [made.episode.reward for made in found if made.episode is not None] == [1.0] * 32
    assert all(made.episode.violations == 0 for made in found if made.episode is not None)
    assert len(engine.asked) == 64


def answering(asked: Request) -> tuple[list[int], bool]:
    """Calls, and then says what came."""
    seen = chat_tokenizer("qwen2.5").decode(asked.tokens)
    return encode("qwen2.5", ("5" if "<tool_response>" in seen else CALL) + "<|im_end|>"), True
