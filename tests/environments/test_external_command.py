"""Programs that are commands: what they get, how they end, what they have earned, and that nothing stays."""

from __future__ import annotations

import asyncio
import copy
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from gateway_play import TASK, turn

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Opening, Step
from rlvr_cli.environments.external import External
from rlvr_cli.environments.gateway.score import Failed, Score
from rlvr_cli.environments.tool_calls import Syntax

pytestmark = pytest.mark.slow
ASK = """
import json, os, sys, urllib.request
def ask(body, path="/chat/completions"):
    head = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
    url = os.environ["OPENAI_BASE_URL"] + path
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    return json.load(urllib.request.urlopen(request))
def said(text):
    body = {"model": os.environ["OPENAI_MODEL"], "messages": [{"role": "user", "content": text}]}
    return ask(body)["choices"][0]["message"]["content"]
"""


def command(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", ASK + program]


async def _played(made: External, turns: list[str]) -> tuple[Opening, list[Step]]:
    made.warm()
    episode = copy.copy(made)
    try:
        opening = await asyncio.wait_for(episode.reset(TASK), 20)
        return opening, [await asyncio.wait_for(episode.step(turn(each)), 20) for each in turns]
    finally:
        await episode.close()
        if made._gateway._runner is not None:
            await made._gateway._runner.cleanup()


def played(program: str, *turns: str, **settings: Any) -> tuple[Opening, list[Step]]:
    made = External(**({"command": command(program), "syntax": Syntax.hermes, "grace_s": 1.0} | settings))
    return asyncio.run(_played(made, list(turns)))


def asked(opening: Opening) -> str:
    return str(opening.messages[0]["content"])


def test_the_problem_is_on_its_input_and_in_its_folder() -> None:
    program = """
problem = json.load(sys.stdin)
assert problem == json.load(open("problem.json"))
seen = [problem["prompt"], problem["answer"], problem["row"]]
said(json.dumps([*seen, os.getcwd(), os.environ["OPENAI_MODEL"]]))
"""
    opening, [step] = played(program, "5")
    assert asked(opening).startswith('[[{"role": "user", "content": "Q"}], "5", {"level": 2}')
    folder = asked(opening).split('"')[-4]
    assert Path(folder).name.startswith("rlvr-episode-")
    assert not Path(folder).exists()  # it is gone with the episode
    assert (step.done, step.reward) == (True, None)


@pytest.mark.parametrize(
    ("left", "reward", "measures"),
    [
        ('open("reward.txt", "w").write("0.25\\n")', 0.25, {}),
        ('open("reward.json", "w").write("1")', 1.0, {}),
        ('open("reward.json", "w").write(\'{"reward": 0.5, "tests": 3, "log": ""}\')', 0.5, {"tests": 3}),
    ],
)  # fmt: skip
def test_a_reward_in_a_file(left: str, reward: float, measures: dict[str, float]) -> None:
    _, [step] = played(f"said('x'); {left}", "5", score=Score.file)
    assert step.reward == reward
    assert {key: step.measures.get(key) for key in measures} == measures


@pytest.mark.parametrize(
    ("left", "complaint"),
    [
        ("pass", "the program has left no reward.json or reward.txt"),
        ('open("reward.txt", "w").write("good")', "reward.txt cannot be read"),
        ('open("reward.json", "w").write("[1]")', r"reward.json holds '\[1\]', which is no finite number"),
        ('open("reward.json", "w").write("NaN")', "no finite number"),
        ('open("reward.json", "w").write("{}")', "an object without reward or score"),
    ],
)
def test_a_file_that_holds_no_reward(left: str, complaint: str) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        played(f"said('x'); {left}", "5", score=Score.file)


def test_a_reward_that_is_posted() -> None:
    _, [step] = played("said('x'); ask({'reward': 0.75}, '/set_reward')", "5", score=Score.posted)
    assert step.reward == 0.75
    _, [step] = played("said('x')", "5", score=Score.posted)
    assert step.reward == 0.0


def test_a_reward_that_nobody_takes() -> None:
    program = """
try: ask({"reward": 1}, "/set_reward")
except urllib.error.HTTPError as error: said(error.read().decode())
"""
    opening, _ = played(program, "5")
    assert "set score: posted" in asked(opening)


@pytest.mark.parametrize(
    ("end", "complaint"),
    [
        ("sys.exit(3)", "the program ended with exit code 3"),
        ("os.kill(os.getpid(), 9)", "the program was killed by SIGKILL"),
        ("raise KeyError(1)", "the program ended with exit code 1"),
    ],
)
def test_a_program_that_fails(end: str, complaint: str) -> None:
    with pytest.raises(RuntimeError, match=complaint):
        played(f"said('x'); {end}", "5")
    _, [step] = played(f"said('x'); {end}", "5", failed=Failed.zero, score=Score.posted)
    assert (step.done, step.reward) == (True, 0.0)


def test_a_program_that_dies_before_it_asks() -> None:
    with pytest.raises(RuntimeError, match="exit code 4, without a request that could be served"):
        played("sys.exit(4)")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no program nowhere-9"):
        External(command="nowhere-9 --fast").ready()
    late = tmp_path / "agent"
    late.write_text("not a program")
    late.chmod(0o755)
    with pytest.raises(RuntimeError, match="does not start: Exec format error"):
        asyncio.run(_played(External(command=[str(late)]), []))


def children(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while children(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not children(pid)


SLEEPER = "import subprocess; p = subprocess.Popen(['sleep', '60']); said(f'{os.getpid()} {p.pid}')"


@pytest.mark.parametrize("stubborn", [False, True])
def test_nothing_of_it_outlives_its_episode(stubborn: bool) -> None:
    """One that ignores SIGTERM neither."""
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); " if stubborn else ""
    opening, _ = played(f"{deaf}{SLEEPER}; import time; time.sleep(60)")
    assert all(gone(int(pid)) for pid in asked(opening).split())


def test_what_a_program_leaves_running_ends_with_it() -> None:
    opening, [step] = played(SLEEPER, "5")
    assert step.done
    assert all(gone(int(pid)) for pid in asked(opening).split())


def test_it_hears_the_signals_that_its_worker_does_not() -> None:
    """Workers ignore SIGTERM, which programs would inherit."""
    import signal

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        opening, _ = played("import signal; said(str(signal.getsignal(15) == signal.SIG_DFL))")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked(opening) == "True"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "set one of the two"),
        ({"command": "a", "function": "a.py:f"}, "set one of the two"),
        ({"command": []}, "command must be a text, or a list of texts"),
        ({"command": ["a", 5]}, "command must be a text, or a list of texts"),
        ({"function": "a.py"}, "does not say which"),
        ({"function": "a.py:f", "score": Score.file}, "score: file belongs to command"),
        ({"command": "a", "score": Score.returned}, "score: returned belongs to function"),
        ({"command": "a", "failed": Failed.zero}, "failed: zero has no use with score: verifier"),
        ({"command": "a", "grace_s": 700.0}, "grace_s is 700.0"),
        ({"command": "a", "syntax": Syntax.tags}, "syntax: tags"),
        ({"command": "a", "max_turns": 0}, "max_turns is 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        External(**settings)


def test_a_command_as_one_text() -> None:
    assert External(command="python agent.py --name 'a b'").command == ["python", "agent.py", "--name", "a b"]


def test_a_function_that_cannot_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "agent.py"
    for text, complaint in (("", "agent.py has no 'f'"), ("f = 1", "cannot be called"), ("(", "SyntaxError")):
        file.write_text(text)
        with pytest.raises(UserError, match=complaint):
            External(function=f"{file}:f").warm()
    with pytest.raises(UserError, match="No such file"):
        External(function=f"{tmp_path}/none.py:f").warm()


def test_the_syntax_of_the_template() -> None:
    made = External(command="python agent.py")
    made.choose_syntax("{{ '<tool_call>' }} \"arguments\"")
    assert made.syntax is Syntax.hermes
    plain = External(command="python agent.py")
    plain.choose_syntax(None)
    assert plain.syntax is Syntax.auto
    plain.ready()
    assert os.path.basename(plain.command[0]) == "python"
