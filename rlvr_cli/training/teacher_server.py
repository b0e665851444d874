"""A teacher behind an OpenAI-compatible `/v1/completions` that answers with prompt logprobs, as vLLM's does.

Each sequence is one request: its ids as prompt, one token that nobody looks at, and the logprobs of the ids
given those before, at temperature 1, with the k most probable tokens beside each. A server that is down or
busy is waited for up to `teacher.wait_s`; after that, or where it refuses, all ranks raise NoTeacher
together, before an update has begun: the run saves, and its next start asks for the same samples again.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from http.client import HTTPException
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError, told
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.engine.teacher import Known
from rlvr_cli.schema import Teacher
from rlvr_cli.training.stop import NoVerdict
from rlvr_cli.verifiers.outage import LOOK_S, Outage

BUSY = (408, 425, 429, 500, 502, 503, 504)
SHOWN = 300
"""Characters of a server's complaint."""
PIECE = 512
"""Token ids whose text is asked for at once."""


class NoTeacher(NoVerdict):
    """The teacher is silent or refuses, and why."""


class Refused(Exception):
    """The server does not do what it is asked; asked again it would say the same."""


class Unreachable(Exception):
    """The server is not there, or too busy."""


class ServerTeacher:
    """What `engine.teacher.Teacher` is, at another place: no memory here, nothing that sleeps."""

    def __init__(self, settings: Teacher, top_k: int | None, say: Callable[[str], None]) -> None:
        """`top_k`: tokens beside the sampled one; None: none. `say`: told when the server is waited for.

        UserError where the server cannot be asked.
        """
        self.settings, self.top_k, self.say = settings, top_k or 0, say
        self._key = None
        if settings.key is not None and not (key := os.environ.get(settings.key)):
            raise UserError(f"teacher.key: the environment variable {settings.key} is not set")
        elif settings.key is not None:
            self._key = key
        self._outage, self._lock = Outage(settings.wait_s), threading.Lock()
        listed = self._at_start(partial(self._send, "models"))["data"]
        names = [model["id"] for model in listed]
        if settings.model is not None and settings.model not in names:
            raise UserError(
                f"teacher.model: {settings.url} has no '{settings.model}', it has: {', '.join(names)}"
            )
        self.model = settings.model or names[0]
        longest = next(m for m in listed if m["id"] == self.model).get("max_model_len")
        self.room = int(longest) - 1 if longest else 10**9
        """Most tokens it reads: one more is sampled."""

    def check(self, tokenizer: Any) -> None:
        """UserError where its tokens are not the policy's, all of them, or it gives no such logprobs."""
        url = str(self.settings.url).removesuffix("/").removesuffix("/v1")
        ids = list(range(len(tokenizer)))
        for begin in range(0, len(ids), PIECE):
            piece = ids[begin : begin + PIECE]
            body = {"model": self.model, "tokens": piece}
            theirs = self._at_start(partial(self._send, f"{url}/detokenize", body))["prompt"]
            if theirs != tokenizer.decode(piece):
                raise UserError(
                    f"teacher.url: the tokens of '{self.model}' at {self.settings.url} are not the "
                    "policy's (ids "
                    f"{begin} to {begin + len(piece) - 1} stand for other text); choose a teacher with its "
                    "tokenizer"
                )
        probe = np.arange(4, 4 + 3, dtype=np.int32) % len(tokenizer)
        self._at_start(partial(self._patiently, probe))

    def _at_start(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (Refused, Unreachable) as error:
            raise UserError(f"teacher.url: {error}") from None

    # ---------------------------------------------------------------- what a step asks

    may_fail = True

    def sleep(self) -> None: ...

    def at_hand(self) -> AbstractContextManager[None]:
        return nullcontext()

    def logprobs(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, owners: list[int] | None = None
    ) -> Tensor:
        """Flat _N logprobs of the trained tokens, on the CPU of every rank. `owners`: as in `Batch`."""
        counts = [int(mask.sum()) for mask in trained]
        found = torch.zeros(len(counts) and sum(counts))
        spans = torch.arange(sum(counts)).split(counts)
        for row, (spoken_n, _, _) in self._answers(sequences, trained, owners).items():
            found[spans[row]] = spoken_n
        return found if owners is None else distributed.sum_over_ranks(found)

    def read(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        places: Tensor,
        total: int,
        owners: list[int] | None = None,
    ) -> Known:
        """As `engine.teacher.Teacher.read`: what it says of this rank's share of the sequences."""
        spans = places.split([int(mask.sum()) for mask in trained])
        answers = self._answers(sequences, trained, owners)
        rows_N, count = torch.full((total,), -1, dtype=torch.int64), 0
        for row, (spoken_n, _, _) in answers.items():
            rows_N[spans[row]] = torch.arange(count, count + len(spoken_n))
            count += len(spoken_n)
        spoken, ids, logprobs = (
            torch.cat([a[i] for a in answers.values()] or [torch.zeros(0)]) for i in range(3)
        )
        return Known(rows_N=rows_N, ids_nk=ids, logprobs_nk=logprobs, spoken_n=spoken)

    def _answers(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], owners: list[int] | None
    ) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """Of each of this rank's sequences: logprobs of the trained tokens, ids and logprobs of the k
        others."""
        mine = [r for r in range(len(sequences)) if owners is None or owners[r] == distributed.rank()]
        found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        error: str | None = None
        with ThreadPoolExecutor(self.settings.connections) as pool:
            asked = {row: pool.submit(self._patiently, sequences[row]) for row in mine}
            try:
                for row, future in asked.items():
                    while not future.done():
                        self._tell()
                        heart.beat()
                        time.sleep(0.002)
                    found[row] = tuple(x[torch.from_numpy(trained[row])] for x in future.result())  # type: ignore[assignment]
            except (Refused, Unreachable) as failure:
                error = str(failure)
                pool.shutdown(cancel_futures=True)
        if failures := [each for each in distributed.gather(error) if each is not None]:
            raise NoTeacher(f"the teacher at {self.settings.url} does not answer: {failures[0]}")
        return found

    def _tell(self) -> None:
        with self._lock:
            notice = self._outage.notice()
        if notice is not None:
            self.say(f"teacher: {notice}")

    def _patiently(self, sequence: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        while True:
            with self._lock:
                wait = self._outage.again_at - time.monotonic() if self._outage.going_on else 0.0
                if self._outage.hopeless:
                    raise Unreachable(self._outage.detail)
            if wait > 0:
                time.sleep(min(wait, LOOK_S))
                continue
            try:
                answer = self._ask(sequence)
            except Unreachable as error:
                with self._lock:
                    self._outage.failed(str(error))
                continue
            with self._lock:
                self._outage.over()
            return answer

    # ---------------------------------------------------------------- the wire

    def _ask(self, sequence: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """[T] logprobs of the sequence's tokens, [T, k] ids and logprobs of the most probable; 0 at the
        first."""
        ids = sequence.tolist()
        body = {"model": self.model, "prompt": ids, "max_tokens": 1, "prompt_logprobs": self.top_k}
        try:
            said = self._send("completions", body)["choices"][0]["prompt_logprobs"]
            if len(said) != len(ids):
                raise Refused(f"{len(said)} prompt logprobs for {len(ids)} tokens")
            rows = [entries(each, token, self.top_k) for each, token in zip(said[1:], ids[1:], strict=True)]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise Refused(f"an answer without the prompt_logprobs that were asked for ({error!r})") from None
        spoken = torch.tensor([0.0, *(spoken for spoken, _, _ in rows)])
        best = torch.tensor([[0] * self.top_k, *(best for _, best, _ in rows)], dtype=torch.int64)
        known = torch.tensor([[0.0] * self.top_k, *(known for _, _, known in rows)])
        return spoken, best, known

    def _send(self, path: str, body: dict[str, Any] | None = None) -> Any:
        url = path if "://" in path else f"{str(self.settings.url).removesuffix('/')}/{path}"
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self.settings.timeout_s) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = told(error.read().decode("utf-8", "replace"))[:SHOWN]
            kind = Unreachable if error.code in BUSY else Refused
            raise kind(f"{url} says {error.code}: {said}") from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{url} cannot be reached ({told(getattr(error, 'reason', error))})") from None
        except ValueError:
            raise Refused(f"{url} answers with something else than JSON") from None


def entries(said: dict[str, dict[str, Any]], token: int, top_k: int) -> tuple[float, list[int], list[float]]:
    """A position's logprobs: of the token itself, and ids and logprobs of the k most probable, in that order.

    ValueError where one of them is missing.
    """
    known = {int(number): float(entry["logprob"]) for number, entry in said.items()}
    best = sorted(known, key=lambda number: (-known[number], number))[:top_k]
    if token not in known or len(best) < top_k:
        raise ValueError(f"{len(known)} logprobs at a position, {top_k} are wanted and the token's own")
    return known[token], best, [known[number] for number in best]
