"""Whom a policy is to learn from, beside its verifiers."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import Enum


class TeacherPolicy(Enum):
    start = "start"
    live = "live"
    ema = "ema"


class Context(Enum):
    none = "none"
    demonstration = "demonstration"
    sibling = "sibling"


@dataclass(kw_only=True)
class Teacher:
    """The teacher of `algorithm/distillation` (docs/distillation.md): `path`, `policy` or `url` says
    which."""

    path: str | None = None
    """A model in this process, frozen: folder, hub id or run directory. Its tokens must be the policy's."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    policy: TeacherPolicy | None = None
    """The policy as its own teacher, which must then know more (`context`): as it was at the start, as it is
    (live), or a moving average of its weights (ema)."""
    ema: float = 0.05
    """Of policy=ema: share of the present weights that the average takes in after each step."""
    url: str | None = None
    """Base URL up to `/v1` of a server whose `/completions` answers with `prompt_logprobs` (vLLM)."""
    model: str | None = None
    """Name of the model there; null: the first it lists."""
    key: str | None = None
    """Environment variable that holds the server's key; null: it wants none."""
    connections: int = 16
    """Requests at once, of each rank."""
    timeout_s: float = 120.0
    """Longest wait for one answer."""
    wait_s: float = 300.0
    """Seconds a server that is down or busy is waited for before the run saves and stops."""
    context: Context = Context.none
    """What the teacher reads and the policy does not: nothing; a demonstration, from a column of the row; or
    a successful answer of the same group, never the sample's own. Samples without one learn nothing from
    it."""
    column: str = "solution"
    """Of context=demonstration: the column, as the data set names it; `answer` is the gold answer."""
    feedback: bool = False
    """Of context=sibling: also what the first verifier said of the sample's own failure (its `detail`)."""
    threshold: float = 1.0
    """Of context=sibling: score of the first verifier from which an answer is successful."""
    remove_thinking: bool = False
    """Of context=sibling: leave out what it thinks, up to </think>."""
    template: str = (
        "{prompt}\n\nThis is an example of a correct response:\n{context}\n\n"
        "Now answer with a response of your own."
    )
    """The teacher's user message, around the problem and the context."""

    def __post_init__(self) -> None:
        given = [key for key in ("path", "policy", "url") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"teacher.{given[1]} is set beside teacher.{given[0]}; keep one of them")
        if not given:
            for field in fields(self):
                if getattr(self, field.name) != field.default:
                    raise ValueError(
                        f"teacher.{field.name} is set, and there is no teacher; set teacher.path, "
                        "teacher.policy or "
                        "teacher.url"
                    )
        if self.url is not None and not re.match(r"https?://[^/\s]", self.url):
            raise ValueError(f"teacher.url is '{self.url}'; it must begin with http:// or https://")
        if not 0 < self.ema <= 1:
            raise ValueError(f"teacher.ema is {self.ema}; it must be in (0, 1]")
        for key in ("connections", "timeout_s"):
            if getattr(self, key) <= 0:
                raise ValueError(f"teacher.{key} is {getattr(self, key)}; it must be above 0")
        if self.wait_s < 0:
            raise ValueError(f"teacher.wait_s is {self.wait_s}; it must be at least 0")
        for part in ("{prompt}", "{context}"):
            if self.context is not Context.none and part not in self.template:
                raise ValueError(f"teacher.template lacks {part}")

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return not (self.path is None and self.policy is None and self.url is None)
