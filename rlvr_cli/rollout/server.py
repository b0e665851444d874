"""The engine interface on an OpenAI-compatible server: only samples, so only for evaluation.

Prompts go to `/completions` as token ids, which the API allows and vLLM, SGLang and llama.cpp take: the
server sees the very tokens a local engine would. Each sample is a request with a seed of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import httpx
import numpy as np
from torch import Tensor

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import OnOneRank, Request, Sampling, never, nothing_more
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.schema import Server
from rlvr_cli.vision.processor import Patches

ATTEMPTS = 5
"""Tries of a request that meets 429, 5xx or a broken connection, 1, 2, 4, 8 times `pause` apart."""


class ServerEngine(OnOneRank):
    """`server.connections` requests at once; what fails for good ends the evaluation with one line."""

    path = "/completions"
    beside = False

    def __init__(self, server: Server, *, model: str, tokenizer: Any, pause: float = 1.0) -> None:
        assert server.url is not None
        self.url, self.model = server.url.rstrip("/"), server.model or model
        self.tokenizer, self.pause, self.connections = tokenizer, pause, server.connections
        if tokenizer is not None:
            self.text = ResponseText(tokenizer)
        self.answered = False
        key = os.environ.get(server.key)
        self.key_name = server.key
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(server.timeout_s, connect=10),
            limits=httpx.Limits(max_connections=server.connections),
        )
        self._check_model()

    def _check_model(self) -> None:
        """The server is there and has the model. Some servers list none: that is no error."""
        listed = [str(entry.get("id")) for entry in self._call("GET", "/models").get("data") or []]
        if listed and self.model not in listed:
            raise UserError(f"server.model: {self.url} has no model '{self.model}'{hint(self.model, listed)}")

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        if enough is not never or more is not nothing_more or any(request.begun for request in requests):
            raise NotImplementedError("a server evaluates, and ends what it begins")
        got: dict[int, list[Any]] = {request.key: [None] * request.samples for request in requests}
        wanted = ((request, number) for request in requests for number in range(request.samples))
        for request, number, sample in self.samples(wanted, sampling):
            got[request.key][number] = sample
            if all(each is not None for each in got[request.key]):
                yield request.key, got.pop(request.key)

    def samples(
        self, wanted: Iterable[tuple[Request, int]], sampling: Sampling
    ) -> Iterator[tuple[Request, int, Completion]]:
        """One sample for each (request, its number), as they come; `connections` are under way at once, and
        `wanted` is asked for the next when there is a place for it.

        Where one fails for good no further begins. What is under way is paid for: it is yielded before the
        failure is raised.
        """
        left, failure = iter(wanted), None
        running: dict[Future[Completion], tuple[Request, int]] = {}
        pool = ThreadPoolExecutor(self.connections)
        try:
            while True:
                while failure is None and len(running) < self.connections:
                    if (pair := next(left, None)) is None:
                        break
                    running[pool.submit(self._sample, *pair, sampling)] = pair
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    request, number = running.pop(future)
                    if (error := future.exception()) is None:
                        yield request, number, future.result()
                    else:
                        failure = failure or error
        finally:  # also when the caller stops early
            pool.shutdown(wait=True, cancel_futures=True)
        if failure is not None:
            raise failure

    def _sample(self, request: Request, number: int, sampling: Sampling) -> Completion:
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            **self.body(request, number, sampling),
        }
        if request.seed is not None:
            body["seed"] = (request.seed + number) % 2**31  # servers differ in how large a seed may be
        if sampling.stop:
            body["stop"] = sampling.stop
        answer = self._call("POST", self.path, body)
        try:
            choice = answer["choices"][0]
            text, reason = self.text_of(choice), choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UserError(f"server.url: {self.url} gives no completion: {answer!r:.200}") from None
        usage = answer.get("usage") or {}
        used, asked = usage.get("completion_tokens"), usage.get("prompt_tokens")
        length = int(used) if used is not None else self._count(text)
        return Completion(
            tokens=np.zeros(length, np.int32),  # their number is all that is known for sure
            logprobs=np.zeros(0, np.float32),
            text=self.text.trimmed(text) if self.tokenizer is not None else text,
            finished=reason != "length",
            prompt_length=None if asked is None else int(asked),
        )

    def body(self, request: Request, number: int, sampling: Sampling) -> dict[str, Any]:
        """What asks for one sample, but for the keys that all APIs have."""
        return {
            "prompt": request.tokens,
            "max_tokens": request.limit(sampling),
            # vLLM's and SGLang's; others have no such key, and leave out special tokens or not.
            "skip_special_tokens": False,
        }

    def text_of(self, choice: dict[str, Any]) -> str:
        return str(choice["text"])

    def _count(self, text: str) -> int:
        """Tokens of a response that the server has not counted."""
        if self.tokenizer is None:
            raise UserError(
                f"server.url: {self.url} does not say how many tokens a response has "
                "(usage.completion_tokens); give a model folder with a tokenizer as --model, and the name "
                "there as server.model"
            )
        return len(self.tokenizer(text)["input_ids"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        trouble = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                response = self.client.request(method, self.url + path, json=body)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}"
                if method == "GET":  # the first contact: a wrong address should not take half a minute
                    break
                continue
            if response.status_code in (429, 500, 502, 503, 504):
                trouble = f"HTTP {response.status_code}"
                continue
            self.answered = True
            return self._content(response, path)
        asked = "is the server running, and does the address end in /v1?"
        if self.answered:
            asked = "it has answered before: start it again, and the same command goes on"
        raise UserError(f"server.url: {self.url}{path} cannot be reached ({trouble}); {asked}")

    def _content(self, response: httpx.Response, path: str) -> dict[str, Any]:
        code = response.status_code
        if code in (401, 403):
            raise UserError(f"server.key: {self.url} refuses access (HTTP {code}); set {self.key_name}")
        if code == 404 and path == "/models":
            return {}
        try:
            content = response.json()
        except ValueError:
            content = None
        if code >= 400 or not isinstance(content, dict):
            text = " ".join(response.text.split())[:200]
            if code in (404, 405) and path == "/completions":
                text += "; a server that speaks chat only is asked with server.api=chat"
            raise UserError(f"server.url: {self.url}{path} answers HTTP {code}: {text}")
        return content

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        raise NotImplementedError("a server has its own weights")

    def probe(self, tokens: list[int]) -> list[float]:
        raise NotImplementedError("a server is not compared with a trainer")

    def image_gap(self, tokens: list[int], ours: Patches) -> float | None:
        raise NotImplementedError("a server is not compared with a trainer")

    def sleep(self) -> None:
        """Its memory is its own affair."""

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.client.close()
