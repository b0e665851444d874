# ruff: noqa: E501 (programs are quoted as one line)
"""Programs that would rather have no verdict than a bad one: each is wrong, and in time."""

from __future__ import annotations

import base64
import json
import pickle
import random
import zlib
from time import monotonic, perf_counter
from typing import Any

import pytest

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.code import Code, Scoring
from rlvr_cli.verifiers.code_judge import same_output
from rlvr_cli.verifiers.code_tests import Malformed, unpack
from rlvr_cli.verifiers.sandbox import Isolation, probe

TIERS = {tier.name: tier for tier in probe()}
BOXED = [
    pytest.param(
        name, marks=pytest.mark.skipif(not TIERS[name].available, reason=f"{name}: {TIERS[name].detail}")
    )
    for name in ("bwrap", "userns")
]
SECONDS = 2.0
CALL = {"inputs": [[1, 2]], "outputs": [31337], "fn_name": "add"}
NUMBERS = {"inputs": [""], "outputs": [" ".join(["1"] * 200_000)]}
ASSERT = {"test_list": ["assert add(1, 2) == 31337"]}
SAYS = "import os\ndef say(b):\n    v = memoryview(b)\n    while v: v = v[os.write(3, v):]\n"
COLLIDE = SAYS + "items = [k * ((1 << 61) - 1) for k in range(1, 170_000)]\n"
HOSTILE: dict[str, tuple[str, Any]] = {
    "a set of one hash": (COLLIDE + "def add(*a):\n    say(b'{\"value\":{\"set\":[' + b','.join(b'%d' % i for i in items) + b']}}\\n'); os._exit(0)", CALL),
    "a dict of one hash": (COLLIDE + "def add(*a):\n    say(b'{\"value\":{\"dict\":[' + b','.join(b'[%d,1]' % i for i in items[:140_000]) + b']}}\\n'); os._exit(0)", CALL),
    "a set of one hash, to a test": (COLLIDE + "def add(*a):\n    say(b'{\"value\":{\"set\":[' + b','.join(b'%d' % i for i in items) + b']}}\\n'); os._exit(0)", ASSERT),
    "one byte after the other": (SAYS + "def add(*a):\n    while True: say(b'1')", CALL),
    "one line after the other": (SAYS + "def add(*a):\n    while True: say(b'{}\\n')", CALL),
    "one answer after the other": (SAYS + "def add(*a):\n    while True: say(b'{\"value\": 31336}\\n')", ASSERT),
    "deep": (SAYS + "def add(*a):\n    say(b'{\"value\":' + b'{\"list\":[' * 90_000 + b'\\n')", CALL),
    "the disks": ("import ctypes\nlibc = ctypes.CDLL(None)\ndef add(*a):\n    while True: libc.syncfs(0); libc.sync()", CALL),
    "all its memory, often": ("import os\nfor _ in range(7):\n    if os.fork() == 0: break\nx = bytearray(450 << 20)\nwhile True: pass", CALL),
    "socket buffers": ("import socket\npairs = [socket.socketpair() for _ in range(25)]\nfor a, b in pairs:\n    for s in (a, b):\n        s.setblocking(False)\n        try:\n            while True: s.send(bytes(65536))\n        except OSError: pass\nwhile True: pass", CALL),
    "stopped": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nsignal.pause()", CALL),
    "numbers that are almost right": ("print(' '.join(['1.0'] * 199_999 + ['2']))", NUMBERS),
    "more numbers": ("print('1 ' * 4_000_000)", NUMBERS),
    "one number": ("print('9' * 8_000_000)", NUMBERS),
    "lines": ("print('\\n' * 8_000_000 + '1')", NUMBERS),
    "no text": ("import os\nos.write(1, b'\\xff' * 8_000_000)", NUMBERS),
    "exponents": ("print('1e999999999999 ' * 200_000)", NUMBERS),
}  # fmt: skip


OF_THE_BOX = ("the disks", "all its memory, often", "socket buffers", "stopped")
"""What the box has to hold; the rest is the host's part, and the same in every tier."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "isolation"),
    [(name, "auto") for name in HOSTILE if name not in OF_THE_BOX]
    + [pytest.param(name, *tier.values, marks=tier.marks) for name in OF_THE_BOX for tier in BOXED],
)
def test_no_program_is_without_verdict_or_late(name: str, isolation: str) -> None:
    if not TIERS["bwrap"].available and not TIERS["userns"].available:
        pytest.skip("no box on this machine")
    source, tests = HOSTILE[name]
    verifier = Code(
        timeout_s=SECONDS, total_s=SECONDS, isolation=Isolation(isolation), scoring=Scoring.fraction
    )
    verifier.warm()
    started = monotonic()
    found = verifier.verify(f"```python\n{source}\n```", json.dumps(tests), {})
    assert (found.score, found.reason) == (0.0, Reason.wrong), found
    assert monotonic() - started < 2 * SECONDS
    after = verifier.verify("```python\nprint(3)\n```", '{"inputs": [""], "outputs": ["3"]}', {})
    assert after.score == 1.0  # and the next one has its own


def test_the_cost_of_a_comparison_is_that_of_what_is_expected() -> None:
    random.seed(0)
    meant = "\n".join(str(random.random()) for _ in range(1000))
    started = perf_counter()
    assert not same_output("1 " * 4_000_000, meant)
    assert not same_output("1\n" * 4_000_000, meant)
    assert not same_output("1 " * 4_000_000, "1 2")
    assert not same_output("\n".join(["9" * 4000] * 1000), meant)
    assert perf_counter() - started < 1.5


def packed(pickled: bytes) -> str:
    return base64.b64encode(zlib.compress(pickled)).decode()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04N.",
        b"\x80\x04K\x01.",
        b"\x80\x04\x8c\x01a\x8c\x01b.",
        b"\x80\x04r\xff\xff\xff\xff.",  # a memo of 4 billion places
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04cposix\nsystem\n.",
        b"\x80\x04)R.",
        b"\x80\x04]" + b"(" * 99 + b".",
        b"",
        b"\xff" * 50,
        pickle.dumps({"a": 1}),
        pickle.dumps(bytearray(5)),
        pickle.dumps(["x"]),
    ],
)
def test_a_pickle_of_anything_but_text_is_malformed(pickled: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(packed(pickled))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_text_is_unpacked_whatever_the_protocol(protocol: int) -> None:
    for text in ("[]", "é\ud800" + "x" * 300, "y" * 70_000):
        assert unpack(packed(pickle.dumps(text, protocol))) == text
