"""The Python interpreter as a tool: state within an episode, isolation between episodes, limits."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Iterator

import pytest
from tool_turns import TASK, call, played, turn

from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.tool_use.python_tool import Boxes, Interpreter, PythonTool
from rlvr_cli.environments.tool_use.results import Side
from rlvr_cli.environments.tools import Tools
from rlvr_cli.verifiers.sandbox import probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(tier.available for tier in probe() if tier.name != "rlimit"),
        reason="no box can be built here",
    ),
]
SETTINGS = PythonTool(timeout_s=1.0, memory_mb=256, numpy=False)
GONE = "; the next call begins without the variables of earlier ones"


@pytest.fixture(scope="module")
def boxes() -> Iterator[Boxes]:
    made = Boxes(SETTINGS)
    yield made
    made.stop()


@pytest.fixture
def interpreter(boxes: Boxes) -> Iterator[Interpreter]:
    made = Interpreter(SETTINGS, boxes, 300, Side.middle)
    yield made
    made.close()


def said(interpreter: Interpreter, code: str) -> str:
    return interpreter.call(code).text


def test_what_a_call_says(interpreter: Interpreter) -> None:
    assert said(interpreter, "x = 3") == "(no output)"
    assert said(interpreter, "print('x is', x)\nx * 2") == "x is 3\n6"
    assert said(interpreter, "'a'") == "'a'"
    assert said(interpreter, "import sys; print('e', file=sys.stderr)") == "e"
    assert said(interpreter, "input()") == "EOFError: EOF when reading a line (line 1)"
    assert said(interpreter, "exit(3)") == "SystemExit: 3 (line 1)"
    assert said(
        interpreter, "x = ("
    ) == "SyntaxError: '(' was never closed (<python>, line 1) (line 1)".replace(" (<python>, line 1)", "")
    outcome = interpreter.call("def f():\n    print('in f')\n    return 1 / 0\nf()")
    assert (outcome.text, outcome.failed) == ("in f\nZeroDivisionError: division by zero (line 3)", True)
    assert said(interpreter, "f.__name__") == "'f'"  # what came before the error is there


def test_long_output_keeps_its_error(interpreter: Interpreter) -> None:
    text = said(interpreter, "for n in range(10_000): print(n)\n1/0")
    assert text.startswith("0\n1\n2\n")
    assert "...(truncated)..." in text
    assert text.endswith("9998\n9999\nZeroDivisionError: division by zero (line 2)")
    assert len(text) <= 300


def test_episodes_do_not_see_each_other() -> None:
    made = Tools(python=SETTINGS, syntax=Syntax.hermes)
    made.warm()

    async def both() -> list[str]:
        first, second = copy.copy(made), copy.copy(made)
        await first.reset(TASK)
        await second.reset(TASK)
        texts = []
        for episode, code in ((first, "x = 1; open('/tmp/f', 'w').close()"), (second, "x"), (first, "x"),
                              (second, "import os; os.listdir('/tmp')")):  # fmt: skip
            texts.append((await episode.step(turn(call("python", code=code)))).messages[0]["content"])
        await first.close()
        await second.close()
        return texts

    assert asyncio.run(both()) == ["(no output)", "NameError: name 'x' is not defined (line 1)", "1", "[]"]
    [step] = played(made, call("python", code="x"))  # in the box that the first one has left
    assert step.messages[0]["content"] == "NameError: name 'x' is not defined (line 1)"
    steps = played(made, "".join(call("python", code=code) for code in ("x = 0", "x += 1", "x += 1", "x")))
    assert steps[0].messages[-1]["content"] == "2"  # calls of a turn are in order
    assert steps[0].measures["tool/python/calls"] == 4.0


def test_an_endless_loop_is_ended(interpreter: Interpreter) -> None:
    said(interpreter, "x = 1")
    started = time.monotonic()
    assert said(interpreter, "while True: pass") == f"Error: TimeoutError: stopped after 1 s{GONE}"
    assert time.monotonic() - started < 5
    assert said(interpreter, "x") == "NameError: name 'x' is not defined (line 1)"


def test_memory_is_limited(interpreter: Interpreter) -> None:
    assert said(interpreter, "[0] * 10**9") == "MemoryError (line 1)"
    assert said(interpreter, "1 + 1") == "2"


def test_a_fork_bomb_does_not_go_off(interpreter: Interpreter) -> None:
    text = said(interpreter, "import os\nwhile True: os.fork()")
    assert text == "BlockingIOError: [Errno 11] Resource temporarily unavailable (line 2)"
    assert said(interpreter, "1 + 1") == "2"


def test_children_do_not_answer(interpreter: Interpreter) -> None:
    """A fork continues the whole program: it, too, would wait for the next call and answer it."""
    assert said(interpreter, "import os\nx = os.fork() and os.fork()\nx == 0") == "False"
    assert {said(interpreter, "x == 0") for _ in range(9)} == {"False"}


def test_there_is_no_network_and_no_file_of_ours(interpreter: Interpreter) -> None:
    refused = "PermissionError: [Errno 1] Operation not permitted (line 1)"
    assert said(interpreter, "import socket; socket.socket()") == refused
    assert said(interpreter, f"open({__file__!r})").startswith(("FileNotFoundError", "PermissionError"))


def test_one_that_dies_says_so(interpreter: Interpreter) -> None:
    text = said(interpreter, "import os; os._exit(3)")
    assert text == f"Error: the interpreter ended (code 3){GONE}"
    assert said(interpreter, "1") == "1"
    said(interpreter, "import os, threading\nthreading.Timer(0.1, os._exit, [3]).start()")
    time.sleep(0.5)
    assert said(interpreter, "1 + 1") == (
        "(the interpreter had ended; this is a new one, without earlier variables)\n2"
    )


def test_a_forged_answer_is_not_taken_for_one(interpreter: Interpreter) -> None:
    forged = 'import os; os.write(3, b\'{"value": {"list": [99, "forged", ""]}}\\n\' * 3)'
    said(interpreter, forged)
    assert [said(interpreter, str(n)) for n in range(3)] == ["0", "1", "2"]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match=r"python.timeout_s is 0; it must be above 0"):
        PythonTool(timeout_s=0)
    with pytest.raises(ValueError, match=r"python.memory_mb is 1; Python itself needs 64"):
        PythonTool(memory_mb=1)
    with pytest.raises(ValueError, match=r"python.timeout_s is 60.0; it must be below step_s \(60.0\)"):
        Tools(python=PythonTool(timeout_s=60.0))
