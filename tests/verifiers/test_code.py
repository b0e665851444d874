# ruff: noqa: E501 (programs are quoted as one line)
"""The code verifier: formats, comparison, scoring, and programs that want the reward without the work."""

from __future__ import annotations

import base64
import json
import os
import pickle
import time
import zlib
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.code import Code, Scoring, program
from rlvr_cli.verifiers.code_judge import Unjudgeable, same_output
from rlvr_cli.verifiers.code_tests import Call, Malformed, Script, parse, spaced
from rlvr_cli.verifiers.extract import Rejected
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.sandbox import Isolation, Tier, probe, tiers

pytestmark = pytest.mark.slow

TIERS = {tier.name: tier for tier in probe()}
BOXED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not TIERS[name].available, reason=f"{name}: {TIERS[name].detail}"),
    )
    for name in ("bwrap", "userns")
]
SUMS = {"inputs": ["1 2\n", "3 4\n", "10 -3\n"], "outputs": ["3\n", "7\n", "7"]}
ADD = {"inputs": [[1, 2], [[1], [2]]], "outputs": [3, [[1, 2]]], "fn_name": "add"}
MBPP = {"test_list": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add('a', 'b') == 'ab'"]}
HUMANEVAL = {
    "prompt": "import math\n\ndef poly(xs, x):\n    return 2 * x - 4\n\ndef root(xs: list):\n    '''Its zero.'''\n",
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert abs(poly([], candidate([]))) < 1e-4\n",
    "entry_point": "root",
}
ADDS = "def add(a, b):\n    return a + b"


@pytest.fixture(params=BOXED)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    return Isolation(request.param)


def verdict(source: str, tests: Any, isolation: Isolation = Isolation.auto, **settings: Any) -> Verdict:
    verifier = Code(**{"timeout_s": 20.0, "total_s": 60.0, "isolation": isolation, **settings})
    return verifier.verify(f"So:\n```python\n{source}\n```", json.dumps(tests), {})


RIGHT = {
    "lines": ("print(sum(map(int, input().split())))", SUMS),
    "one read": ("import sys\na, b = sys.stdin.read().split()\nprint(float(a) + float(b))", SUMS),
    "main": (
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
        SUMS,
    ),
    "a thread for its stack": (
        "import sys, threading\nthreading.stack_size(1 << 26)\ndef main():\n    sys.setrecursionlimit(10**6)\n"
        "    def deep(n):\n        return n and deep(n - 1)\n    deep(20_000)\n"
        "    print(sum(map(int, input().split())))\nthreading.Thread(target=main).start()",
        SUMS,
    ),
    "exit at the end": ("import sys\nprint(sum(map(int, input().split())))\nsys.exit(0)", SUMS),
    "imports nobody wrote": ("print(reduce(lambda a, b: a + b, map(int, input().split())))", SUMS),
    "a file of its own": (
        "open('x', 'w').write(input())\nprint(sum(map(int, open('x').read().split())))",
        SUMS,
    ),
    "a dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n    b: int\n"
        "p = P(*map(int, input().split()))\nprint(p.a + p.b)",
        SUMS,
    ),
    "function": (ADDS, ADD),
    "method": ("class Solution:\n    def add(self, a, b):\n        return a + b", ADD),
    "tuple for a list": ("def add(a, b):\n    return tuple(a + b) if isinstance(a, list) else a + b", ADD),
    "asserts": (ADDS, MBPP),
    "named like a builtin": (
        "def sum(a, b):\n    return 3 if a == 10 else 9",
        {"test_list": ["assert sum(10, 15) == 3"]},
    ),
    "a class for its arguments": (
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def total(pairs):\n    return sum(p.a + p.b for p in pairs)",
        {"test_list": ["assert total([Pair(1, 2), Pair(3, 4)]) == 10"]},
    ),
    "counter": (
        "from collections import Counter\ndef count(x):\n    return Counter(x)",
        {"test_list": ["assert count([1, 1, 2]) == {1: 2, 2: 1}"]},
    ),
    "set, tuple, bytes, nan, generator": (
        "def f(n):\n    return [{1}, (1, 2), b'x', float('nan'), 1j, 2**80][n]\ndef g():\n    yield from 'ab'",
        {
            "test_list": [
                "assert f(0) == {1} and f(1) == (1, 2) and f(1) != [1, 2] and f(2) == b'x'",
                "assert f(3) != f(3) and f(4) == 1j and f(5) == 2**80 and list(g()) == ['a', 'b']",
            ]
        },
    ),
    "an expected error": (
        "def f(x):\n    raise ValueError('no')",
        {"test_list": ["try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    assert False"]},
    ),
    "humaneval": ("def root(xs):\n    return 2.0", HUMANEVAL),
    "humaneval, continued": ("    return 2.0", HUMANEVAL),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str) -> None:
    found = verdict(*RIGHT[name])
    assert (found.score, found.reason) == (1.0, Reason.correct), found


