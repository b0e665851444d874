"""What verifiers that ask a language model share: an OpenAI-compatible server, retries, outages, refusals.

Its workers are its own (`limits`): each waits for one answer at a time, so `concurrency` of them keep as
many requests in flight and the other verifiers never queue behind a slow server. Unlike other verifiers a
judge is no function of its arguments: servers differ from themselves even at temperature 0.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.templates import fill as fill
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.answer import Unreachable

BACKOFF_S = 0.5
"""Pause before the first retry; it doubles with each, with up to half of it added at random."""


class NoAnswer(Exception):
    """The server did not answer; carries how long it asks to be left alone, below 0: for good."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class Late(NoAnswer):
    """The server is there, and has not answered in time."""


class NotUnderstood(NoAnswer):
    """The server refuses this request: 400, 413 or 422."""


@dataclass(kw_only=True)
class ChatServer:
    """A judge's server, and how it is asked."""

    base_url: str
    """Up to and without /chat/completions, e.g. http://localhost:8000/v1."""
    model: str
    """Name of the judge on that server."""
    api_key_env: str | None = None
    """Environment variable that holds the key; null: the server wants none."""
    temperature: float = 0.0
    """Of the judge."""
    max_tokens: int = 1024
    """Of the judge's answer."""
    max_chars: int = 20_000
    """Longer responses are shown to the judge without their beginning."""
    concurrency: int = 8
    """Requests at a time."""
    retries: int = 4
    """Further attempts after a failed connection, 429 or 5xx."""
    timeout_s: float = 60.0
    """Seconds for a verdict, retries included."""
    wait_s: float = 120.0
    """Seconds a server that is down or too busy is waited for after that, before verdicts are given up."""
    waits: ClassVar[bool] = True

    def check_server(self) -> None:
        """ValueError for settings no server can be asked with."""
        if not re.match(r"https?://[^/\s]", self.base_url):
            raise ValueError(f"base_url is '{self.base_url}'; it must begin with http:// or https://")
        for key in ("max_tokens", "max_chars", "concurrency", "timeout_s"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be above 0")
        for key in ("retries", "wait_s"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 0")

    def limits(self, config: Verification) -> Verification:
        self.demand_key()
        return replace(config, workers=self.concurrency, timeout_s=self.timeout_s + 5)

    def demand_key(self) -> None:
        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            name = getattr(self, "name", "judge")
            raise UserError(f"{name}: api_key_env: the environment variable {self.api_key_env} is not set")

    def deadline(self) -> float:
        return time.monotonic() + self.timeout_s

    def asked(
        self, template: str, values: dict[str, str], short: dict[str, str], read: Callable[[str], Verdict]
    ) -> Verdict:
        """`read` of the judge's answer to the filled template, or why there is none.

        `short`: values with which the judge must answer if its refusal is the response's doing.
        Raises Unreachable where the server is down.
        """
        try:
            said = self.reply(fill(template, values), self.deadline())
        except NoAnswer as error:
            return self.failure(error, lambda: self.reply(fill(template, values | short), self.deadline()))
        return read(said)

    def failure(self, error: NoAnswer, ask_short: Callable[[], object]) -> Verdict:
        """The verdict where a judge has not answered; `ask_short`: the same of a short response."""
        reason = Reason.crash
        if isinstance(error, Late):
            reason = Reason.timeout
        elif isinstance(error, NotUnderstood):
            reason = self._who_caused(ask_short)
        elif error.pause_s >= 0:
            raise Unreachable(f"the judge at {self.base_url}: {self.without_key(str(error))}") from error
        return Verdict(score=0.0, reason=reason, detail=self.without_key(str(error))[:300])

    def _who_caused(self, ask_short: Callable[[], object]) -> Reason:
        """Of a refused request: the response, if the judge answers the same with a short one."""
        try:
            ask_short()
        except NoAnswer:
            return Reason.crash
        return Reason.refused

    def reply(self, prompt: str, deadline: float) -> str:
        """The judge's answer; NoAnswer where there is none by then and after all attempts."""
        pause = BACKOFF_S
        for attempt in range(self.retries + 1):
            try:
                return self._request(prompt, deadline)
            except NoAnswer as error:
                wait = max(pause * (1 + random.random() / 2), error.pause_s)
                if error.pause_s < 0:
                    raise
                if attempt == self.retries or time.monotonic() + wait >= deadline:
                    raise
            time.sleep(wait)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _request(self, prompt: str, deadline: float) -> str:
        import httpx

        key = os.environ.get(self.api_key_env) if self.api_key_env else None
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        try:
            reply = _client().post(
                f"{self.base_url.rstrip('/')}/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=max(0.05, deadline - time.monotonic()),
            )
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise Late(f"no verdict within {self.timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        if reply.status_code == 429 or reply.status_code >= 500:
            raise NoAnswer(_status(reply), _seconds(reply.headers.get("Retry-After")))
        if reply.status_code in (400, 413, 422):
            raise NotUnderstood(_status(reply), -1.0)
        if reply.status_code != 200:  # a wrong key, a wrong model: asking again changes nothing
            raise NoAnswer(_status(reply), -1.0)
        try:
            return str(reply.json()["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError) as error:
            raise NoAnswer("the server's reply is no chat completion", -1.0) from error

    def without_key(self, text: str) -> str:
        """Servers quote the key they refuse."""
        key = os.environ.get(self.api_key_env or "")
        return text.replace(key, "***") if key else text


def question(extra: dict[str, Any]) -> str:
    """The problem as its data set has it; of a chat, the last user message."""
    prompt = extra.get("prompt", "")
    if isinstance(prompt, str):
        return prompt
    return next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")


@cache
def _client() -> Any:
    """One per process: connections are kept."""
    import httpx

    return httpx.Client()


def _status(reply: Any) -> str:
    return f"the server answers {reply.status_code}: {reply.text[:200]}"


def _seconds(header: str | None) -> float:
    """`Retry-After` in seconds; its other form, a date, is not waited for."""
    return float(header) if header is not None and header.isdigit() else 0.0
