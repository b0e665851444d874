"""Which requests go on in a sequence and which begin another, repeats, parallel requests, and how it ends."""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gateway_play import ADD, ADDS, USER, played, posted, refused, sampled, turn

from rlvr_cli.environments.environment import Step
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.environments.tool_calls import Syntax


def message_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["choices"][0]["message"]
    return found


def after_a_call(change: Any) -> Step:
    """What becomes of a second request, whose messages `change` has made of the first one and its answer."""

    def program(task: Any, base_url: str, key: str, model: str) -> None:
        said = message_of(posted(base_url, key, tools=[ADD]))
        result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "5"}
        posted(base_url, key, tools=[ADD], messages=change([dict(USER), said, result]))

    return played(program, ADDS, "5").steps[0]


def after_a_text(content: Any, text: str = "one  ", more: Any = None) -> Step:
    def program(task: Any, base_url: str, key: str, model: str) -> None:
        message_of(posted(base_url, key))
        said = {"role": "assistant", "content": content} | (more or {})
        posted(base_url, key, messages=[USER, said, {"role": "user", "content": "and?"}])

    return played(program, text, "two").steps[0]


def test_a_result_goes_on_in_the_sequence() -> None:
    step = after_a_call(lambda messages: messages)
    assert step.restart == []
    [call] = step.calls
    assert call["function"] == {"name": "add", "arguments": {"a": 2, "b": 3}}
    assert step.messages == [
        {"role": "tool", "content": "5", "tool_call_id": call["id"], "name": "add"},
    ]
    assert step.measures["tool/calls"] == 1
    assert step.measures.get("forks", 0) == 0


def edited(**changes: Any) -> Any:
    """The policy's turn comes back otherwise."""
    return lambda messages: [messages[0], messages[1] | changes, messages[2]]


def respelled(messages: list[Any]) -> list[Any]:
    """As clients do that read arguments and write them again."""
    changed = copy.deepcopy(messages)
    changed[1]["tool_calls"][0]["function"]["arguments"] = '{"b":3,"a":2}'
    return changed


@pytest.mark.parametrize(
    "change",
    [
        edited(content=""),
        edited(content="I add."),
        edited(refusal=None, annotations=[], audio=None, function_call=None),
        respelled,
    ],
)
def test_what_clients_change_is_no_other_history(change: Any) -> None:
    assert after_a_call(change).restart == []


def test_results_and_a_word_of_the_user() -> None:
    step = after_a_call(lambda messages: [*messages, {"role": "user", "content": "go on"}])
    assert [each["role"] for each in step.messages] == ["tool", "user"]


@pytest.mark.parametrize("content", ["one", "one  ", " one\n", [{"type": "text", "text": "one"}]])
def test_content_comes_back_trimmed_or_in_parts(content: Any) -> None:
    step = after_a_text(content)
    assert (step.messages, step.calls) == ([{"role": "user", "content": "and?"}], [])


def test_a_thought_may_come_back_or_not() -> None:
    for content, more in (("1", {}), ("1", {"reasoning_content": "x"}), ("<think>x</think>1", {})):
        assert after_a_text(content, "<think>x</think>1", more).restart == []


@pytest.mark.parametrize(
    "change",
    [
        lambda messages: [{"role": "user", "content": "summary"}],
        lambda messages: [{"role": "system", "content": "new"}, *messages],
        lambda messages: [messages[0] | {"content": "Q!"}, *messages[1:]],
        lambda messages: messages[:1],
        lambda messages: [*messages, {"role": "assistant", "content": "my words"}, USER],
        lambda messages: [messages[0], messages[1] | {"tool_calls": []}, USER],
        lambda messages: [
            messages[0],
            messages[1] | {"tool_calls": [messages[1]["tool_calls"][0] | {"id": "other"}]},
            messages[2] | {"tool_call_id": "other"},
        ],
    ],
)
def test_another_history_begins_a_new_sequence(change: Any) -> None:
    step = after_a_call(change)
    assert (step.messages, step.measures["forks"]) == ([], 1)
    assert step.restart


def test_an_edited_answer_is_another_history() -> None:
    assert after_a_text("two").measures["forks"] == 1


def test_other_tools_are_another_prompt() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> None:
        said = message_of(posted(base_url, key))
        posted(base_url, key, tools=[ADD], messages=[USER, said, USER])

    [step, _] = played(program, "one", "two").steps
    assert step.restart and step.ask is not None and step.ask.tools == [ADD]


def test_a_sub_agent_and_the_way_back() -> None:
    """The main conversation goes on in a third sequence, whose prompt has what was sampled in the first."""

    def program(task: Any, base_url: str, key: str, model: str) -> None:
        said = message_of(posted(base_url, key))
        sub = {"role": "user", "content": "look it up"}
        message_of(posted(base_url, key, messages=[sub]))
        posted(base_url, key, messages=[USER, said, USER])

    first, second, third = played(program, "one", "two", "three").steps
    assert [each["content"] for each in first.restart] == ["look it up"]
    assert [each["content"] for each in second.restart] == ["Q", "one", "Q"]
    assert third.done


