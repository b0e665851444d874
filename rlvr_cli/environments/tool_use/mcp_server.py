"""Servers of the Model Context Protocol as tools: started, listed, called, started again once, ended.

The `mcp` package (1.x or 2.x) is imported by workers and by the process that looks at tools, never by the
trainer. A client is entered and left by one task (anyio wants it so), and all clients of a worker live in
one thread with a loop of its own, whoever calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tool_use import mcp_client
from rlvr_cli.environments.tool_use.mcp_schema import openai_form
from rlvr_cli.environments.tool_use.tool import NoVerdict, Outcome, Schema

PAGES = 100
"""Of a listing; a server that turns in circles has an end."""
END_S = 5.0


@dataclass(kw_only=True)
class McpServer:
    """One server: a command that is started, or an address."""

    command: str | None = None
    """Program that speaks over its standard input and output."""
    args: list[str] = field(default_factory=list)
    """What it is started with."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables besides HOME, LOGNAME, PATH, SHELL, TERM and USER; `$NAME` is one of the trainer's."""
    cwd: str | None = None
    """Where it is started; null: in the working directory."""
    url: str | None = None
    """Or the address of one that runs already (streamable HTTP)."""
    headers: dict[str, str] = field(default_factory=dict)
    """Of requests to `url`; `$NAME` is a variable of the trainer's."""
    shared: bool = False
    """One for all episodes of a worker; false: each episode has its own, with state of its own."""
    tools: list[str] | None = None
    """Which of its tools there are; null: all."""
    start_s: float = 30.0
    """Seconds until it must have listed its tools."""

    def __post_init__(self) -> None:
        if (self.command is None) == (self.url is None):
            raise ValueError("mcp: command is the program of a server, url its address: set one of the two")
        if self.url is not None and (self.args or self.env or self.cwd):
            raise ValueError("mcp: args, env and cwd belong to command; a server with url runs already")
        if self.command is not None and self.headers:
            raise ValueError("mcp: headers belong to url")
        if self.start_s <= 0:
            raise ValueError(f"mcp: start_s is {self.start_s}; it must be above 0")

    @property
    def shown(self) -> str:
        return self.url if self.url is not None else " ".join([str(self.command), *self.args])


class Loop:
    """A thread with an event loop, in which the clients of a process live."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result, waited for by a thread that is not the loop's."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def ask(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The same for a coroutine of another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_S)


class Server:
    """A server and its client. All but the constructor runs in the thread of a `Loop`."""

    def __init__(self, name: str, settings: McpServer, seconds: float) -> None:
        self.name, self.settings, self._seconds = name, settings, seconds
        self.schemas: list[Schema] = []
        self._names: dict[str, str] = {}
        """What a tool is called here -> what the server calls it."""
        self._client: Any = None
        self._owner: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._answered = False
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Until its tools are listed. UserError, in a line, where it does not start."""
        self._over = asyncio.Event()
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(started, self._over))
        try:
            await asyncio.wait_for(asyncio.shield(started), self.settings.start_s)
        except BaseException as error:  # cancelled, too: nothing stays behind
            late = isinstance(error, TimeoutError) and not started.done()
            await self.close()
            if not isinstance(error, Exception):
                raise
            why = f"no list of tools within {self.settings.start_s:g} s (start_s)" if late else _cause(error)
            raise UserError(f"mcp.{self.name}: {self.settings.shown} does not start: {why}") from error

    async def call(self, tool: str, arguments: dict[str, Any]) -> Outcome:
        """What a tool says. A server that has died is started again once, unless an episode's state is lost
        with it; NoVerdict where that does not help."""
        for attempt in (1, 2):
            client = self._client
            try:
                said = await asyncio.wait_for(client.call(self._names[tool], arguments), self._seconds)
                self._answered = True
                return Outcome(text=said.text, failed=said.failed)
            except Exception as error:
                late = isinstance(error, TimeoutError)
                if late and await mcp_client.reachable(self.settings.url):
                    text = f"Error: TimeoutError: no result within {self._seconds:g} s"
                    return Outcome(text=text, failed=True)
                if not late and (told := mcp_client.told(error)) is not None:
                    return Outcome(text=f"Error: {told}", failed=True)
                if attempt == 2 or (self._answered and not self.settings.shared):
                    raise NoVerdict(f"mcp.{self.name} has died: {_cause(error)}") from error
            await self._again(client)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End it. It has a few seconds."""
        self._over.set()
        if (owner := self._owner) is not None:
            if self._client is not None:
                await asyncio.wait([owner], timeout=END_S)
            if not owner.done():  # it hangs, or has not even begun
                owner.cancel()
                await asyncio.wait([owner], timeout=END_S)
        self._owner = self._client = None

    async def _again(self, dead: Any) -> None:
        """Start it again, unless another call has done so."""
        async with self._starting:
            if self._client is not dead:
                return
            listed = self.schemas
            await self.close()
            try:
                await self.start()
            except UserError as error:
                raise NoVerdict(str(error)) from error
            if self.schemas != listed:
                raise NoVerdict(f"mcp.{self.name} has other tools after it was started again")

    async def _own(self, started: asyncio.Future[None], over: asyncio.Event) -> None:
        """Enter the client, stay, leave it: one task for all three."""
        try:
            async with mcp_client.connected(self.settings, self._seconds) as client:
                self._list(await _listed(client))
                self._client = client
                if not started.done():
                    started.set_result(None)
                await over.wait()
        except Exception as error:
            if not started.done():
                started.set_exception(error)

    def _list(self, tools: list[mcp_client.Listed]) -> None:
        wanted = self.settings.tools
        if wanted is not None and (absent := set(wanted) - {tool.name for tool in tools}):
            having = ", ".join(tool.name for tool in tools)
            raise UserError(f"it has no tool '{min(absent)}'; it has: {having}")
        kept = [tool for tool in tools if wanted is None or tool.name in wanted]
        if not kept:
            raise UserError("it has no tools")
        self.schemas = [openai_form(self.name, each) for each in kept]
        self._names = {
            str(schema["function"]["name"]): tool.name
            for schema, tool in zip(self.schemas, kept, strict=True)
        }


async def _listed(client: Any) -> list[mcp_client.Listed]:
    found: list[mcp_client.Listed] = []
    cursor: str | None = None
    for _ in range(PAGES):
        tools, cursor = await client.list(cursor)
        found += tools
        if cursor is None:
            return found
    raise UserError(f"its list of tools does not end within {PAGES} pages")


@dataclass(slots=True, kw_only=True)
class McpTool:
    """A tool of a server."""

    schema: Schema
    server: Server
    loop: Loop

    async def run(self, arguments: dict[str, Any]) -> Outcome:
        name = str(self.schema["function"]["name"])
        found: Outcome = await self.loop.ask(self.server.call(name, arguments))
        return found


def _cause(error: BaseException) -> str:
    """The first error of a group, in a line: anyio wraps them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, UserError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())[:300]
