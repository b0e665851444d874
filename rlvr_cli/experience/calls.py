"""`calls.jsonl`: every answer of a model, and every verdict, on disk before anything is made of it.

What was asked is part of a row's name: the same question is never paid for twice, whatever happened in
between, and another question is never answered by an old row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rlvr_cli.core.files import sync_directory
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.tracking.journal import read_rows, to_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question to a model."""

    name: str
    """`2/summary/17/3/0`: step, stage, problem, sample, attempt."""
    asked: str
    """Digest of all that the answer depends on."""
    request: Request
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said."""

    text: str
    finished: bool
    tokens: int
    """Of the answer."""
    prompt_tokens: int
    """Of the question; 0 where nobody counts them."""


class Answers(Protocol):
    """What answers calls: a model."""

    def answers(self, calls: Iterable[Call]) -> Iterator[tuple[Call, Answer]]:
        """As they come; the next call is taken when there is a place for it."""


class Stopped(Exception):
    """No further call begins: a budget is used up, or somebody has asked to stop. Says which."""


def digest(*parts: Any) -> str:
    """Of all that an answer depends on."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


class Ledger:
    """The file: rows are appended, each with an fsync; a line that a kill has torn is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self.rows = {(str(row["call"]), str(row["asked"])): row for row in read_rows(path)}
        answers = [row for row in self.rows.values() if "text" in row]
        self.calls = len(answers)
        """Answers that were paid for."""
        self.tokens = sum(int(row["tokens"]) + int(row["prompt_tokens"]) for row in answers)
        """Of all questions and answers."""
        self.fresh = 0
        """Rows that this process has added."""

    def find(self, name: str, asked: str) -> dict[str, Any] | None:
        return self.rows.get((name, asked))

    def keep(self, name: str, asked: str, **content: Any) -> dict[str, Any]:
        """On the disk when this returns."""
        row = {"call": name, "asked": asked, **content}
        if self._file is None:
            self._file = self._open()
        self._file.write(to_line(row).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[name, asked] = row
        self.fresh += 1
        if "text" in content:
            self.calls += 1
            self.tokens += int(content["tokens"]) + int(content["prompt_tokens"])
        return row

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.read_bytes().rfind(b"\n") + 1 if self.path.exists() else 0
        mode = "r+b" if self.path.exists() else "wb"
        file: BinaryIO = open(self.path, mode)  # type: ignore[assignment]  # noqa: SIM115 (open until close())
        file.truncate(whole)
        file.seek(whole)
        sync_directory(self.path.parent)
        return file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(slots=True, kw_only=True)
class Till:
    """Gives out calls until a budget is used up or `stop` says so; what is answered is in the ledger."""

    ledger: Ledger
    call_budget: int | None = None
    token_budget: int | None = None
    stop: Callable[[], bool] = lambda: False
    advance: Callable[[str, int, int], None] = lambda stage, done, total: None
    """Told of a stage how many of its calls are answered."""

    def answers(self, model: Answers, stage: str, calls: list[Call]) -> dict[str, Answer]:
        """Name -> answer of each call: of the ledger, or else of the model. Stopped where some have none."""
        found: dict[str, Answer] = {}
        missing = []
        for call in calls:
            row = self.ledger.find(call.name, call.asked)
            if row is None:
                missing.append(call)
            else:
                found[call.name] = answer_of(row)
        begun = self.ledger.calls

        def given() -> Iterator[Call]:
            nonlocal begun
            for call in missing:
                if self.why(begun) is not None:
                    return
                begun += 1
                yield call

        for call, answer in model.answers(given()):
            row = self.ledger.keep(
                call.name,
                call.asked,
                prompt_tokens=answer.prompt_tokens,
                tokens=answer.tokens,
                finished=answer.finished,
                text=answer.text,
            )
            found[call.name] = answer_of(row)
            self.advance(stage, len(found), len(calls))
        if len(found) < len(calls):
            raise Stopped(f"{self.why(begun)}; {len(found)} of {len(calls)} calls of {stage} are answered")
        return found

    def why(self, begun: int) -> str | None:
        """Why no further call begins, if none does."""
        if self.call_budget is not None and begun >= self.call_budget:
            return f"algorithm.call_budget={self.call_budget} is used up"
        if self.token_budget is not None and self.ledger.tokens >= self.token_budget:
            return f"algorithm.token_budget={self.token_budget} is used up"
        return "stopped" if self.stop() else None


def answer_of(row: dict[str, Any]) -> Answer:
    """As it stands in the ledger: what is used is what was written."""
    return Answer(
        text=str(row["text"]),
        finished=bool(row["finished"]),
        tokens=int(row["tokens"]),
        prompt_tokens=int(row["prompt_tokens"]),
    )