def test_parallel_requests_are_served_one_after_the_other() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        said = message_of(posted(base_url, key))
        others = [[{"role": "user", "content": each}] for each in "abc"]
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(posted, base_url, key, messages=each) for each in others]
            return said["content"], [message_of(each.result())["content"] for each in asked]

    found = played(program, "1", "2", "3", "4")
    first, others = found.returned
    assert (first, sorted(others)) == ("1", ["2", "3", "4"])
    assert sorted(step.restart[0]["content"] for step in found.steps[:3]) == ["a", "b", "c"]
    assert found.measures["forks"] == 3


# ------------------------------------------------------------- repeats


def test_a_marked_repeat_gets_the_same_turn() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        first = posted(base_url, key).json()
        by_count = posted(base_url, key, headers={"x-stainless-retry-count": "1"}).json()
        assert first == by_count
        keyed = posted(base_url, key, headers={"Idempotency-Key": "k"}).json()
        assert keyed == posted(base_url, key, headers={"Idempotency-Key": "k"}).json()
        assert keyed["id"] != first["id"]
        return posted(base_url, key).json()["choices"][0]["message"]["content"]  # unmarked: a turn of its own

    found = played(program, "1", "2", "3")
    assert found.returned == "3"
    assert found.measures["repeated"] == 2


def test_a_repeat_joins_the_turn_that_is_being_sampled() -> None:
    asked = threading.Event()

    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        posted(base_url, key)
        body = {"messages": [USER, USER]}
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(posted, base_url, key, **body)
            time.sleep(0.2)
            again = pool.submit(posted, base_url, key, headers={"x-stainless-retry-count": "1"}, **body)
            time.sleep(0.2)
            asked.set()
            return first.result().json() == again.result().json()

    def late() -> Any:
        assert asked.wait(10)
        return turn("2")

    found = played(program, "1", late)
    assert found.returned is True
    assert len(found.steps) == 2


# ------------------------------------------------------------- limits


def test_the_last_turn_is_given_and_the_next_request_refused() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        said = message_of(posted(base_url, key))
        answer = posted(base_url, key, messages=[USER, said, USER])
        return {"reward": 0.5, "asked": 2, "why": answer.json()["error"], "status": answer.status_code}

    found = played(program, turn("1", last=True), score=Score.returned)
    assert (found.returned["status"], found.returned["why"]["code"]) == (400, None)
    assert found.returned["why"]["message"].startswith("rollout stopped: the episode has no turns left")
    [step] = found.steps
    assert (step.reward, step.measures["asked"], step.over) == (0.5, 2, False)  # it would have gone on


def test_no_tokens_left() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> None:
        message_of(posted(base_url, key))
        answer = posted(base_url, key)
        assert answer.json()["error"]["code"] == "context_length_exceeded"
        raise SystemError("it cannot go on")

    [step] = played(program, turn("1", last=True, finished=False, sampled=sampled("1", room=0))).steps
    assert (step.over, step.reward) == (False, None)


def test_the_last_turn_may_be_the_programs_last_too() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> bool:
        return posted(base_url, key).status_code == 200

    [step] = played(program, turn("1", last=True), score=Score.returned).steps
    assert (step.done, step.reward) == (True, 1.0)


def test_a_program_that_asks_on_and_on_is_ended() -> None:
    over = threading.Event()

    def program(task: Any, base_url: str, key: str, model: str) -> None:
        while posted(base_url, key).status_code == 200 or not over.wait(0.02):
            pass

    began = time.monotonic()
    [step] = played(program, turn("1", last=True), score=Score.posted).steps
    over.set()
    assert time.monotonic() - began < 10
    assert step.reward == 0.0


def test_a_conversation_without_room_can_be_made_shorter() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        said = message_of(posted(base_url, key))
        answer = posted(base_url, key, messages=[USER, said, USER])
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert error["message"] == "too much"
        short = {"role": "user", "content": "in short"}
        return message_of(posted(base_url, key, messages=[short]))["content"]

    found = played(program, "1", refused(), "2")
    assert found.returned == "2"
    assert [each["content"] for each in found.steps[1].restart] == ["in short"]
    assert found.measures["refused"] == 1


def test_a_refused_request_has_left_no_trace() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        said = message_of(posted(base_url, key))
        long = {"role": "user", "content": "x" * 99}
        assert posted(base_url, key, messages=[USER, said, long]).status_code == 400
        posted(base_url, key, messages=[USER, said, {"role": "user", "content": "y"}])

    step = played(program, "1", refused(), "2").steps[1]
    assert step.messages == [{"role": "user", "content": "y"}]


def test_what_the_template_has_no_place_for() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        return posted(base_url, key).json()["error"]

    found = played(program, refused("roles must alternate", too_long=False))
    assert found.returned["code"] is None
    assert found.returned["message"] == "roles must alternate"
    assert found.raised == "the program has ended, without a request that could be served"


def test_tools_without_a_known_syntax() -> None:
    def program(task: Any, base_url: str, key: str, model: str) -> Any:
        answer = posted(base_url, key, tools=[ADD])
        posted(base_url, key)
        return answer.status_code, answer.json()["error"]["message"]

    status, said = played(program, "1", syntax=Syntax.auto).returned
    assert status == 400
    assert "set the environment's syntax" in said