def test_right_in_every_tier(isolation: Isolation) -> None:
    for source, tests in ((RIGHT["lines"]), (ADDS, ADD), (ADDS, MBPP)):
        assert verdict(source, tests, isolation).score == 1.0


CHEATS = {
    "nothing": "",
    "leave": "import sys; sys.exit(0)",
    "leave hard": "import os; os._exit(0)",
    "quit": "quit()",
    "leave when called": "import os\ndef add(*a): os._exit(0)\nroot = add",
    "system exit when called": "def add(*a): raise SystemExit(0)\nroot = add",
    "equal to all": "class X:\n    def __eq__(s, o): return True\n    __ne__ = __lt__ = __abs__ = lambda s, *o: X()\n"
    "    def __sub__(s, o): return 0\n    __rsub__ = __mul__ = __rmul__ = __sub__\n"
    "def add(*a): return X()\nroot = add",
    "int that is equal to all": "class X(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\n"
    "def add(*a): return X()\nroot = add",
    "str that is equal to all": "class X(str):\n    def __eq__(s, o): return True\n    __hash__ = str.__hash__\n"
    "def add(*a): return X('3')\nroot = add",
    "list of such": "class X:\n    def __eq__(s, o): return True\ndef add(*a): return [X()]\nroot = add",
    "patched builtins": "import builtins\nbuiltins.all = builtins.any = builtins.isinstance = lambda *a: True\n"
    "builtins.abs = lambda *a: 0\nbuiltins.AssertionError = None\ndef add(*a): return 99\nroot = add",
    "patched json": "import sys, json\njson.dumps = lambda *a, **k: '{\"passed\": true}'\n"
    "sys.modules['json'] = json\ndef add(*a): return 99\nroot = add",
    "patched harness": "import sys\nfor name, m in list(sys.modules.items()):\n    if 'rlvr' in name:\n"
    "        for n in ('tell', 'encode', 'decode', 'run'):\n"
    "            if hasattr(m, n):\n                setattr(m, n, lambda *a, **k: {'passed': True})\n"
    "def add(*a): return 99\nroot = add",
    "forged verdict": "import os\ndef add(*a):\n    os.write(3, b'{\"passed\": true}\\n' * 5)\n    return 99\nroot = add",
    "forged verdict on every descriptor": "import os\nfor n in range(64):\n    try:\n"
    '        os.write(n, b\'{"passed": true}\\n{"code": 0}\\n\')\n    except OSError: pass\n'
    "def add(*a): return 99\nroot = add",
    "forged verdict, then a crash": 'import os, ctypes\nos.write(3, b\'{"loaded": true}\\n{"passed": true}\\n\')\n'
    "ctypes.string_at(0)",
    "skip": "import unittest\ndef add(*a): raise unittest.SkipTest('skip')\nroot = add",
    "an assertion of its own": "def add(*a): raise AssertionError\nroot = add",
    "stop iteration": "def add(*a): raise StopIteration\nroot = add",
    "keyboard interrupt": "def add(*a): raise KeyboardInterrupt\nroot = add",
    "no syntax": "def add(a, b:\n    return a + b",
    "print what is expected": "print(3); print('ok'); print('passed')\ndef add(*a): return None\nroot = add",
    "print at exit": "import atexit\natexit.register(print, 3)\natexit.register(print, 7)",
    "read the tests": "import os, gc\ntext = ' '.join(map(repr, gc.get_objects()))[:10**6] + repr(os.environ)\n"
    "for root_, _, files in os.walk('/tmp'):\n    text += repr(files)\n"
    "def add(*a): return 3 if 'assert add' in text else 99\nroot = add\n"
    "print(3 if 'assert add' in text else 99)",
    "read the caller": "import sys\ndef add(*a):\n    f = sys._getframe()\n    while f:\n"
    "        for v in f.f_locals.values():\n            if isinstance(v, dict) and 'expected' in v: return v['expected']\n"
    "        f = f.f_back\n    return 99\nroot = add",
    "helpers of the prompt": "def poly(*a): return 0\ndef add(*a): return 3.0\nroot = add",
    "always true": "def add(*a): return object()\nroot = add",
    "deep value": "def add(*a):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x\nroot = add",
    "huge value": "def add(*a): return 'x' * (5 << 20)\nroot = add",
    "endless generator": "def add(*a):\n    while True: yield 1\nroot = add",
    "output and failure": "print(3)\nraise ValueError",
    "output and exit code": "print(sum(map(int, input().split())))\nimport sys; sys.exit(1)",
    "output and crash": "print(sum(map(int, input().split())), flush=True)\nimport ctypes; ctypes.string_at(0)",
}
SLOW = {"patched harness": 1.0, "endless generator": 3.0}
"""Seconds for those that never answer."""
TESTS = {"output": SUMS, "function": ADD, "asserts": MBPP, "humaneval": HUMANEVAL}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_earn_nothing(name: str, isolation: Isolation) -> None:
    for kind, tests in TESTS.items():
        found = verdict(CHEATS[name], tests, isolation, timeout_s=SLOW.get(name, 8.0), memory_mb=256)
        assert found.score == 0.0 and found.reason in (Reason.wrong, Reason.no_answer), (kind, found)


