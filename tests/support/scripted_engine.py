"""An engine that says what it is told to, and problems for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.rollout.engine import OnOneRank, Request, Sampling, never, nothing_more
from rlvr_cli.rollout.text import ResponseText


@dataclass
class ScriptedEngine(OnOneRank):
    """Answers requests one by one with what `say` makes of them: token ids, and whether they ended."""

    tokenizer: Any
    eos: list[int]
    say: Callable[[Request], tuple[list[int], bool]]
    asked: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = ResponseText(self.tokenizer, self.eos)

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        waiting = list(requests)
        while waiting or (waiting := more(True)):
            request = waiting.pop(0)
            self.asked.append(request)
            yield request.key, [self._completion(request) for _ in range(request.samples)]
            waiting += more(False)

    def _completion(self, request: Request) -> Completion:
        tokens, finished = self.say(request)
        cut = tokens[: request.max_tokens]
        return Completion(
            tokens=np.asarray(cut, np.int32),
            logprobs=np.asarray([-float(request.key) - n / 100 for n in range(len(cut))], np.float32),
            text=self.text(cut),
            finished=finished and len(cut) == len(tokens),
        )

    def close(self) -> None:
        pass


def problem(
    number: int = 0, *, tokens: list[int], environment: str | None = "scripted", **row: Any
) -> Problem:
    return Problem(
        id=f"p{number}",
        prompt="",
        tokens=tokens,
        answer=str(row.pop("answer", "")),
        source="train",
        verifiers=[],
        extra=row,
        messages=[{"role": "user", "content": "Q"}],
        environment=environment,
    )


def request(key: int, asked: Problem, *, samples: int = 1, seed: int | None = 7) -> Request:
    return Request(key=key, tokens=asked.tokens, samples=samples, seed=seed, problem=asked)


SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=400)
