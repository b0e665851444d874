"""Tools in a worker's process, as a run plays with them, and the page that describes them."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import psutil
import pytest
import stub_mcp
import yaml
from doc_tables import section, tables
from omegaconf import OmegaConf
from places import ROOT
from tool_turns import TASK, call, played, turn

from rlvr_cli import environments
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.shipped_recipes import CONF
from rlvr_cli.core.types import Reason
from rlvr_cli.environments.environment import Environment, Step
from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.tool_use.mcp_server import McpServer
from rlvr_cli.environments.tool_use.python_tool import PythonTool
from rlvr_cli.environments.tools import Tools
from rlvr_cli.environments.workers import Said, Workers
from rlvr_cli.verifiers.sandbox import probe

PAGE = (ROOT / "docs" / "environments" / "tools.md").read_text()
FUNCTIONS = '''
import os, time

def add(a: int, b: int) -> int:
    """Add.

    Args:
        a: One.
        b: Another.
    """
    print("adding")
    return a + b

def nap(seconds: float) -> str:
    """Wait.

    Args:
        seconds: How long.
    """
    time.sleep(seconds)
    return "awake"

def die() -> str:
    """End the process."""
    os._exit(3)
'''


def heard(workers: Workers, count: int) -> list[Said]:
    found: list[Said] = []
    until = time.monotonic() + 30
    while len(found) < count and time.monotonic() < until:
        found += workers.heard(0.5)
    return found


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    made = Tools(functions=[f"{tmp_path}/mine.py"], syntax=Syntax.hermes)
    found = Workers({"mine": made}, tmp_path / "logs")
    yield found
    found.end()


@pytest.mark.slow
def test_episodes_in_a_worker(workers: Workers, tmp_path: Path) -> None:
    episodes = [workers.open("mine", TASK) for _ in range(40)]
    assert {said.reason for said in heard(workers, 40)} == {None}
    started = time.monotonic()
    for episode in episodes:
        workers.step(episode, turn(call("nap", seconds=0.3) + call("add", a=1, b=episode)))
    found = heard(workers, 40)
    assert time.monotonic() - started < 6  # one after the other: 12 s
    for said in found:
        assert isinstance(said.value, Step)
        assert [each["content"] for each in said.value.messages] == ["awake", str(1 + said.episode)]
    assert "adding" in (tmp_path / "logs" / "environment.mine.log").read_text()
    workers.step(episodes[0], turn(call("die"), 2))
    lost = heard(workers, 1)
    assert (lost[0].reason, lost[0].detail) == (Reason.crash, "its worker died (3)")


@pytest.mark.slow
def test_a_file_that_does_not_load_ends_the_run_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nowhere_at_all\n")
    made = Tools(functions=[f"{tmp_path}/mine.py"], syntax=Syntax.hermes)
    said = "environments.mine: mine.py line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"
    with pytest.raises(UserError) as error:
        Workers({"mine": made})
    assert str(error.value) == said


def test_the_example_of_the_page(tmp_path: Path) -> None:
    [text] = re.findall(r"<!-- test: my_tools -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_tools.py").write_text(text)
    made = Tools(functions=[f"{tmp_path}/my_tools.py"], syntax=Syntax.hermes)
    made.warm()
    [step] = played(made, call("convert", value=3) + call("look_up", word="to", limit=2) + call("convrt"))
    assert [message["content"] for message in step.messages] == [
        "4.828", '["tool", "tooth"]', "Unknown function 'convrt'. Available tools: [convert, look_up]"
    ]  # fmt: skip


def test_the_syntaxes_and_options_of_the_page() -> None:
    [rows] = tables(section(PAGE, "How calls are written"))
    assert [row["syntax"].strip("`") for row in rows] == [
        each.value for each in Syntax if each is not Syntax.auto
    ]
    [rows] = tables(section(PAGE, "Options"))
    named = {name.strip("` ") for row in rows for name in row["option"].split(",")}
    own = {field.name for field in fields(Tools)} - {field.name for field in fields(Environment)}
    assert named == own


def test_the_entry_has_keys_of_the_environment_and_its_defaults() -> None:
    assert environments.find("tools") is Tools
    tree = yaml.safe_load((CONF / "environment" / "tools.yaml").read_text())
    merged = OmegaConf.merge(OmegaConf.structured(Tools), tree)
    assert merged == OmegaConf.structured(Tools)
    made = OmegaConf.to_object(OmegaConf.merge(merged, {"python": {}, "mcp": {"a": {"command": "x"}}}))
    assert isinstance(made, Tools)
    assert made.python is not None
    assert made.mcp["a"].command == "x"


@pytest.mark.slow
@pytest.mark.skipif(not any(t.available for t in probe() if t.name != "rlimit"), reason="no box here")
def test_an_interpreter_and_a_server_in_a_worker() -> None:
    pytest.importorskip("mcp")
    server = McpServer(command=sys.executable, args=[str(Path(stub_mcp.__file__))])
    made = Tools(python=PythonTool(numpy=False), mcp={"s": server}, syntax=Syntax.hermes)
    workers = Workers({"mine": made})
    try:
        [worker] = workers._workers["mine"]
        process = psutil.Process(worker.process.pid)
        episodes = [workers.open("mine", TASK) for _ in range(3)]
        assert [said.reason for said in heard(workers, 3)] == [None] * 3
        for number in (1, 2):
            for episode in episodes:
                code = f"x = {episode}" if number == 1 else "x"
                workers.step(episode, turn(call("python", code=code) + call("s__count"), number))
            answers = {
                said.episode: [each["content"] for each in said.value.messages] for said in heard(workers, 3)
            }
        assert answers == {episode: [str(episode), "2"] for episode in episodes}
        started = process.children(recursive=True)
        assert len([each for each in started if "stub_mcp" in " ".join(each.cmdline())]) == 3
        process.kill()
        assert [said.reason for said in heard(workers, 3)] == [Reason.crash] * 3
        _, alive = psutil.wait_procs(started, timeout=10)
        assert not alive  # neither a box nor a server outlives its worker
    finally:
        workers.end()