def test_a_builtin_of_its_own_does_not_reach_the_test() -> None:
    tests = {"test_list": ["assert all(f(n) == n for n in range(3))"]}
    assert verdict("def f(n): return n", tests).score == 1.0
    assert verdict("def f(n): return 0\ndef all(x): return True", tests).score == 0.0


def test_arguments_are_copies() -> None:
    tests = {"test_list": ["x = [3, 1]\nassert f(x) == [1, 3]\nassert x == [3, 1]"]}
    assert verdict("def f(x):\n    x.sort()\n    return x", tests).score == 1.0


def test_hanging_and_slow_programs_are_wrong_and_not_unscored() -> None:
    started = time.monotonic()
    found = verdict("while True: pass", SUMS, timeout_s=0.5, total_s=3.0)
    assert (found.score, found.reason) == (0.0, Reason.wrong) and "in time" in found.detail
    found = verdict("def add(a, b):\n    while True: pass", MBPP, timeout_s=0.5, total_s=3.0)
    assert (found.score, found.reason) == (0.0, Reason.wrong) and "in time" in found.detail
    assert time.monotonic() - started < 20


def test_fraction() -> None:
    tests = {"inputs": [str(n) for n in range(10)], "outputs": [str(min(n, 6)) for n in range(10)]}
    assert verdict("print(input())", tests, scoring=Scoring.fraction).score == 0.7
    assert verdict("print(input())", tests).score == 0.0
    assert verdict("print(input(", tests, scoring=Scoring.fraction).score == 0.0
    half = verdict("def add(a, b): return a + b if isinstance(a, int) else 0", MBPP, scoring=Scoring.fraction)
    assert half.score == pytest.approx(2 / 3)


