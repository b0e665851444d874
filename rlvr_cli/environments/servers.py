"""Requests to servers that environments ask: JSON in, JSON out, with retries."""

from __future__ import annotations

import os
import random
import time
from functools import cache
from typing import Any

BACKOFF_S = 0.5
"""Pause before the first retry; it doubles with each, with up to half of it added at random."""
LONGEST_PAUSE_S = 20.0


class NoAnswer(RuntimeError):
    """A server has given no answer that can be used: which server, and what happened. The episode that needed
    it has no verdict."""


class _Again(Exception):
    """What may be different the next time; carries how long the server asks to be left alone."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


def post(
    what: str, url: str, body: Any, *, timeout_s: float, retries: int, key_env: str | None = None
) -> Any:
    """The server's answer to `body`, both JSON. A failed connection, 429 and 5xx are tried again.

    what: of the server, for messages. key_env: environment variable with its key. Raises NoAnswer.
    """
    begun, pause = time.monotonic(), BACKOFF_S
    for attempt in range(retries + 1):
        try:
            return _once(what, url, body, timeout_s, key_env)
        except _Again as error:
            if attempt == retries:
                took = time.monotonic() - begun
                raise NoAnswer(
                    f"{what} at {url}: {error} ({attempt + 1} attempts in {took:.0f} s)"
                ) from error
            time.sleep(max(pause * (1 + random.random() / 2), min(error.pause_s, LONGEST_PAUSE_S)))
            pause = min(2 * pause, LONGEST_PAUSE_S)
    raise AssertionError("the last attempt returns or raises")


def _once(what: str, url: str, body: Any, timeout_s: float, key_env: str | None) -> Any:
    import httpx

    key = os.environ.get(key_env) if key_env else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = _client().post(url, json=body, headers=headers, timeout=timeout_s)
    except httpx.TimeoutException as error:
        raise _Again(f"no answer within {timeout_s:g} s") from error
    except httpx.TransportError as error:
        raise _Again(f"{type(error).__name__}: {error}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswer(f"{what} at {url}: {error}") from error
    said = f"it answers {reply.status_code}: {_without(key, reply.text)[:200]}"
    if reply.status_code == 429 or reply.status_code >= 500:
        asked = reply.headers.get("Retry-After", "")
        raise _Again(said, float(asked) if asked.isdigit() else 0.0)
    if reply.status_code != 200:  # a wrong path, key or body: asking again changes nothing
        raise NoAnswer(f"{what} at {url}: {said}")
    try:
        return reply.json()
    except ValueError as error:
        raise NoAnswer(f"{what} at {url}: its answer is not JSON: {reply.text[:100]!r}") from error


def _without(key: str | None, text: str) -> str:
    """Servers quote the key they refuse."""
    return text.replace(key, "***") if key else text


@cache
def _client() -> Any:
    """One per process: connections are kept, and any thread may use it."""
    import httpx

    return httpx.Client(limits=httpx.Limits(max_connections=256))
