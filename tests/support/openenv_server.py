"""A server that speaks OpenEnv's protocol with a small game, in a thread: a number to be guessed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

SCHEMA = {
    "action": {
        "type": "object",
        "properties": {"number": {"type": "integer"}, "metadata": {"type": "object"}},
        "required": ["number"],
    },
    "observation": {},
    "state": {},
}


@dataclass
class GameServer:
    """`most_sessions` at once; a full one says so and hangs up, as OpenEnv's does."""

    most_sessions: int = 100
    schema: dict[str, Any] | None = field(default_factory=lambda: SCHEMA)
    sessions: int = 0
    most_seen: int = 0
    resets: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0
    """Sessions that ended with a message `close`."""
    refused: int = 0
    url: str = ""

    async def answer_schema(self, request: web.Request) -> web.Response:
        if self.schema is None:
            raise web.HTTPNotFound
        return web.json_response(self.schema)

    async def answer_socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.sessions >= self.most_sessions:
            self.refused += 1
            await socket.send_json(_error("CAPACITY_REACHED", "all sessions are taken"))
            await socket.close()
            return socket
        self.sessions += 1
        self.most_seen = max(self.most_seen, self.sessions)
        try:
            await self._session(socket)
        finally:
            self.sessions -= 1
        return socket

    async def _session(self, socket: web.WebSocketResponse) -> None:
        hidden = 0
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                return
            asked = json.loads(message.data)
            if asked["type"] == "close":
                self.closed += 1
                return
            if asked["type"] == "reset":
                self.resets.append(asked["data"])
                hidden = asked["data"].get("hidden", 5)
                await socket.send_json(_observed({"prompt": "Guess."}, None, False))
            else:
                if (answer := await self._stepped(asked["data"], hidden)) is None:
                    return
                await socket.send_json(answer)

    async def _stepped(self, action: dict[str, Any], hidden: int) -> dict[str, Any] | None:
        number = action.get("number")
        if not isinstance(number, int):
            return _error("VALIDATION_ERROR", "number is required")
        if number == 99:
            return _error("SESSION_ERROR", "the session is lost")
        if number == 98:
            return None  # hangs up
        await asyncio.sleep(0.6 if number == 97 else 0.0)
        right = number == hidden
        return _observed({"last": number, "right": right}, 1.0 if right else -0.1, right)


def _observed(observation: dict[str, Any], reward: float | None, done: bool) -> dict[str, Any]:
    return {"type": "observation", "data": {"observation": observation, "reward": reward, "done": done}}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message, "code": code}}


@contextmanager
def serving(server: GameServer) -> Iterator[GameServer]:
    """While it runs; `url` is its address."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.add_routes([web.get("/schema", server.answer_schema), web.get("/ws", server.answer_socket)])
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
