"""The `mcp` package behind four calls that are the same for its majors 1 and 2."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from rlvr_cli.core.errors import UserError

CONNECTION_CLOSED = -32000
"""Code of a protocol error that the client itself makes up when the other side is gone."""
REACH_S = 5.0


@dataclass(slots=True, kw_only=True)
class Listed:
    """A tool as its server lists it."""

    name: str
    description: str | None
    schema: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Answer:
    text: str
    failed: bool


def check() -> None:
    """UserError where the package is not installed."""
    if find_spec("mcp") is None:
        raise UserError('mcp needs the package of that name: pip install "rlvr[agents]"')


class Client:
    """Around mcp 2's Client or mcp 1's ClientSession, which differ in names."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def list(self, cursor: str | None) -> tuple[list[Listed], str | None]:
        """A page of tools, and where the next one begins."""
        page = await self._inner.list_tools(cursor=cursor)
        tools = [
            Listed(
                name=tool.name,
                description=tool.description,
                schema=_either(tool, "input_schema", "inputSchema"),
            )
            for tool in page.tools
        ]
        return tools, _either(page, "next_cursor", "nextCursor")

    async def call(self, name: str, arguments: dict[str, Any]) -> Answer:
        result = await self._inner.call_tool(name, arguments)
        text = "\n".join(map(_block, result.content))
        return Answer(text=text, failed=bool(_either(result, "is_error", "isError")))


def _either(found: Any, *names: str) -> Any:
    return next((getattr(found, name) for name in names if hasattr(found, name)), None)


def _block(block: Any) -> str:
    """A block of content as text."""
    if isinstance(text := getattr(block, "text", None), str):
        return text
    if (resource := getattr(block, "resource", None)) is not None:
        said = getattr(resource, "text", None)
        return said if isinstance(said, str) else f"[{getattr(resource, 'uri', 'resource')}]"
    return f"[{getattr(block, 'type', 'content')}]"


def told(error: Exception) -> str | None:
    """What the policy is told of an error that the server has answered with; None: the server is gone."""
    code = getattr(getattr(error, "error", None), "code", None)
    if code is None:
        return None if not isinstance(error, ValueError) else f"{type(error).__name__}: {error}"[:500]
    return None if code == CONNECTION_CLOSED else str(error)


async def reachable(url: str | None) -> bool:
    """Whether somebody listens at an address: mcp 1 does not notice that nobody does. Of a program of ours
    the client hears by itself that it has ended."""
    if url is None:
        return True
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(place.hostname, port), REACH_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@asynccontextmanager
async def connected(settings: Any, seconds: float) -> AsyncIterator[Client]:
    """A client of the server that `settings`, an McpServer, describe."""
    import mcp

    inner = _second(settings, seconds) if hasattr(mcp, "Client") else _first(settings)
    async with inner as client:
        yield Client(client)


@asynccontextmanager
async def _second(settings: Any, seconds: float) -> AsyncIterator[Any]:
    import httpx2
    from mcp import Client as Session
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if settings.url is None:
        async with Session(stdio_client(_parameters(settings), errlog=sys.stderr)) as client:
            yield client
    else:
        timeout = httpx2.Timeout(seconds, read=None)
        async with (
            httpx2.AsyncClient(headers=_headers(settings), timeout=timeout) as http,
            Session(streamable_http_client(settings.url, http_client=http)) as client,
        ):
            yield client


@asynccontextmanager
async def _first(settings: Any) -> AsyncIterator[Any]:
    import httpx
    from mcp import ClientSession
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    if settings.url is None:
        async with (
            stdio_client(_parameters(settings), errlog=sys.stderr) as (read, write),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            yield session
    else:
        older: Any = streamable_http_client  # another client, and a third thing in the tuple
        async with (
            httpx.AsyncClient(headers=_headers(settings), timeout=None) as http,
            older(settings.url, http_client=http) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            yield session


def _parameters(settings: Any) -> Any:
    from mcp.client.stdio import StdioServerParameters

    env = expanded(settings.env) or None
    return StdioServerParameters(
        command=settings.command, args=list(settings.args), env=env, cwd=settings.cwd
    )


def _headers(settings: Any) -> dict[str, str]:
    return expanded(settings.headers)


def expanded(values: dict[str, str]) -> dict[str, str]:
    """With `$NAME` as the variable of the environment; UserError where there is none."""
    found = {key: os.path.expandvars(value) for key, value in values.items()}
    for key, value in found.items():
        if "$" in value and value == values[key]:
            raise UserError(f"{key}: {value}: there is no such variable in the environment")
    return found