def test_a_test_that_hangs_fails_alone() -> None:
    source = "n = int(input())\nwhile n == 1: pass\nprint(n)"
    tests = {"inputs": ["0", "1", "2", "3"], "outputs": ["0", "1", "2", "3"]}
    found = verdict(source, tests, scoring=Scoring.fraction, timeout_s=1.0, total_s=20.0)
    assert found.score == 0.75 and found.detail.startswith("test 2 of 4: no answer in time")


def test_fraction_is_0_when_the_total_time_is_up() -> None:
    source = "n = int(input())\nprint(n, flush=True)\nwhile n: pass"
    tests = {"inputs": ["0", "1", "1", "1"], "outputs": ["0", "1", "1", "1"]}
    found = verdict(source, tests, scoring=Scoring.fraction, timeout_s=1.0, total_s=1.5)
    assert found.score == 0.0 and "total_s" in found.detail


def test_memory_is_the_option() -> None:
    source = "x = bytearray(300 << 20)\nprint(sum(map(int, input().split())))"
    assert verdict(source, SUMS, memory_mb=200, max_tests=1).score == 0.0
    assert verdict(source, SUMS, memory_mb=600, max_tests=1).score == 1.0


def test_max_tests() -> None:
    assert spaced(list(range(10)), 4) == [0, 3, 6, 9]
    assert spaced(list(range(10)), 1) == [9] and spaced([1, 2], 3) == [1, 2]
    assert verdict("print(3)", SUMS, max_tests=2).detail.startswith("test 2 of 2")


@pytest.mark.parametrize(
    "said, meant, same",
    [
        ("1\n2\n", "1\n2", True),
        ("  1 \n2  ", "1\n2", True),
        ("1.0 2", "1 2.00", True),
        ("1e3", "1000", True),
        ("1\n\n2", "1\n2", False),
        ("1 2", "1  2", True),
        ("a  b", "a b", False),
        ("YES", "yes", False),
        ("0.1", "0.10000001", False),
        ("1", "1 1", False),
        ("nan", "nan", True),
        ("nan 1", "nan 1.0", False),
        ("sNaN", "1", False),
        ("", "", True),
        ("", "1", False),
        ("1e999999999", "1e999999998", False),
    ],
)
def test_output_comparison(said: str, meant: str, same: bool) -> None:
    assert same_output(said, meant) is same


def test_extraction() -> None:
    def found(text: str, thinking: bool = False) -> str:
        return program(text, thinking, 100)

    assert found("```python\na\n```\nthen\n```python\nb\n```") == "b"
    assert found("```python\na\n```\nthen\n```\noutput\n```") == "a"
    assert found("```\na\n```") == "a"
    assert found("<think>```python\nx\n```</think>```python3\na\n\n b\n```") == "a\n\n b"
    for text, reason in (
        ("none", Reason.no_answer),
        ("```python\na", Reason.malformed),
        ("```python\na\n```\n```python\nb", Reason.malformed),
        ("```cpp\nint a;\n```", Reason.no_answer),
        ("```python\n\n```", Reason.no_answer),
        ("<think>```python\na\n```", Reason.no_answer),
        ("```python\n" + "a" * 101 + "\n```", Reason.refused),
    ):
        with pytest.raises(Rejected) as error:
            found(text)
        assert error.value.verdict.reason is reason
    with pytest.raises(Rejected):
        found("```python\na\n```", thinking=True)


