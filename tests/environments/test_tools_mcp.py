"""MCP servers as tools: started, listed, called, started again, ended."""

from __future__ import annotations

import asyncio
import copy
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import stub_mcp
from tool_turns import TASK, call, played, turn

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Step
from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.tool_use.mcp_schema import cleaned
from rlvr_cli.environments.tool_use.mcp_server import McpServer
from rlvr_cli.environments.tool_use.tool import NoVerdict
from rlvr_cli.environments.tools import Tools

pytest.importorskip("mcp")
pytestmark = pytest.mark.slow
STUB = str(Path(stub_mcp.__file__))


def server(*args: str, **settings: Any) -> McpServer:
    return McpServer(command=sys.executable, args=[STUB, *args], **settings)


def warm(**servers: McpServer) -> Tools:
    made = Tools(mcp=servers, syntax=Syntax.hermes, call_s=1.0)
    made.warm()
    return made


def contents(step: Step) -> list[str]:
    return [message["content"] for message in step.messages]


@pytest.fixture(scope="module")
def own() -> Tools:
    """A server for each episode."""
    return warm(s=server(env={"COLOUR": "$RLVR_TEST_COLOUR", "SHAPE": "round"}))


@pytest.fixture(scope="module")
def shared() -> Tools:
    return warm(s=server(shared=True))


@pytest.fixture(scope="module", autouse=True)
def colour() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLVR_TEST_COLOUR", "blue")
        yield


def test_tools_of_a_server(own: Tools) -> None:
    assert own.looked is not None
    found = [each["function"] for each in own.looked.schemas]
    assert [each["name"] for each in found] == [f"s__{each['name']}" for each in stub_mcp.TOOLS]  # all pages
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    assert found[0] == {"name": "s__echo", "description": "Say it.", "parameters": text}
    assert found[1]["parameters"] == {"type": "object", "properties": {}}


def test_calls(own: Tools) -> None:
    text = call("s__echo", text="hi") + call("s__env", of="COLOUR") + call("s__env", of="SHAPE")
    [step] = played(
        own, text + call("s__env", of="OTHER") + call("s__refuse") + call("s__unknown") + call("s__echo")
    )
    assert contents(step) == [
        "hi\n[image]", "blue", "round", "unset", "I refuse", "Error: no unknown here",
        "Error: invalid arguments for 's__echo': 'text' is a required property",
    ]  # fmt: skip
    assert (step.measures["tool/s__env/calls"], step.measures["tool/failures"]) == (3.0, 3.0)


def test_a_late_call_is_told(shared: Tools) -> None:
    steps = played(shared, call("s__sleep"), call("s__echo", text="there"))
    assert contents(steps[0]) == ["Error: TimeoutError: no result within 1 s"]


def test_each_episode_has_its_own_server(own: Tools, shared: Tools) -> None:
    count = call("s__count")
    assert [contents(step) for step in played(own, count, count)] == [["1"], ["2"]]
    assert [contents(step) for step in played(own, count)] == [["1"]]
    assert [contents(step) for step in played(shared, count)] == [["1"]]
    assert [contents(step) for step in played(shared, count)] == [["2"]]


def test_the_server_of_an_episode_ends_with_it(own: Tools) -> None:
    async def processes() -> tuple[set[int], set[int]]:
        episode = copy.copy(own)
        await episode.reset(TASK)
        during = running()
        await episode.close()
        return during, running()

    def running() -> set[int]:
        return {child.pid for child in psutil.Process().children() if STUB in child.cmdline()}

    before = running()
    during, after = asyncio.run(processes())
    assert len(during - before) == 1
    assert after - before == set()


def test_a_dead_server_is_started_again_once(tmp_path: Path) -> None:
    shared = warm(s=server(shared=True))
    count, die = call("s__count"), call("s__die")
    assert contents(played(shared, count)[0]) == ["1"]
    with pytest.raises(NoVerdict, match=r"^mcp\.s has died: "):  # it dies of the same call again
        played(shared, die)
    assert contents(played(shared, count)[0]) == ["1"]  # and is there for the next one
    once = warm(s=server("--once", str(tmp_path / "started"), shared=True))
    with pytest.raises(NoVerdict, match="does not start"):
        played(once, die)


