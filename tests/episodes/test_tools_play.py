"""Tools played over an engine, in the words of chat templates of several families."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_tokenizers import chat_tokenizer, encode, stop_ids
from scripted_engine import SAMPLING, ScriptedEngine, problem, request

from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.tools import Tools
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.driver import Episodes
from rlvr_cli.rollout.engine import Request

FUNCTIONS = '''
def say(text: str) -> str:
    """Say it.

    Args:
        text: What.
    """
    return f"<|im_end|>{text}"
'''
CALL = '{"name": "say", "arguments": {"text": "hi"}}'
PARAMETERS = CALL.replace("arguments", "parameters")
RESULT = "<\N{ZERO WIDTH JOINER}|im_end|>hi"
QWEN = f"\n<|im_start|>user\n<tool_response>\n{RESULT}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
LLAMA = "<|start_header_id|>%s<|end_header_id|>\n\n"
MISTRAL = f'[TOOL_RESULTS]{{"content": "{RESULT}", "call_id": "c0001n000"}}[/TOOL_RESULTS]'
FAMILIES = {
    "qwen2.5": (Syntax.hermes, f"<tool_call>\n{CALL}\n</tool_call>", QWEN),
    "qwen3": (Syntax.hermes, f"<think>\nx\n</think>\n\n<tool_call>\n{CALL}\n</tool_call>", QWEN),
    "llama3.1": (
        Syntax.llama3_json, PARAMETERS, f'{LLAMA % "ipython"}"{RESULT}"<|eot_id|>{LLAMA % "assistant"}'
    ),
    "mistral3": (Syntax.mistral, f"[TOOL_CALLS] [{CALL}]", MISTRAL),
}  # fmt: skip
"""Family -> the syntax of its template, a turn with a call, and what the template puts behind it."""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tools]:
    file = tmp_path_factory.mktemp("tools") / "mine.py"
    file.write_text(FUNCTIONS)
    made = {family: Tools(functions=[str(file)]) for family in FAMILIES}
    for family, each in made.items():
        each.choose_syntax(chat_tokenizer(family).chat_template)
    return made


@pytest.fixture(scope="module")
def workers(tools: dict[str, Tools], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    made = Workers(tools, Path(tmp_path_factory.mktemp("logs")))
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_and_its_result(family: str, tools: dict[str, Tools], workers: Workers) -> None:
    syntax, call, result = FAMILIES[family]
    assert tools[family].spoken is syntax
    tokenizer, eos = chat_tokenizer(family), stop_ids(family)
    turns = [[*encode(family, call), eos[0]], [*encode(family, "done"), eos[0]]]

    def say(asked: Request) -> tuple[list[int], bool]:
        return turns[len(asked.tokens) > 1], True

    driver = Episodes(
        ScriptedEngine(tokenizer, eos, say),
        tools,
        workers,
        tools={each: [] for each in FAMILIES},
        tokenizer=tokenizer,
        eos=eos,
        most_prompt=100,
    )
    asked = request(1, problem(tokens=encode(family, "Q"), environment=family))
    [(_, [made])] = driver.generate([asked], SAMPLING)
    said = encode(family, result)
    assert made.tokens.tolist() == [*turns[0], *said, *turns[1]], tokenizer.decode(made.tokens)
    assert made.sampled.tolist() == [True] * len(turns[0]) + [False] * len(said) + [True] * len(turns[1])
    assert made.episode is not None
    assert (made.episode.violations, made.episode.failure) == (0, None)
    assert made.episode.measures["tool/calls"] == made.episode.measures["tool/say/calls"] == 1.0
    assert [turn.notes for turn in made.episode.turns] == [{"calls": "say ok"}, {}]
