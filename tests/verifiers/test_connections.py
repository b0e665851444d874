"""Who is connected to a verifier's server, and what a request may take before it is there."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPException

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.connections import Connections, Full, Incoming, Limits, Memory
from rlvr_cli.verifiers.messages import MAX_VALUES, BadRequest, decode, parse, reply_of, values

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_request_has_one_deadline_however_often_a_byte_of_it_comes(pair: Pair) -> None:
    ours, theirs = pair
    reader = io.BufferedReader(Incoming(ours, Limits(request_s=0.3)), 1)
    began, count = time.monotonic(), 0
    theirs.sendall(b"x" * 1000)
    with pytest.raises(TimeoutError, match="too slowly"):
        while time.monotonic() - began < 5:
            assert reader.read(1) == b"x"
            count += 1
            time.sleep(0.05)
    assert 2 <= count < 10 and time.monotonic() - began < 2


def test_silence_before_a_request_is_not_part_of_it(pair: Pair) -> None:
    ours, theirs = pair
    incoming = Incoming(ours, Limits(request_s=0.5))
    for _ in range(3):
        incoming.begin()
        time.sleep(0.25)  # three of them would be too long for one
        theirs.sendall(b"x")
        assert incoming.read(1) == b"x"
    incoming.end_in(0.0)
    with pytest.raises(TimeoutError):
        incoming.read(1)


def test_a_head_has_a_size_and_a_body_another(pair: Pair) -> None:
    ours, theirs = pair
    incoming = Incoming(ours, Limits(max_head=10))
    theirs.sendall(b"x" * 40)
    assert incoming.read(10) == b"x" * 10
    with pytest.raises(HTTPException, match="too large"):
        incoming.read(1)
    incoming.body()
    assert incoming.read(20) == b"x" * 20


def sent_away(client: socket.socket) -> bool:
    client.settimeout(1.0)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_who_waits_longest_makes_room_and_who_works_does_not() -> None:
    house, pairs = Connections(4), [socket.socketpair() for _ in range(9)]
    ours = [pair[0] for pair in pairs]
    assert all(house.enter(each, address) for each, address in zip(ours, "aabc", strict=False))
    house.work(ours[2])
    assert house.enter(ours[4], "d")  # in the place of the first
    assert sent_away(pairs[0][1])
    with pytest.raises(ConnectionAbortedError):
        house.work(ours[0])
    house.leave(ours[0])
    house.work(ours[1])
    house.wait(ours[1])  # its next request: others have been waiting longer
    assert house.enter(ours[5], "e") and sent_away(pairs[3][1])
    for each in (ours[1], ours[4], ours[5]):
        house.work(each)
    assert not house.enter(ours[6], "f")
    house.leave(ours[1])
    assert house.enter(ours[6], "f")
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_one_address_has_half_of_the_places() -> None:
    house, pairs = Connections(6), [socket.socketpair() for _ in range(8)]
    ours = [pair[0] for pair in pairs]
    assert all(house.enter(each, "a") for each in ours[:3])
    assert house.enter(ours[3], "b")
    assert house.enter(ours[4], "a") and sent_away(pairs[0][1])  # although there is a place left
    for each in ours[1:3] + ours[4:5]:
        house.work(each)
    assert not house.enter(ours[5], "a") and house.enter(ours[5], "b") and house.enter(ours[6], "c")
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_memory_is_given_back_whatever_happens() -> None:
    memory = Memory(100)
    with memory.account() as one, pytest.raises(Full), memory.account() as two:
        one.take(60)
        two.take(30)
        two.take(11)
    with memory.account() as account:
        account.take(100)
    with memory.account() as account:
        account.take(100)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(['"', "\\", '\\"', "[,"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


def objects(node: object) -> int:
    if isinstance(node, dict):
        return 1 + sum(1 + objects(each) for each in node.values())
    return 1 + (sum(map(objects, node)) if isinstance(node, list) else 0)


@given(JSON)
def test_values_are_not_undercounted(tree: object) -> None:
    """What is counted bounds what is made: containers, strings, and all that stands behind a comma."""
    for text in (json.dumps(tree), json.dumps(tree, ensure_ascii=False)):
        found = values(text)
        assert found + 1 >= objects(tree) / 2 and found <= 3 * objects(tree)


@pytest.mark.parametrize(
    "text", ["[" + "{}," * 2_000_000, '"' + '\\"' * 2_000_000, '"",' * 1_500_000, "," * 3_000_000]
)
def test_hostile_bodies_are_counted_once_and_no_further(text: str) -> None:
    began = time.process_time()
    try:
        assert values(text) <= MAX_VALUES
    except BadRequest as error:
        assert error.status == 413
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (json.dumps({"k" * 5_000_000: 1}).encode(), "unknown key 'kkk"),
        (
            json.dumps({"response": "", "answer": "", "verifier": "v" * 5_000_000}).encode(),
            "no verifier 'vvv",
        ),
        (
            json.dumps({"response": "", "answer": "", "verifier": [["v"] * 999]}).encode(),
            "there is no verifier",
        ),
        (b'{"response": "", "answer": "", "extra": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", "50 levels"),
        (json.dumps({"items": [{}] * 11}).encode(), "11 items; at most 10"),
        (b"9" * 5000, "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_body_is_told_in_few_words(body: bytes, says: str) -> None:
    began = time.process_time()
    with pytest.raises(BadRequest) as refused:
        parse(decode(body), ["math"], 10)
    assert says in str(refused.value) and len(str(refused.value)) < 400
    assert time.process_time() - began < 1


def test_an_answer_is_bounded() -> None:
    verdict = Verdict(score=0.0, reason=Reason.wrong, extracted="x" * 99_999, detail="y" * 99_999)
    assert len(json.dumps(reply_of([verdict] * 3, single=False))) < 3 * 12_000
    plain = Verdict(score=0.0, reason=Reason.wrong, extracted=None)
    assert reply_of([plain], single=True)["extracted"] is None
