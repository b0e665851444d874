"""HTTP to one server: samples, and everything a weight sync needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import httpx

from rlvr_cli.core.errors import UserError
from rlvr_cli.rollout.servers.frames import Answer, Frames
from rlvr_cli.rollout.servers.gate import METHOD
from rlvr_cli.rollout.servers.names import ABORT_ROUTE, ABOUT_ROUTE, PARCEL_ROUTE, SAMPLE_ROUTE, TOKEN
from rlvr_cli.rollout.servers.parcels import Parcel

CONNECT_S = 10.0
LONG = 5
"""Times as long as other answers those may take that wait for weights."""


class Gone(Exception):
    """There is no answer, or one that says that something is wrong with the server: it may be asked again."""

    answered = False
    """It said so itself."""


class Client:
    """One server's routes. `timeout_s`: until an answer, but for those that have their time; `lora`: of the
    adapters that it is sent in the place of weights (transfer.py)."""

    def __init__(self, url: str, token: str, timeout_s: float, lora: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self._timeout_s, self._long_s = timeout_s, LONG * timeout_s
        self._lora = lora or {}
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            # vLLM closes idle connections after 5 s: one must not be used again just then.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=1.0),
            trust_env=False,  # no proxy of the environment stands between a run and its servers
        )

    async def sample(self, asked: Mapping[str, Any]) -> AsyncGenerator[Answer, None]:
        """The samples of one prompt as they are done. They may take long: the fleet's watch knows whether the
        server lives. Gone where it breaks off; whether all have come is for the caller to see."""
        frames, patience = Frames(), httpx.Timeout(None, connect=CONNECT_S)
        url = self.url + SAMPLE_ROUTE
        try:
            async with self._http.stream("POST", url, json=asked, timeout=patience) as response:
                if response.status_code >= 400:
                    await response.aread()
                    self._refuse(response, SAMPLE_ROUTE)
                async for data in response.aiter_raw():
                    for answer in frames.feed(data):
                        yield answer
        except httpx.HTTPError as error:
            raise Gone(f"{type(error).__name__} at {SAMPLE_ROUTE}: {error}".rstrip(": ")) from error

    async def abort(self, groups: Mapping[str, list[int]]) -> None:
        """End these samples, by the names of their groups: each is answered with the tokens it has."""
        await self._call("POST", ABORT_ROUTE, groups)

    async def stamp(self) -> str:
        """Name of the weights it holds. Answered by the engine's own loop: who answers is at work."""
        return str((await self._call("GET", "/weight_info"))["weight_version"])

    async def about(self) -> dict[str, Any]:
        """What it was started with. UserError where that is no server of ours."""
        try:
            found: dict[str, Any] = await self._call("GET", ABOUT_ROUTE)
        except RuntimeError as error:
            raise UserError(
                f"rollout.servers.urls: {self.url} is no rollout server of rlvr ({error}); start one with "
                "rlvr rollout-server RECIPE"
            ) from error
        return found

    async def pause(self, *, keep: bool) -> None:
        """Between two tokens. What runs is computed again under the weights that come, or with `keep` goes on
        with the keys and values it has."""
        params = {"mode": "keep", "clear_cache": "false" if keep else "true"}
        await self._call("POST", "/pause", params=params)

    async def resume(self) -> None:
        await self._call("POST", "/resume")

    async def forget_images(self) -> None:
        """What its tower has made of images: vLLM keeps that by the image, over all weights."""
        await self._call("POST", "/reset_encoder_cache")

    async def begin(self, meeting: Mapping[str, Any] | None = None) -> None:
        """Its workers are ready to take weights; of a meeting, when all have come."""
        info = {"init_info": {**(meeting or {}), "lora": self._lora}}
        await self._call("POST", "/init_weight_transfer_engine", info, timeout_s=self._long_s)

    async def leave(self) -> None:
        """Its workers leave the group that they have met in."""
        await self._call("POST", "/shutdown_weight_transfer_engine")

    async def name(self, stamp: str) -> None:
        """Name the weights that it holds."""
        await self._call("POST", "/update_weight_version", {"new_version": stamp})

    async def take(self, parcels: list[Parcel], stamp: str, *, upload: bool) -> list[dict[str, Any]]:
        """Replace all weights; returns the receipt of each worker. `upload`: it is on another machine."""
        await self.start_update()
        for number, parcel in enumerate(parcels):
            path = await self._send(parcel, first=not number) if upload else parcel.path
            await self.load(parcel.info(path))
        return await self.finish(stamp)

    async def load(self, info: Mapping[str, Any]) -> None:
        """Take some of the weights."""
        await self._call("POST", "/update_weights", {"update_info": info}, timeout_s=self._long_s)

    async def finish(self, stamp: str) -> list[dict[str, Any]]:
        """All are there; returns the receipt of each worker."""
        await self._call("POST", "/finish_weight_update", {"weight_version": stamp}, timeout_s=self._long_s)
        answer = await self._call("POST", "/collective_rpc", content=METHOD, timeout_s=self._long_s)
        receipts: list[dict[str, Any]] = answer["results"]
        return receipts

    async def start_update(self) -> None:
        try:
            await self._call("POST", "/start_weight_update")
        except Gone as gone:
            if not gone.answered:
                raise
            # A trainer that was killed has left an update unfinished: a parcel that is not there ends it.
            with suppress(Gone):
                await self._call("POST", "/update_weights", {"update_info": {"path": ""}})
            await self._call("POST", "/start_weight_update")

    async def _send(self, parcel: Parcel, *, first: bool) -> str:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in parcel.read():
                yield piece

        route = f"{PARCEL_ROUTE}?first" if first else PARCEL_ROUTE
        return str((await self._call("POST", route, content=pieces()))["path"])

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(
        self,
        method: str,
        route: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content: Any = None,
        timeout_s: float | None = -1.0,
    ) -> Any:
        """The answer's content. Gone without one; UserError where the token is wrong, else RuntimeError."""
        patience = httpx.Timeout(self._timeout_s if timeout_s == -1.0 else timeout_s, connect=CONNECT_S)
        try:
            response = await self._http.request(
                method, self.url + route, json=body, params=params, content=content, timeout=patience
            )
        except httpx.HTTPError as error:
            raise Gone(f"{type(error).__name__} at {route}: {error}".rstrip(": ")) from error
        if response.status_code >= 400:
            self._refuse(response, route)
        return response.json() if response.content else None

    def _refuse(self, response: httpx.Response, route: str) -> None:
        """Raise what an answer means that is none."""
        if response.status_code == 401:
            raise UserError(f"rollout.servers: {self.url} refuses access; set {TOKEN} to its token")
        said = f"{route} answers HTTP {response.status_code}: {' '.join(response.text.split())[:300]}"
        if response.status_code < 500:
            raise RuntimeError(said)
        gone = Gone(said)
        gone.answered = True
        raise gone
