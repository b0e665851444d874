"""The OpenAI-compatible address: what a request may hold, what comes back, what is refused."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from gateway_play import ADD, ADDS, CLIENT, USER, played, posted, refused, turn

from rlvr_cli.environments.environment import Turn


def body_of(*turns: str | Turn, headers: Any = None, **body: Any) -> Any:
    """The answer to one request, as JSON, its status under `status`."""

    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        answer = posted(base_url, key, headers=headers, **body)
        return answer.json() | {"status": answer.status_code}

    return played(program, *(turns or ("hello",))).returned


def test_an_answer_in_one_piece() -> None:
    found = body_of("hello", model="whatever")
    assert found["object"] == "chat.completion"
    assert found["model"] == "whatever"
    assert found["id"].startswith("chatcmpl-")
    assert isinstance(found["created"], int)
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    [choice] = found["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello"},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_what_the_policy_sees_first_is_what_the_program_asks() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]  # fmt: skip
    found = played(
        lambda task, url, key, model: posted(
            url, key, messages=messages, tools=[ADD], max_tokens=9, stop="x"
        ),
        "hello",
    )
    assert found.opening is not None
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}, "id": "c1"}
    assert found.opening.messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "ab"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add"},
    ]
    ask = found.opening.ask
    assert (ask.tools, ask.max_tokens, ask.stop) == ([ADD], 9, ["x"])


def test_calls_have_ids_of_their_own_and_arguments_as_text() -> None:
    [choice] = body_of(ADDS + ADDS, tools=[ADD])["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    first, second = choice["message"]["tool_calls"]
    assert first["function"] == {"name": "add", "arguments": '{"a": 2, "b": 3}'}
    assert first["id"] != second["id"]
    assert all(len(each["id"]) == 9 and each["id"].isalnum() for each in (first, second))


def test_parallel_calls_can_be_switched_off() -> None:
    [choice] = body_of(ADDS + ADDS, tools=[ADD], parallel_tool_calls=False)["choices"]
    assert len(choice["message"]["tool_calls"]) == 1


def test_a_call_that_cannot_be_read_stays_text() -> None:
    broken = '<tool_call>{"name": "add", "arguments": {"a": </tool_call>'
    [choice] = body_of(broken, tools=[ADD])["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {"role": "assistant", "content": broken}


def test_a_tool_that_is_not_there_is_the_programs_to_answer() -> None:
    [choice] = body_of('<tool_call>{"name": "sub", "arguments": {}}</tool_call>', tools=[ADD])["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "sub", "arguments": "{}"}


@pytest.mark.parametrize("more", [{}, {"tools": [ADD], "tool_choice": "none"}])
def test_without_tools_nothing_is_a_call(more: dict[str, Any]) -> None:
    [choice] = body_of(ADDS, **more)["choices"]
    assert choice["message"] == {"role": "assistant", "content": ADDS}


def test_a_thought_is_apart_from_the_content() -> None:
    [choice] = body_of("<think>\nhm\n</think>\n\n5")["choices"]
    assert choice["message"] == {"role": "assistant", "content": "5", "reasoning_content": "hm"}


def test_a_turn_that_was_cut_off_and_one_that_ended_at_a_stop_string() -> None:
    [choice] = body_of(turn("hel", finished=False))["choices"]
    assert choice["finish_reason"] == "length"
    [choice] = body_of(turn("hel###", stopped_by="###"), stop=["###"])["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "hel")


def test_logprobs_and_ids_where_they_are_asked_for() -> None:
    found = body_of("hé", logprobs=True, return_token_ids=True)
    [choice] = found["choices"]
    assert choice["logprobs"]["content"] == [
        {"token": "h", "logprob": 0.0, "bytes": [104], "top_logprobs": []},
        {"token": "é", "logprob": -0.125, "bytes": [195, 169], "top_logprobs": []},
    ]
    assert (choice["token_ids"], found["prompt_token_ids"]) == ([0, 1], [7, 8, 9])


BROKEN = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"raw": "{"}, "not valid JSON"),
    ({"raw": "[]"}, "must be a JSON object"),
    ({"raw": "[" * 100_000}, "not valid JSON"),
    ({"messages": []}, "at least one message"),
    ({"messages": "hi"}, "messages must be of type list"),
    ({"messages": [{"role": "king", "content": ""}]}, "messages[0] must be an object with a role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "text alone"),
    ({"messages": [BROKEN]}, "arguments must be a JSON object"),
    ({"n": 2}, "n is 2"),
    ({"tools": [ADD], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "add"}}}, "tool_choice"),
    ({"tools": [{"name": "add"}]}, "a tool must be"),
    ({"response_format": {"type": "json_object"}}, "response_format json_object"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "mean the same"),
    ({"max_tokens": 0}, "max_tokens is 0"),
    ({"max_tokens": "many"}, "max_tokens is 'many'"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "at most 4"),
    ({"stop": [""]}, "none that is empty"),
    ({"temperature": "hot"}, "temperature must be a number"),
    ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"functions": [{}]}, "replaced by tools"),
    ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
]  # fmt: skip


def test_what_cannot_be_served_is_said_in_openais_form_and_nothing_is_sampled() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        found = [posted(base_url, key, **body) for body, _ in REFUSED]
        return [(each.status_code, each.json()) for each in found] + [posted(base_url, key).status_code]

    found = played(program, "the only turn")
    *answers, last = found.returned
    assert last == 200
    assert len(found.steps) == 1
    for (status, said), (asked, text) in zip(answers, REFUSED, strict=True):
        assert status == 400, asked
        assert set(said["error"]) == {"message", "type", "param", "code"}
        assert text in said["error"]["message"]


def test_what_is_unknown_or_says_nothing_is_left_aside() -> None:
    same: dict[str, Any] = {"n": 1, "user": "x", "store": False, "metadata": {}, "tools": [], "stop": None}
    assert body_of(**same, response_format={"type": "text"}, seed=5, logit_bias={})["status"] == 200


def test_keys() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        root = base_url.partition("/sessions/")[0]
        unknown = posted(f"{root}/v1", "sk-other")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "invalid_api_key")
        assert posted(f"{root}/sessions/other/v1", key).status_code == 401
        assert CLIENT.get(f"{root}/v1/models").status_code == 401
        assert CLIENT.get(f"{base_url}/models").json()["data"][0]["id"] == model == "mine"
        assert CLIENT.get(f"{root}/health").json() == {"status": "ok"}
        missing = CLIENT.get(f"{root}/v1/nowhere")
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "invalid_request_error")
        assert posted(f"{root}/v1", key).status_code == 200  # the key alone
        return posted(base_url, "EMPTY").status_code  # the address alone

    assert played(program, "a", "b", model="mine").returned == 200


def test_the_runs_sampling_wins_and_others_are_counted() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> None:
        for own in ({"temperature": 0}, {"top_p": 0.5}, {"top_k": 5}, {"presence_penalty": 1}):
            posted(base_url, key, **own)
        for same in ({}, {"temperature": 1.0, "top_p": 1, "top_k": -1, "frequency_penalty": 0}):
            posted(base_url, key, **same)

    assert played(program, *"abcdef").measures["overridden"] == 4


def test_a_large_body() -> None:
    assert body_of(messages=[{"role": "user", "content": "x" * 3_000_000}])["status"] == 200


# ------------------------------------------------------------- streams


def events(base_url: str, key: str, **body: Any) -> list[Any]:
    text = posted(base_url, key, stream=True, **body).text
    lines = [line for line in text.split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_stream_of_content() -> None:
    found = played(
        lambda task, url, key, model: events(url, key, stream_options={"include_usage": True}), "hello"
    )
    role, content, end, usage = found.returned
    assert role["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    ]
    assert content["choices"][0]["delta"] == {"content": "hello"}
    assert (end["choices"][0]["delta"], end["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 8)
    assert len({(each["id"], each["created"], each["model"], each["object"]) for each in found.returned}) == 1


def test_a_stream_of_calls_names_each_once_and_joins_by_index() -> None:
    found = played(lambda task, url, key, model: events(url, key, tools=[ADD]), ADDS + ADDS).returned
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [each["choices"][0]["delta"]["tool_calls"][0] for each in found[1:-1]]
    assert [each["index"] for each in deltas] == [0, 0, 1, 1]
    for head, rest in (deltas[:2], deltas[2:]):
        assert (head["type"], head["function"]) == ("function", {"name": "add", "arguments": ""})
        assert set(rest) == {"index", "function"}
        assert rest["function"] == {"arguments": '{"a": 2, "b": 3}'}


def test_an_early_error_of_a_stream_is_a_status() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        posted(base_url, key)
        return posted(base_url, key, stream=True).status_code

    assert played(program, "hello", refused(), "unused").returned == 400


def test_a_slow_turn_keeps_the_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlvr_cli.environments.gateway.server.KEEP_ALIVE_S", 0.05)
    arrived = threading.Event()

    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        posted(base_url, key)
        body = {"model": "m", "messages": [USER, USER], "stream": True}
        with CLIENT.stream("POST", f"{base_url}/chat/completions", json=body, timeout=20) as stream:
            lines = stream.iter_lines()
            first = next(lines)
            arrived.set()
            return first, [line for line in lines if line.startswith("data")]

    def late() -> Turn:
        assert arrived.wait(10)
        return refused("no room")

    first, data = played(program, "hello", late, "unused").returned
    assert first == ": keep-alive"
    assert "no room" in data[0] and data[1] == "data: [DONE]"
