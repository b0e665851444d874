"""The HTTP part: routes, keys, streams."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from aiohttp import web

from rlvr_cli.environments.gateway.refused import Refused
from rlvr_cli.environments.gateway.reply import Reply
from rlvr_cli.environments.gateway.request import ChatRequest, parsed
from rlvr_cli.environments.gateway.session import Exchange, Session

HOST = "127.0.0.1"
LARGEST_BODY = 256 * 2**20
KEEP_ALIVE_S = 5.0
"""Between comments in a stream whose turn is being sampled; before the first an error is still a status."""
OVER_KEPT = 4096
OVER = "rollout stopped: the episode is over"


class Gateway:
    """One server for all episodes of a worker, on a port of its own of the loopback address."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._sessions: dict[str, Session] = {}
        self._over: OrderedDict[str, None] = OrderedDict()
        self._starting = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def open(self, *, posts: bool) -> Session:
        """A new session; the first starts the server."""
        async with self._starting:
            if self._runner is None:
                await self._start()
        session = Session(key=f"rlvr-{secrets.token_urlsafe(18)}", posts=posts)
        self._sessions[session.key] = session
        return session

    def url(self, session: Session) -> str:
        """Base address for a client, which works with the session's key and without."""
        return f"http://{HOST}:{self._port}/sessions/{session.key}/v1"

    def close(self, session: Session) -> None:
        """Its key opens nothing more."""
        session.stop(Refused(OVER))
        self._sessions.pop(session.key, None)
        self._over[session.key] = None
        while len(self._over) > OVER_KEPT:
            self._over.popitem(last=False)

    async def _start(self) -> None:
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[_errors])
        for prefix in ("/v1", "/sessions/{session}/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self._chat)
            app.router.add_post(f"{prefix}/set_reward", self._set_reward)
            app.router.add_get(f"{prefix}/models", self._models)
        app.router.add_get("/health", _health)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        self._runner, self._port = runner, int(runner.addresses[0][1])

    def _session(self, request: web.Request) -> Session:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        key = request.match_info.get("session") or (token.strip() if scheme.lower() == "bearer" else "")
        if key in self._sessions:
            return self._sessions[key]
        if key in self._over:
            raise Refused(OVER)
        raise Refused("no episode has this API key", status=401, code="invalid_api_key")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        session = self._session(request)
        raw = await request.read()
        asked = parsed(raw)
        key, mark = request.headers.get("Idempotency-Key"), sha256(raw).hexdigest()
        retried = request.headers.get("x-stainless-retry-count", "0") != "0"
        again = f"key {key}" if key else mark if retried else None
        marks = [mark, f"key {key}"] if key else [mark]
        exchange = session.submit(asked, marks=marks, again=again)
        if asked.stream:
            return await _streamed(request, asked, exchange)
        return web.json_response(_done(await asyncio.shield(exchange.outcome)).completion(asked))

    async def _set_reward(self, request: web.Request) -> web.Response:
        session = self._session(request)
        try:
            value = (await request.json())["reward"]
            reward = float(value) if not isinstance(value, str) else None
        except (ValueError, TypeError, KeyError):
            reward = None
        if reward is None or not abs(reward) < float("inf"):
            raise Refused('the body must be {"reward": number}')
        if not session.posts:
            raise Refused("this run takes its reward from elsewhere; set score: posted")
        session.posted = reward
        return web.json_response({"reward": reward})

    async def _models(self, request: web.Request) -> web.Response:
        self._session(request)
        model = {"id": self.model, "object": "model", "created": 0, "owned_by": "rlvr"}
        return web.json_response({"object": "list", "data": [model]})


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """All errors in OpenAI's form, those of HTTP too."""
    try:
        return await handler(request)
    except Refused as refused:
        headers = {"Retry-After": "1"} if refused.status == 429 else {}
        return web.json_response(refused.body, status=refused.status, headers=headers)
    except web.HTTPException as error:
        said = Refused(f"{request.method} {request.path}: {error.reason}", status=error.status)
        return web.json_response(said.body, status=error.status)


def _done(outcome: Reply | Refused) -> Reply:
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


async def _streamed(request: web.Request, asked: ChatRequest, exchange: Exchange) -> web.StreamResponse:
    await asyncio.wait([exchange.outcome], timeout=KEEP_ALIVE_S)
    if exchange.outcome.done():
        _done(exchange.outcome.result())
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    with suppress(ConnectionError):  # a reader that goes away; when it comes back it gets the same turn
        await response.prepare(request)
        while not exchange.outcome.done():
            await response.write(b": keep-alive\n\n")
            await asyncio.wait([exchange.outcome], timeout=KEEP_ALIVE_S)
        outcome = exchange.outcome.result()
        if isinstance(outcome, Refused):  # too late for a status
            await response.write(_event(outcome.body))
        else:
            for chunk in outcome.chunks(asked):
                await response.write(_event(chunk))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
    return response


def _event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
