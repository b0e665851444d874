"""Samples of a benchmark that are there already: of a killed evaluation, or of a finished one.

An engine that replays them stands before the real one, so that resuming and scoring anew run the same
code as any evaluation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.episode_rows import episode_of, row_of
from rlvr_cli.core.probes import probes_of
from rlvr_cli.core.probes import row_of as probe_row
from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.rollout.engine import never

Stored = dict[int, list[Completion]]
"""Problem's index -> its samples; their token ids and logprobs are gone, their number is not."""


class Replay:
    """Yields what is stored; asks the engine for the rest and hands that to `keep(index, samples)`."""

    def __init__(
        self,
        stored: Stored,
        indices: list[int],
        engine: Engine | None = None,
        keep: Callable[[int, list[Completion]], None] = lambda index, samples: None,
    ) -> None:
        self.stored, self.indices, self.engine, self.keep = stored, indices, engine, keep

    @property
    def leader(self) -> bool:
        return self.engine is None or self.engine.leader

    def agreed(self, answer: bool) -> bool:
        return answer if self.engine is None else self.engine.agreed(answer)

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Requests have the positions in `indices` as keys."""
        assert enough is never, "what is kept is whole"
        missing = []
        for request in requests:
            samples = self.stored.get(self.indices[request.key], [])
            if len(samples) == request.samples:
                yield request.key, samples
            else:
                missing.append(request)
        if not missing:
            return
        assert self.engine is not None  # without an engine everything is stored
        for key, samples in self.engine.generate(missing, sampling):
            if self.leader:
                self.keep(self.indices[key], samples)
            yield key, samples


class Partial:
    """`<bench>.partial.<rank>.jsonl`: problems as they are finished, under a line that says of what.

    A kill may cut the last line: it is dropped. Files with another fingerprint are replaced.
    """

    def __init__(self, folder: Path, bench: str, fingerprint: str, rank: int) -> None:
        self.folder, self.bench, self.fingerprint = folder, bench, fingerprint
        self.path = folder / f"{bench}.partial.{rank}.jsonl"
        self._file: Any = None

    def files(self) -> list[Path]:
        """Of all ranks: another start may deal the problems over more or fewer of them."""
        return sorted(self.folder.glob(f"{self.bench}.partial.*.jsonl"))

    def rows(self) -> list[dict[str, Any]]:
        """What was appended, by all ranks."""
        return [row for head, rows in self._parts() if head == self.fingerprint for row in rows]

    def others(self) -> int:
        """How many there are of something else, which `append` would replace."""
        return sum(len(rows) for head, rows in self._parts() if head != self.fingerprint)

    def _parts(self) -> Iterator[tuple[str | None, list[dict[str, Any]]]]:
        """(fingerprint, rows) of each file."""
        for file in self.files():
            head, *rows = _whole_lines(file.read_bytes()) or [{}]
            yield head.get("fingerprint"), rows

    def load(self) -> Stored:
        return {row["index"]: completions(row) for row in self.rows()}

    def append(self, row: dict[str, Any]) -> None:
        """On disk, as far as a killed process is concerned, when this returns."""
        if self._file is None:
            self._open()
        self._write(row)

    def keep(self, index: int, samples: list[Completion]) -> None:
        """Append the samples of a problem."""
        self.append({"index": index} | fields(samples))

    def _open(self) -> None:
        lines = _whole_lines(self.path.read_bytes()) if self.path.exists() else []
        same = bool(lines) and lines[0].get("fingerprint") == self.fingerprint
        self.folder.mkdir(parents=True, exist_ok=True)
        if same:
            content = self.path.read_bytes()
            self._file = open(self.path, "r+b")  # noqa: SIM115 - stays open until close()
            self._file.truncate(content.rfind(b"\n") + 1)
            self._file.seek(0, 2)
        else:
            self._file = open(self.path, "wb")  # noqa: SIM115
            self._write({"fingerprint": self.fingerprint})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")  # as ASCII: lone surrogates too
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _whole_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def fields(samples: list[Completion]) -> dict[str, Any]:
    """What is stored of the samples of a problem, here and in result files."""
    episodes = [sample.episode for sample in samples if sample.episode is not None]
    probes = [sample.probes for sample in samples if sample.probes is not None]
    return {
        "lengths": [sample.length for sample in samples],
        "truncated": [not sample.finished for sample in samples],
        "responses": [sample.text for sample in samples],
        **({"probes": [probe_row(p) for p in probes]} if len(probes) == len(samples) else {}),
        **({"episodes": [row_of(e, clock=False) for e in episodes]} if len(episodes) == len(samples) else {}),
    }


def completions(row: dict[str, Any]) -> list[Completion]:
    """The samples of a stored row."""
    stored = row.get("episodes") or [None] * len(row["lengths"])
    episodes = [None if each is None else episode_of(each) for each in stored]
    probes = [probes_of(each) for each in row["probes"]] if "probes" in row else [None] * len(row["lengths"])
    return [
        Completion(
            tokens=np.zeros(length, np.int32),
            logprobs=np.zeros(0, np.float32),
            text=text,
            finished=not cut,
            episode=episode,
            probes=probed,
        )
        for length, cut, text, episode, probed in zip(
            row["lengths"], row["truncated"], row["responses"], episodes, probes, strict=True
        )
    ]


def fingerprint(*parts: Any) -> str:
    """Of everything that samples depend on."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def weights_of(path: str) -> list[tuple[str, int, int]]:
    """Name, size and time of the files of a local model: a retrained model under the same path is another."""
    folder = Path(path)
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]


def problem_of(bench: str, stored: dict[str, Any]) -> Problem:
    """A problem as its result file has it; its prompt is not needed as tokens."""
    return Problem(
        id=stored["id"],
        prompt=stored["prompt"],
        tokens=[],
        answer=stored["answer"],
        source=bench,
        verifiers=[],
        extra=stored.get("extra", {}),
        alternatives=stored.get("alternatives", []),
    )
