"""What a server answers -> completions, each under the weights it should be of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.begun import as_it_is, joined
from rlvr_cli.rollout.engine import Request, SyncError
from rlvr_cli.rollout.text import ResponseText


class Answers:
    """`run`: the name that begins all stamps of this run; `strict`: all tokens are of the current weights."""

    def __init__(self, text: ResponseText, *, run: str, strict: bool) -> None:
        self._text, self._run, self._strict = text, run, strict

    def completion(
        self,
        answer: dict[str, Any],
        request: Request,
        sample: int,
        stop: Sequence[str],
        *,
        stamp: str,
        server: str,
    ) -> Completion:
        """Of one sample, with what had been begun of it. SyncError where other weights have sampled it."""
        [choice] = answer["choices"]
        tokens = np.asarray(choice["token_ids"], np.int32)
        content = (choice["logprobs"] or {}).get("content") or []
        aborted = choice["finish_reason"] == "abort"
        rest = Completion(
            tokens=tokens,
            logprobs=np.asarray([number(each["logprob"]) for each in content], np.float32),
            text="" if aborted else self._text(tokens.tolist()),
            finished=choice["finish_reason"] == "stop",
            versions=self._versions(choice.get("weight_versions") or [], len(tokens), stamp, server),
            partial=aborted,
        )
        return joined(request, sample, rest, self._text, stop)

    def unasked(self, request: Request, sample: int, *, partial: bool) -> Completion:
        """A sample for which no server was asked; `partial`: it could have gone on."""
        if not partial:
            return as_it_is(request, sample, self._text)
        none = np.zeros(0, np.int32)
        rest = Completion(
            tokens=none, logprobs=np.zeros(0, np.float32), text="", finished=False, partial=True
        )
        return joined(request, sample, rest, self._text, ())

    def _versions(self, spans: list[dict[str, Any]], length: int, stamp: str, server: str) -> np.ndarray:
        """The version of each token, or none where all are the current ones."""
        versions = np.full(length, -1, np.int32)
        for span in spans:
            name = str(span["version"])
            if (self._strict and name != stamp) or not name.startswith(f"{self._run}."):
                raise SyncError(f"{server} has sampled with weights {name}, and {stamp} were asked for")
            versions[span["start"] : span["end"]] = int(name.rpartition(".")[2])
        if (versions < 0).any():
            raise SyncError(f"{server} does not say which weights have sampled each token")
        return versions[:0] if self._strict else versions


def number(logprob: float) -> float:
    """vLLM writes -9999 where a logprob is no number or minus infinity, which JSON does not have."""
    return math.nan if logprob <= -9999.0 else float(logprob)