def test_a_server_that_dies_between_two_calls(own: Tools, shared: Tools) -> None:
    """A shared one is started again; that of an episode has lost what the episode has made of it."""

    async def counts(tools: Tools) -> list[str]:
        episode = copy.copy(tools)
        before = {child.pid for child in psutil.Process().children()} if tools is own else set()
        await episode.reset(TASK)
        first = await episode.step(turn(call("s__count")))
        for child in psutil.Process().children():
            if STUB in child.cmdline() and child.pid not in before:
                child.kill()
        try:
            return contents(first) + contents(await episode.step(turn(call("s__count"))))
        finally:
            await episode.close()

    with pytest.raises(NoVerdict, match=r"^mcp\.s has died: "):
        asyncio.run(counts(own))
    assert asyncio.run(counts(shared))[1] == "1"


PYTHON, READS = sys.executable, "import sys; [0 for _ in sys.stdin]"
NOT_STARTED: list[tuple[McpServer, str]] = [
    (McpServer(command="nowhere-at-all"), "mcp.s: nowhere-at-all does not start: FileNotFoundError: "),
    (McpServer(command=PYTHON, args=["-c", "1/0"]), "-c 1/0 does not start: MCPError: Connection closed"),
    (McpServer(command=PYTHON, args=["-c", READS], start_s=0.8), "no list of tools within 0.8 s (start_s)"),
    (server(tools=["echo", "dance"]), "does not start: it has no tool 'dance'; it has: echo, count, env, "),
    (server(env={"A": "$RLVR_TEST_NO"}), "does not start: A: $RLVR_TEST_NO: there is no such variable"),
    (McpServer(url="http://127.0.0.1:9/mcp"), "mcp.s: http://127.0.0.1:9/mcp does not start: ConnectError: "),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), NOT_STARTED)
def test_a_server_that_does_not_start_says_so_in_a_line(settings: McpServer, said: str) -> None:
    settings.shared = True
    with pytest.raises(UserError) as error:
        warm(s=settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_some_tools_only() -> None:
    made = warm(s=server(tools=["count"]))
    assert made.looked is not None
    assert [each["function"]["name"] for each in made.looked.schemas] == ["s__count"]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="set one of the two"):
        McpServer()
    with pytest.raises(ValueError, match="belong to command"):
        McpServer(url="http://x", args=["a"])
    with pytest.raises(ValueError, match="headers belong to url"):
        McpServer(command="x", headers={"a": "b"})


def test_schemas_are_cleaned() -> None:
    reference = {"$ref": "#/$defs/Node"}
    node = {"type": "object", "title": "Node", "properties": {"next": reference}}
    properties = {"title": {"type": "string", "title": "T"}, "node": {**reference, "description": "D"}}
    root = {"$schema": "x", "$defs": {"Node": node}, "properties": properties, "additionalProperties": False}
    found = cleaned(root, root, 0)
    assert set(found) == {"properties"}
    assert found["properties"]["title"] == {"type": "string"}
    assert found["properties"]["node"]["description"] == "D"
    assert "$ref" not in str(found)  # one to itself has an end


HTTP = '''
import sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("adder")

@server.tool()
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)

server.run("streamable-http", port=int(sys.argv[1]))
'''


@pytest.mark.long
def test_a_server_at_an_address(tmp_path: Path) -> None:
    """The mcp package's own server, over streamable HTTP; killed in the end."""
    pytest.importorskip("mcp.server.mcpserver")
    (tmp_path / "adder.py").write_text(HTTP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "adder.py"), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until
            time.sleep(0.1)
        made = warm(web=McpServer(url=f"http://127.0.0.1:{port}/mcp", headers={"X-Who": "me"}))
        [step] = played(made, call("web__add", a=1, b=2) + call("web__add", a="x", b=2))
        assert contents(step) == [
            "3", "Error: invalid arguments for 'web__add': a: 'x' is not of type 'integer'"
        ]  # fmt: skip

        async def after_its_end() -> None:
            episode = copy.copy(made)
            await episode.reset(TASK)
            await episode.step(turn(call("web__add", a=1, b=2)))
            process.kill()
            process.wait()
            await episode.step(turn(call("web__add", a=1, b=2)))

        with pytest.raises(NoVerdict, match=r"^mcp\.web"):
            asyncio.run(after_its_end())
    finally:
        process.kill()
        process.wait()
