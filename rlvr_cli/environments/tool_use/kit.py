"""The tools of a worker and of an episode: what is started when, and what ends it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tool_use.arguments import check_schema
from rlvr_cli.environments.tool_use.functions import load_functions
from rlvr_cli.environments.tool_use.mcp_server import Loop, McpTool, Server
from rlvr_cli.environments.tool_use.python_tool import Boxes, Interpreter
from rlvr_cli.environments.tool_use.threads import in_thread
from rlvr_cli.environments.tool_use.tool import Schema, Tool, name_of, parameters_of
from rlvr_cli.verifiers.user_code.load import Unusable

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Kit:
    """What all episodes of a worker share. `settings`: a `Tools`; UserError where something does not load."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        import_module("jsonschema")  # now: it takes a second, and calls are checked in the worker's loop
        try:
            self.functions = load_functions(settings.functions, settings.call_s)
        except Unusable as error:
            raise UserError(str(error)) from error
        self._loop = Loop() if settings.mcp else None
        self._shared: list[Server] = []
        self._own: list[str] = []
        self._boxes: Boxes | None = None
        try:
            for name, server in settings.mcp.items():
                if server.shared:
                    self._shared.append(self._started(name))
                else:
                    self._own.append(name)
            if settings.python is not None:
                self._boxes = Boxes(settings.python)
        except BaseException:
            self.stop()
            raise

    def all_schemas(self) -> list[Schema]:
        """Of every tool that an episode has; servers of episodes are started for it, and ended."""
        found = [each.schema for each in self.functions]
        if self._settings.python is not None:
            found.append(self._settings.python.schema)
        for name in self._settings.mcp:
            shared = next((each for each in self._shared if each.name == name), None)
            server = shared or self._started(name)
            found += server.schemas
            if shared is None and self._loop is not None:
                self._loop.wait(server.close())
        check_names(map(name_of, found))
        for each in found:
            check_schema(name_of(each), parameters_of(each))
        return found

    async def episode(self) -> Episode:
        """The tools of an episode, in the order of `all_schemas`."""
        tools: list[Tool] = list(self.functions)
        held = Episode(loop=self._loop)
        if self._settings.python is not None and self._boxes is not None:
            settings = self._settings
            held.interpreter = Interpreter(
                settings.python, self._boxes, settings.max_result_chars, settings.side
            )
            tools.append(held.interpreter)
        try:
            for name in self._settings.mcp:
                server = next((each for each in self._shared if each.name == name), None)
                if server is None:
                    server = await self._loop_of().ask(self._server(name))
                    held.servers.append(server)
                tools += [
                    McpTool(schema=each, server=server, loop=self._loop_of()) for each in server.schemas
                ]
        except BaseException:
            await held.close()
            raise
        held.tools = {name_of(tool.schema): tool for tool in tools}
        return held

    def stop(self) -> None:
        """End what is shared."""
        if self._boxes is not None:
            self._boxes.stop()
        if self._loop is not None:
            for server in self._shared:
                self._loop.wait(server.close())
            self._loop.stop()

    def _started(self, name: str) -> Server:
        server: Server = self._loop_of().wait(self._server(name))
        return server

    async def _server(self, name: str) -> Server:
        server = Server(name, self._settings.mcp[name], self._settings.call_s)
        await server.start()
        return server

    def _loop_of(self) -> Loop:
        assert self._loop is not None
        return self._loop


@dataclass(slots=True, kw_only=True)
class Episode:
    """What one episode has."""

    loop: Loop | None
    tools: dict[str, Tool] = field(default_factory=dict)
    interpreter: Interpreter | None = None
    servers: list[Server] = field(default_factory=list)

    async def close(self) -> None:
        """End its interpreter and its servers."""
        if self.interpreter is not None:
            await in_thread(self.interpreter.close)
        for server in self.servers:
            with suppress(Exception):
                assert self.loop is not None
                await self.loop.ask(server.close())


def check_names(names: Iterable[str]) -> None:
    """UserError where two tools have one name, or a name is none that templates and parsers agree on."""
    seen = set()
    for name in names:
        if not NAME.fullmatch(name):
            raise UserError(f"the name of the tool '{name}' must be 1 to 64 letters, digits, _ and -")
        if name in seen:
            raise UserError(f"two tools are called '{name}'; give one of them another name")
        seen.add(name)
