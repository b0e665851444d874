"""OpenEnv's protocol: JSON messages {"type", "data"} over a WebSocket at /ws, which is a session."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.errors import UserError

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

FULL = "CAPACITY_REACHED"
OF_THE_ACTION = ("INVALID_JSON", "VALIDATION_ERROR", "EXECUTION_ERROR")
"""Codes of errors that the policy's action may have caused."""
MOST_BYTES = 100 << 20
"""Of a message."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Before a session is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfAction:
    """What is known of a server's actions."""

    only: str | None
    """The one required field, if there is just one."""
    type: str = "string"
    """Its JSON type."""

    def value(self, text: str) -> Any:
        """A text as the value of that field; ValueError where it is none."""
        if self.type == "string":
            return text
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError(f"'{self.only}' must be of type {self.type}") from None


def schema_of_actions(url: str, seconds: float) -> OfAction | None:
    """From the server's /schema; None: it has none. UserError where no server answers."""
    import httpx

    try:
        reply = httpx.get(f"{url.rstrip('/')}/schema", timeout=seconds)
    except httpx.HTTPError as error:
        raise UserError(f"openenv: no answer from {url}: {type(error).__name__}: {error}") from None
    try:
        action = reply.json()["action"]
        required = list(action.get("required", []))
        only = required[0] if len(required) == 1 else None
        kind = action.get("properties", {}).get(only, {}).get("type", "string")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return OfAction(only=only, type=str(kind))


@dataclass(slots=True, kw_only=True)
class Seen:
    """The answer to `reset` or `step`."""

    observation: Any = None
    reward: float | None = None
    done: bool = False
    error: str = ""
    """What the server says of an action that it has not taken."""


class Refused(RuntimeError):
    """The server has answered with an error; has its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"OpenEnv {code}: {message}")
        self.code, self.message = code, message


class Session:
    """One episode's."""

    def __init__(self, url: str, connect_s: float, message_s: float) -> None:
        scheme, _, place = url.rstrip("/").partition("://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{place}/ws"
        self._connect_s, self._message_s = connect_s, message_s
        self._client: ClientSession | None = None
        self._socket: ClientWebSocketResponse | None = None

    async def begin(self, data: dict[str, Any], wait_s: float) -> Seen:
        """Connect and reset; where the server is full, again until it is not, for so long."""
        until, pause = monotonic() + wait_s, PAUSE_S
        while True:
            try:
                await self._connect()
                return _seen(await self._ask("reset", data))
            except Refused as refused:
                await self.end()
                if refused.code != FULL:
                    raise
                if monotonic() + pause > until:
                    raise RuntimeError(
                        f"no session within wait_s ({wait_s:g} s): {refused.message}; lower concurrency, or "
                        "let the server have more sessions"
                    ) from None
            await asyncio.sleep(pause * (1 + random.random()))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def step(self, action: dict[str, Any]) -> Seen:
        """What becomes of an action."""
        try:
            return _seen(await self._ask("step", action))
        except Refused as refused:
            if refused.code not in OF_THE_ACTION:
                raise
            return Seen(error=refused.message)

    async def end(self) -> None:
        """Close the session, which frees it for others."""
        socket, client = self._socket, self._client
        self._socket = self._client = None
        if socket is not None:
            with suppress(Exception):
                await socket.send_str(json.dumps({"type": "close"}))
                await socket.close()
        if client is not None:
            await client.close()

    async def _connect(self) -> None:
        import aiohttp

        self._client = aiohttp.ClientSession()
        connecting = self._client.ws_connect(self._url, max_msg_size=MOST_BYTES)
        try:
            self._socket = await asyncio.wait_for(connecting, self._connect_s)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one of these
            await self.end()
            if getattr(error, "status", None) == 503:
                raise Refused(FULL, "the server answers 503") from None
            raise RuntimeError(f"no connection to {self._url}: {type(error).__name__}: {error}") from None

    async def _ask(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        import aiohttp

        assert self._socket is not None
        with suppress(ConnectionError):  # it may have said why before it hung up
            await self._socket.send_str(json.dumps({"type": kind, "data": data}, default=str))
        try:
            message = await asyncio.wait_for(self._socket.receive(), self._message_s)
        except TimeoutError:
            raise RuntimeError(f"no answer to {kind} within message_s ({self._message_s:g} s)") from None
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise RuntimeError(f"the server has hung up instead of answering {kind}")
        answer = json.loads(message.data)
        held = answer.get("data")
        said: dict[str, Any] = held if isinstance(held, dict) else answer
        if answer.get("type") == "error":
            raise Refused(str(said.get("code", "ERROR")), str(said.get("message", said))[:300])
        return said


def _seen(data: dict[str, Any]) -> Seen:
    reward = data.get("reward")
    return Seen(
        observation=data.get("observation"),
        reward=None if reward is None else float(reward),
        done=bool(data.get("done")),
    )