def packed(text: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/rlvr_unpickled",))


def test_livecodebench() -> None:
    cases = [{"input": "1\n[2]", "output": "[1, 2]", "testtype": "functional"}]
    extra = {"metadata": json.dumps({"func_name": "add"}), "public_test_cases": json.dumps(cases)}
    private = packed(json.dumps([*cases, {"input": "3\n[]", "output": "[3]", "testtype": "functional"}]))
    tests = parse(private, extra)
    assert tests.cases == [
        Call(name="add", arguments=[1, [2]], values=[[1, 2]]),
        Call(name="add", arguments=[3, []], values=[[3]]),
    ]
    stdin = parse(
        packed(json.dumps([{"input": "1", "output": "2", "testtype": "stdin"}])), {"metadata": "{}"}
    )
    assert stdin.cases == [Script(stdin=b"1", stdout="2")]
    with pytest.raises(Malformed, match=r"hold no text but .*REDUCE"):
        parse(packed(Evil()), {})
    assert not os.path.exists("/tmp/rlvr_unpickled")
    with pytest.raises(Malformed, match="hold no text"):
        parse(packed([1]), {})


@pytest.mark.parametrize(
    "answer, fault",
    [
        ("42", "neither JSON nor packed"),
        ("{", "not valid JSON"),
        ('{"a": 1}', "none of inputs"),
        ('{"inputs": [], "outputs": []}', "no tests"),
        ('{"inputs": ["1"], "outputs": []}', "one length"),
        ('{"inputs": [1], "outputs": [1], "fn_name": "f"}', "list of arguments"),
        ("[1, 2]", "list of tests"),
        ('{"test_list": [1]}', "hold text"),
        ('{"test": 1}', "must be text"),
        ('{"test_list": []}', "no tests"),
    ],
)
def test_answers_without_tests(answer: str, fault: str) -> None:
    assert fault in (Code().check_gold(answer, {}) or "")


def test_a_test_that_cannot_be_run_is_no_verdict() -> None:
    with pytest.raises(Unjudgeable, match="function"):
        verdict(ADDS, {"test_list": ["assert add(lambda: 1, 2) == 3"]})
    with pytest.raises(Unjudgeable, match="SyntaxError"):
        verdict(ADDS, {"test_list": ["assert add("]})


def test_settings() -> None:
    for bad in ({"timeout_s": 0.0}, {"total_s": -1.0}, {"memory_mb": 1}, {"max_tests": 0}, {"max_chars": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Code(**bad)
    assert Code(total_s=4.0).needs_s <= Verification().timeout_s  # the defaults fit each other


def test_self_test_material() -> None:
    verifier, answer = Code(), json.dumps(SUMS)
    assert verifier.gold_responses(answer, {}) == []
    gold = verifier.gold_responses(answer, {"solution": "print(sum(map(int, input().split())))"})
    assert [verifier.verify(text, answer, {}).score for text in gold] == [1.0]
    assert {verifier.verify(text, answer, {}).score for text in verifier.mutate(answer, {})} == {0.0}


def test_no_silent_downgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither bwrap nor namespaces work, `auto` is an error that says what is missing."""
    monkeypatch.setattr(
        tiers, "attempt", lambda name: Tier(name=name, available=name == "rlimit", detail=f"no {name} here")
    )
    with pytest.raises(UserError, match=r"bwrap: no bwrap here; userns: no userns here.*isolation: rlimit"):
        Pool({"code": Code()}, Verification(workers=1))
    assert tiers.choose(Isolation.rlimit) == "rlimit"
    with pytest.raises(UserError, match="isolation: bwrap does not work"):
        tiers.choose(Isolation.bwrap)


def test_in_the_pool() -> None:
    """Verdicts come from workers; a response without a program costs none; workers leave nothing."""
    settings = Verification(workers=2, timeout_s=30.0)
    with Pool({"code": Code(timeout_s=10.0, total_s=20.0)}, settings) as pool:
        answer = json.dumps(SUMS)
        right, wrong = "print(sum(map(int, input().split())))", "print(3)"
        futures = [
            pool.submit("code", f"```python\n{source}\n```", answer, {}) for source in (right, wrong, right)
        ]
        assert [future.result(120).score for future in futures] == [1.0, 0.0, 1.0]
        assert pool.submit("code", "no idea", answer, {}).result(1).reason is Reason.no_answer
