# ruff: noqa: E501 (programs are quoted as one line)
"""Forms of tests and programs, as data sets and models have them: right ones are right, and wrong ones wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.code import Code, program
from rlvr_cli.verifiers.code_judge import Unjudgeable
from rlvr_cli.verifiers.code_tests import Malformed, closed, parse
from rlvr_cli.verifiers.extract import Rejected
from rlvr_cli.verifiers.sandbox import probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(tier.available for tier in probe()[:2]),
        reason=f"no box here: {[t.detail for t in probe()[:2]]}",
    ),
]


def verdict(source: str, tests: Any, **settings: Any) -> Verdict:
    verifier = Code(**{"timeout_s": 20.0, "total_s": 60.0, **settings})
    answer = tests if isinstance(tests, str) else json.dumps(tests)
    return verifier.verify(f"```python\n{source}\n```", answer, {})


TWO_SUM = "class Solution:\n    def twoSum(self, nums, target):\n        return next([i, j] for j in range(len(nums)) for i in range(j) if nums[i] + nums[j] == target)"
LEETCODE = {
    "prompt": "import math\nfrom typing import *\n\n",
    "test": "def check(candidate):\n    assert candidate(nums = [3, 3], target = 6) == [0, 1]\n    assert candidate(nums = [2, 7, 11], target = 9) == [0, 1]\n",
    "entry_point": "Solution().twoSum",
}
NODES = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
def made(values):
    node = None
    for value in reversed(values):
        node = ListNode(value, node)
    return node
def same(a, b):
    while a and b and a.val == b.val:
        a, b = a.next, b.next
    return not a and not b
"""
REVERSED = {
    "prompt": NODES,
    "test": "def check(candidate):\n    assert same(candidate(head = made([1, 2, 3])), made([3, 2, 1]))\n    assert same(candidate(head = made(range(600))), made(range(599, -1, -1)))",
    "entry_point": "Solution().reverse",
}
REVERSE = "class Solution:\n    def reverse(self, head):\n        last = None\n        while head:\n            head.next, last, head = last, head, head.next\n        return last"
STACK = "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n        self.items.append(x)\n    def pop(self):\n        return self.items.pop()\n    def is_empty(self):\n        return not self.items\n    def __len__(self):\n        return len(self.items)\n    def __getitem__(self, n):\n        return self.items[n]\n    def __str__(self):\n        return f'Stack{self.items}'"
STACK_TEST = "s = Stack()\ns.push(1)\ns.push(2)\nassert len(s) == 2 and s[1] == 2 and str(s) == 'Stack[1, 2]' and list(s) == [1, 2]\nassert s.pop() == 2 and not s.is_empty() and s.items == [1]"
HEAD = {
    "prompt": "import math\n\ndef root(xs: list):\n",
    "test": "def check(candidate):\n    assert candidate([]) == 2",
    "entry_point": "root",
}
METHOD_HEAD = HEAD | {
    "prompt": "class Solution:\n    def root(self, xs: List[int]) -> int:\n",
    "entry_point": "Solution().root",
}
KEYS = {"inputs": [[{"1": 5}]], "outputs": [{"5": 1}], "fn_name": "f"}
RIGHT: dict[str, tuple[str, Any]] = {
    "a method as the entry": (TWO_SUM, LEETCODE),
    "a method in an assert": (TWO_SUM, ["assert Solution().twoSum([3, 3], 6) == [0, 1]"]),
    "a method of an object": (TWO_SUM, ["s = Solution()\nassert s.twoSum(nums=[3, 3], target=6) == [0, 1]"]),
    "objects of the prompt's class": (REVERSE, REVERSED),
    "objects of its own class of that name": (NODES + REVERSE, REVERSED),
    "a class": (STACK, [STACK_TEST]),
    "a class that derives from list": ("class Stack(list):\n    push = list.append", ["s = Stack()\ns.push(1)\nassert s.pop() == 1"]),
    "a class, asked for": ("class A: pass\nclass B(A): pass\ndef f():\n    return B()", ["assert isinstance(f(), A) and isinstance(B(), A) and not isinstance(A(), B) and not isinstance(1, A)"]),
    "an attribute that is set": ("class P:\n    x = 0\n    def double(self):\n        return 2 * self.x", ["p = P()\np.x = 4\nassert p.double() == 8"]),
    "a namedtuple": ("from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef f():\n    return P(1, 2)", ["assert f() == (1, 2)"]),
    "members of an enumeration": ("import enum\nclass C(enum.Enum):\n    RED = 1\ndef f():\n    return C.RED", ["assert f().name == 'RED' and C.RED.value == 1"]),
    "a prompt without a docstring, all": ("def root(xs):\n    return 2", HEAD),
    "a prompt without a docstring, continued": ("    return 2", HEAD),
    "all, indented": ("    def root(xs):\n        return 2", HEAD),
    "a method's head, all": ("class Solution:\n    def root(self, xs):\n        return 2", METHOD_HEAD),
    "a method's head, continued": ("        return 2", METHOD_HEAD),
    "a prompt in words": ("def root(xs):\n    return 2", HEAD | {"prompt": "Write a function root."}),
    "its global names": ("X = 5\nNAME = 'a'\nresult = [1, 2]\nnothing = None", ["assert X == 5 and NAME == 'a' and len(result) == 2 and nothing is None"]),
    "a global name that a call changes": ("made = 0\ndef more():\n    global made\n    made += 1", ["more(); more()\nassert made == 2"]),
    "its imports": ("import math as m\ndef f(x):\n    return x * 2.0", ["assert m.isclose(f(1), 2.0)"]),
    "imports of nobody": ("def f(x):\n    return x * 2.0", ["assert math.isclose(f(1), 2.0) and isclose(f(1), 2)"]),
    "numpy": ("import numpy as np\ndef f(x):\n    return np.array([x, x]) * 2", ["import numpy as np\nassert np.allclose(f(1), [2.0, 2]) and (f(1) == np.full(2, 2)).all()"]),
    "a number of numpy's": ("import numpy as np\ndef f(x):\n    return np.int64(x) * 2", ["assert f(1) == 2"]),
    "an array as an argument": ("def f(x):\n    return float(x.sum())", ["import numpy as np\nassert f(np.ones(3)) == 3.0"]),
    "numpy, at random": ("import numpy as np\nprint(np.random.rand())", {"inputs": ["", ""], "outputs": ["0.5488135039273248"] * 2}),
    "keys that are numbers": ("def f(d):\n    return {v: k for k, v in d.items() if isinstance(k, int)}", KEYS),
    "a long number, read": ("print(int(input()) + 1)", {"inputs": ["9" * 5000], "outputs": ["1" + "0" * 5000]}),
    "a long number, returned": ("def f(n):\n    return 10 ** n", '{"inputs": [[6000]], "outputs": [1' + "0" * 6000 + '], "fn_name": "f"}'),
    "quit": ("print(3)\nquit()", {"inputs": [""], "outputs": ["3"]}),
    "exit": ("def main():\n    print(3)\n    exit(0)\nmain()", {"inputs": [""], "outputs": ["3"]}),
    "output at exit": ("import atexit\natexit.register(print, 3)", {"inputs": [""], "outputs": ["3"]}),
    "an executor left open": ("from concurrent.futures import ThreadPoolExecutor\nprint(ThreadPoolExecutor(2).submit(int, '3').result())", {"inputs": [""], "outputs": ["3"]}),
    "named like the library's": ("def lcm(a, b):\n    return 12", ["assert lcm(4, 6) == 12"]),
    "named so, inside a helper of the library's": ("def mean(x):\n    return sum(x) / len(x)", ["assert isclose(mean([1, 2]), 1.5)"]),
    "named so, with a variable": ("def add(x):\n    return sum(x)", ["x = [1, 2]\nassert add(x) == 3"]),
    "an exception of its own": ("class E(ValueError): pass\ndef f(x):\n    raise E('no')", ["try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    assert False"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str) -> None:
    found = verdict(*RIGHT[name])
    assert (found.score, found.reason) == (1.0, Reason.correct), found


WRONG: dict[str, tuple[str, Any]] = {
    "another order": (TWO_SUM.replace("[i, j]", "[j, i]"), LEETCODE),
    "no class": ("def twoSum(nums, target):\n    return [0, 1]", LEETCODE),
    "a list that is not turned": (REVERSE.replace("return last", "return None"), REVERSED),
    "nodes that equal everything": ("class ListNode:\n    def __init__(self, *a): pass\n    __eq__ = __bool__ = lambda *a: True\nclass Solution:\n    def reverse(self, head):\n        return ListNode()", REVERSED),
    "a value's method on an object of its own": ("class X:\n    def startswith(self, x): return True\ndef f(x):\n    return X()", ["assert f('a').startswith('a')"]),
    "the function is a class": ("class f:\n    def __init__(self, x): pass\n    def startswith(self, x): return True", ["assert f('a').startswith('a')"]),
    "a class with all of it": ("class X:\n    def __getattr__(self, n): return lambda *a: True\n    __eq__ = __lt__ = __contains__ = lambda *a: True\n    __sub__ = __abs__ = lambda *a: 0\nF = f = lambda *a: X()", ["assert f(1) == 2", "assert 3 in f(1)", "assert abs(f(1) - 2) < 1", "assert f(1).is_integer()", "assert f(1)"]),
    "another value": ("X = 6", ["assert X == 5"]),
    "its own numpy": ("class np:\n    allclose = lambda *a: True\ndef f(x):\n    return 0", ["assert np.allclose(f(1), 2.0)"]),
    "a module that is none": ("import types\nmath2 = types.ModuleType('math2')\nmath2.isclose = lambda *a: True\ndef f(x):\n    return 0", ["assert math2.isclose(f(1), 2.0)"]),
    "its own isclose": ("isclose = lambda *a: True\ndef add(a, b):\n    return 0", ["assert isclose(add(1, 2), 31337)"]),
    "its own Counter": ("class Counter(dict):\n    def __eq__(self, o): return True\ndef f(a):\n    return []", ["assert Counter(f('a')) == Counter('a')"]),
    "the end of a map": ("def add(a, b):\n    raise StopIteration", ["assert all(map(lambda c: add(*c[0]) == c[1], [((1, 2), 3)]))", "for said, meant in zip(map(add, [1], [2]), [3]):\n    assert said == meant", "assert not any(map(add, [1], [2]))"]),
    "keys of both kinds": ("def f(d):\n    return {5: 1, '5': 1}", KEYS),
    "an exit that says no": ("print(3)\nexit(1)", {"inputs": [""], "outputs": ["3"]}),
    "what it imports is not there": ("import pandas\ndef f(x):\n    return x", ["assert f(1) == 1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str) -> None:
    source, tests = WRONG[name]
    for each in [[test] for test in tests] if isinstance(tests, list) else [tests]:
        found = verdict(source, each)
        assert (found.score, found.reason) == (0.0, Reason.wrong), (each, found)


LACKS = {
    "a package": ("import pandas\nassert f(0) == 0", "No module named 'pandas'"),
    "a package, late": ("assert f(0) == 0\nimport pandas", "No module named 'pandas'"),
    "a file": ("table = open('data.csv').read()\nassert f(0) == 0", "data.csv"),
    "a socket": ("import socket\nsocket.socket()\nassert f(0) == 0", "not permitted"),
    "an argument that cannot be sent": ("assert f(lambda: 1) == 0", "of type function"),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_test_lacks_is_no_verdict(name: str) -> None:
    test, says = LACKS[name]
    with pytest.raises(Unjudgeable, match=says):
        verdict("def f(x):\n    return x", [test])
    check = "def check(candidate):\n    " + test.replace("f(", "candidate(").replace("\n", "\n    ")
    with pytest.raises(Unjudgeable, match=says):
        verdict("def f(x):\n    return x", {"test": check, "entry_point": "f"})


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("def f(x):\n    return 'no_such_module'", "import importlib\nassert importlib.import_module(f(1))"),
        ("def f(x):\n    return '/no/such/file'", "assert open(f(1))"),
        ("def f(x):\n    raise ImportError('No module named pandas', name='pandas')", "assert f(1) == 1"),
        ("def f(x):\n    raise PermissionError(1, 'no')", "assert f(1) == 1"),
        (
            "import os\nos.write(3, b'{\"unsupported\": 1}\\n' * 9)\ndef f(x):\n    return 0",
            "assert f(1) == 1",
        ),
        (
            r"""import os
os.write(3, b'{"loaded": true}\n{"module": "pandas"}\n' * 9)""",
            "assert f == 1",
        ),
        (
            r"""import os
os.write(3, b'{"loaded": true}\n{"module": "msvcrt"}\n' * 9)""",
            "assert f == 1",
        ),
        (
            r"""import os
os.write(3, b'{"loaded": true}\n{"module": "numpy"}\n' * 9)""",
            "assert f.zeros == 1",
        ),
        (
            r"""import os
os.write(3, b'{"loaded": true}\n{"module": "antigravity"}\n' * 9)""",
            "assert f == 1",
        ),
    ],
)
def test_no_program_chooses_to_have_no_verdict(source: str, test: str) -> None:
    found = verdict(source, [test])
    assert (found.score, found.reason) == (0.0, Reason.wrong), found


def test_without_numpy_tests_have_a_few_names_of_it() -> None:
    test = "import numpy as np\nassert np.isnan(f(1))" , "import numpy as np\nassert f(np.nan) != 1 and np.allclose(f([np.inf, np.nan]), [np.inf, np.nan], equal_nan=True)"  # fmt: skip
    assert verdict("def f(x):\n    return x", [test[1]], numpy=False).score == 1.0
    with pytest.raises(Unjudgeable, match=r"numpy\.isnan is not there"):
        verdict("def f(x):\n    return x", [test[0]], numpy=False)
    own = verdict("import numpy\ndef f(x):\n    return x", ["assert f(1) == 1"], numpy=False)
    assert own.reason is Reason.wrong and "No module named 'numpy'" in own.detail


def test_numpy_has_memory_of_its_own() -> None:
    source = "import numpy as np\nx = np.ones({} << 17)\nprint(3)"
    for mebibytes, score in ((180, 1.0), (420, 0.0)):
        tests = {"inputs": [""], "outputs": ["3"]}
        assert verdict(source.format(mebibytes), tests, memory_mb=200).score == score


@pytest.mark.parametrize(
    "text",
    [
        *(f"```{tag}\na\n```" for tag in ("python3.11", 'python title="a.py"', "python {.x}", "{.python}", "Python", "py", "python:a.py")),
        "1. So:\n\n   ```python\n   a\n   ```\n2. Done.",
        "* So:\n\t```python\n\ta\n\t```",
        "- So:\n    ```python\na\n    ```",
        "````python\na\n````",
        "~~~python\na\n~~~",
        "```markdown\nSo:\n```python\na\n```",
        "```python\nb\n```\n```text\nc\n```\n```python\na\n```\n```output\n1\n```",
    ],
)  # fmt: skip
def test_a_fence_is_a_fence(text: str) -> None:
    assert program(text, False, 100) == "a"


@pytest.mark.parametrize("tag", ["pycon", "python-repl", "pythonic", "cpp", "ipython"])
def test_other_tags_are_other_languages(tag: str) -> None:
    with pytest.raises(Rejected, match="no block"):
        program(f"```{tag}\na\n```", False, 100)


def test_a_fence_in_a_docstring_ends_nothing() -> None:
    source = 'def f():\n    """So:\n\n    ```python\n    f()\n    ```\n    """\n    return 3'
    assert program(f"```python\n{source}\n```", False, 1000) == source
    assert program("1. ```x\n   ```\n   ```python\n   if a:\n       b\n   ```", False, 1000) == "if a:\n    b"


@pytest.mark.parametrize(
    ("prompt", "made"),
    [
        ("import math\n", "import math\n"),
        ("def f(x):\n", "def f(x):\n    pass\n"),
        ("class A:\n  def f(x):\n\n", "class A:\n  def f(x):\n      pass\n"),
        ("def f(x):\n    '''It is.'''\n", "def f(x):\n    '''It is.'''\n"),
        ("Write a function.", ""),
        ("\0", ""),
    ],
)
def test_a_prompt_becomes_a_program(prompt: str, made: str) -> None:
    assert closed(prompt) == made


@pytest.mark.parametrize("metadata", [[1], 5, "[1]", "5", '"a"'])
def test_metadata_that_is_no_object(metadata: Any) -> None:
    with pytest.raises(Malformed, match="metadata"):
        parse(json.dumps([{"input": "1", "output": "2"}]), {"metadata": metadata})
