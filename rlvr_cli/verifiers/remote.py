"""A verifier on another machine: asks a server started with `rlvr serve-verifier`.

The request is made by a worker of the pool, so what blocks is a worker and never the trainer. A server that
cannot be reached, after retries, is waited for by the pool; one that refuses gives a `crash`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from rlvr_cli.core import progress
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.answer import Unreachable

BACKOFF_S = 0.1
"""Pause before the first retry; it doubles with each."""
MARGIN_S = 5.0
"""After its own deadline, before the pool takes the worker for hung."""
BUSY = (429, 502, 503, 504)


class Busy(Exception):
    """The server gave no verdict, and why."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Late(Exception):
    """The server is there, and has not answered in time."""


class NotUnderstood(ValueError):
    """The server refuses this request: 400 or 413."""


@dataclass(kw_only=True)
class Remote:
    name: str = "remote"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    url: str = "http://127.0.0.1:8700"
    """Where the server listens."""
    token_env: str | None = None
    """Environment variable that holds the server's token; null: it has none."""
    verifier: str | None = None
    """Which of the server's verifiers; null: it has one."""
    timeout_s: float = 10.0
    """Seconds for a verdict, retries included."""
    connections: int = 8
    """Requests at once: workers of its own, which do nothing but wait."""
    retries: int = 3
    """Further attempts when the server cannot be reached or is busy."""
    wait_s: float = 120.0
    """Seconds a server that is down or too busy is waited for after that, before verdicts are given up."""
    waits: ClassVar[bool] = True
    wants_progress: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is '{self.url}'; it must be http://HOST:PORT or https://HOST:PORT")
        if self.timeout_s <= 0:
            raise ValueError(f"timeout_s is {self.timeout_s}; it must be above 0")
        if self.connections < 1:
            raise ValueError(f"connections is {self.connections}; it must be at least 1")
        for key in ("retries", "wait_s"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must not be negative")

    def limits(self, config: Verification) -> Verification:
        return replace(config, workers=self.connections, timeout_s=self.timeout_s + MARGIN_S)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        """Raises where there is no verdict: see the module's docstring."""
        columns = {name: value for name, value in extra.items() if name != progress.KEY}
        item = {"response": response, "answer": answer, "extra": columns, "verifier": self.verifier}
        if (known := progress.of(extra)) is not None:
            item["progress"] = {"step": known.step, "total_steps": known.total_steps}
        try:
            return self._verdict(item)
        except Late as error:
            return Verdict(score=0.0, reason=Reason.timeout, detail=str(error))
        except NotUnderstood as error:
            self._verdict(item | {"response": ""})  # raises where it was not the response's doing
            return Verdict(score=0.0, reason=Reason.refused, detail=str(error))

    def _verdict(self, item: dict[str, Any]) -> Verdict:
        # default: dates and decimals out of a parquet file, which JSON does not know, travel as text.
        body = json.dumps(item, default=str).encode()
        deadline = time.monotonic() + self.timeout_s
        pause = BACKOFF_S
        for attempt in range(self.retries + 1):
            try:
                return self._ask(body, deadline)
            except (OSError, HTTPException, Busy) as error:
                wait = max(pause, getattr(error, "pause_s", 0.0))
                if attempt == self.retries or time.monotonic() + wait >= deadline:
                    raise Unreachable(f"no verdict from {self.url}: {error}") from error
            time.sleep(wait)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, body: bytes, deadline: float) -> Verdict:
        parts = urlsplit(self.url)
        connection = _connection(parts, max(0.05, deadline - time.monotonic()))
        headers = self._headers()
        try:
            connection.connect()
            try:
                connection.request("POST", f"{parts.path.rstrip('/')}/verify", body, headers)
                reply = connection.getresponse()
                text = reply.read()
            except TimeoutError as error:
                raise Late(f"no verdict from {self.url} within {self.timeout_s:g} s") from error
        finally:
            connection.close()
        if reply.status in BUSY:
            raise Busy(f"{reply.status} {reply.reason}", _seconds(reply.getheader("Retry-After")))
        if reply.status in (400, 413):
            raise NotUnderstood(f"{self.url} answers {reply.status}: {text.decode(errors='replace')[:200]}")
        if reply.status != 200:  # 401, 404, ...: it will not change by asking again
            raise ValueError(f"{self.url} answers {reply.status}: {text.decode(errors='replace')[:200]}")
        found = json.loads(text)
        return Verdict(
            score=float(found["score"]),
            reason=Reason(found["reason"]),
            extracted=found["extracted"],
            detail=found["detail"],
            raw=bool(found.get("raw", False)),
            judged=found.get("judged"),
            more=found.get("more", {}),
        )

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.token_env is not None:
            if not os.environ.get(self.token_env):
                raise ValueError(f"token_env: the environment variable {self.token_env} is not set")
            headers["Authorization"] = f"Bearer {os.environ[self.token_env]}"
        return headers


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    assert parts.hostname is not None
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout)


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; its other form, a date, is not waited for."""
    return float(header) if header is not None and header.isdigit() else 0.0
