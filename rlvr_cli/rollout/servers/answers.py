"""What a server answers -> completions, each under the weights it should be of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.begun import as_it_is, joined
from rlvr_cli.rollout.engine import Request, SyncError
from rlvr_cli.rollout.servers.frames import Answer
from rlvr_cli.rollout.text import ResponseText


class Answers:
    """`run`: the name that begins all stamps of this run; `strict`: all tokens are of the current weights."""

    def __init__(self, text: ResponseText, *, run: str, strict: bool) -> None:
        self._text, self._run, self._strict = text, run, strict

    def completion(
        self,
        answer: Answer,
        request: Request,
        stop: Sequence[str],
        *,
        stamp: str,
        server: str,
    ) -> Completion:
        """Of one sample, with what had been begun of it. SyncError where other weights have sampled it."""
        aborted = answer.finish == "abort"
        rest = Completion(
            tokens=answer.tokens.astype(np.int32),
            logprobs=answer.logprobs.astype(np.float32),
            text="" if aborted else self._text(answer.tokens.tolist()),
            finished=answer.finish == "stop",
            versions=self._versions(answer, stamp, server),
            partial=aborted,
        )
        return joined(request, answer.number, rest, self._text, stop)

    def unasked(self, request: Request, sample: int, *, partial: bool) -> Completion:
        """A sample for which no server was asked; `partial`: it could have gone on."""
        if not partial:
            return as_it_is(request, sample, self._text)
        none = np.zeros(0, np.int32)
        rest = Completion(
            tokens=none, logprobs=np.zeros(0, np.float32), text="", finished=False, partial=True
        )
        return joined(request, sample, rest, self._text, ())

    def _versions(self, answer: Answer, stamp: str, server: str) -> np.ndarray:
        """The version of each token, or none where all are the current ones."""
        versions = np.full(len(answer.tokens), -1, np.int32)
        for name, start, end in answer.versions:
            if (self._strict and name != stamp) or not name.startswith(f"{self._run}."):
                raise SyncError(f"{server} has sampled with weights {name}, and {stamp} were asked for")
            versions[start:end] = int(name.rpartition(".")[2])
        if (versions < 0).any():
            raise SyncError(f"{server} does not say which weights have sampled each token")
        return versions[:0] if self._strict else versions
