"""Stands before every route of a server: who has no token gets nowhere, and few routes are open at all.

vLLM's own `--api-key` leaves its developer routes open, which pause, reload and run whatever method of a
worker is named. A server without a token is for its own machine only; `rlvr rollout-server` sees to that.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import MutableMapping
from typing import Any

from rlvr_cli.rollout.servers import groups
from rlvr_cli.rollout.servers.groups import Receive, Send
from rlvr_cli.rollout.servers.names import (
    ABORT_ROUTE,
    ABOUT,
    ABOUT_ROUTE,
    PARCEL_ROUTE,
    SAMPLE_ROUTE,
    TOKEN,
)
from rlvr_cli.rollout.servers.parcels import memory_file, path_of, write

Scope = MutableMapping[str, Any]
OPEN = frozenset(
    {
        "/health",
        "/pause",
        "/resume",
        "/reset_encoder_cache",
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/shutdown_weight_transfer_engine",
        "/update_weight_version",
        "/weight_info",
        "/collective_rpc",
    }
)
"""Routes of vLLM's that a trainer needs; `/collective_rpc` for METHOD alone."""
METHOD = b'{"method":"weight_receipt"}'


class Gate:
    """ASGI middleware, named to vLLM by `--middleware`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._token = os.environ.get(TOKEN, "")
        self._about = json.loads(os.environ.get(ABOUT, "{}"))
        self._parcels: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif not self._is_known(scope):
            await answer(send, 401, {"error": f"no access: set {TOKEN} to the server's token"})
        elif scope["path"] == ABOUT_ROUTE:
            await answer(send, 200, self._about)
        elif scope["path"] == SAMPLE_ROUTE:
            await self._sample(scope, receive, send)
        elif scope["path"] == ABORT_ROUTE:
            await groups.abort(scope["app"].state.engine_client, receive)
            await answer(send, 200, {})
        elif scope["path"] == PARCEL_ROUTE:
            await answer(send, 200, {"path": await self._take_in(scope, receive)})
        elif scope["path"] == "/collective_rpc":
            await self._pass_on_the_method(scope, receive, send)
        elif scope["path"] in OPEN:
            await self._app(scope, receive, send)
            if scope["path"] == "/finish_weight_update":  # workers have read them
                self._drop()
        else:
            await answer(send, 404, {"error": "this server has no such route"})

    def _is_known(self, scope: Scope) -> bool:
        if not self._token:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self._token}".encode())

    async def _sample(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await groups.sample(scope["app"].state.engine_client, receive, send)
        except groups.Refused as refused:
            await answer(send, 400, {"error": str(refused)})

    async def _take_in(self, scope: Scope, receive: Receive) -> str:
        """Keep a parcel that came over the network; the first of an update replaces those of the last."""
        if scope["query_string"] == b"first":
            self._drop()
        with memory_file("parcel") as descriptor:
            async for piece in groups.pieces(receive):
                write(descriptor, piece)
        self._parcels.append(descriptor)
        return path_of(descriptor)

    def _drop(self) -> None:
        for descriptor in self._parcels:
            os.close(descriptor)
        self._parcels.clear()

    async def _pass_on_the_method(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        if message.get("body") != METHOD or message.get("more_body"):
            await answer(send, 404, {"error": "this server has no such method"})
            return

        async def again() -> MutableMapping[str, Any]:
            return message

        await self._app(scope, again, send)


async def answer(send: Send, status: int, content: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
