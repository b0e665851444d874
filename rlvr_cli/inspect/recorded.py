"""Samples that are there already, with their gold answers: of a run's `rollouts/`, or of a result file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import read_result
from rlvr_cli.tracking.records import read_records, record_steps

ANSWER = 200
"""Longest answer in characters; a longer one is a text or a program, and no value to be likely."""


@dataclass(kw_only=True)
class Recorded:
    """One sample."""

    key: dict[str, Any]
    """`step`, `index`, `sample`: what finds it again in its file."""
    prompt: str
    response: str
    answer: str
    correct: bool | None
    ids: tuple[list[int], list[int]] | None
    """Token ids of prompt and response, where they were recorded."""


@dataclass(kw_only=True)
class Source:
    """Where samples are from."""

    samples: list[Recorded]
    left_out: Counter[str]
    model: str | None
    """The model of the run or the result, unless another is named."""
    place: Path
    """Stem of the files that say what was found in them."""
    about: str


def read(path: Path, step: int | None, limit: int) -> Source:
    """The first `limit` samples of a result file, or of a step of a run (the newest one)."""
    if path.is_file():
        if step is not None:
            raise UserError(f"--step: {path} is a result file, which has no steps of its own; leave it out")
        return _of_result(path, limit)
    steps = record_steps(path)
    if not steps:
        raise UserError(
            f"{path} has no rollouts/ with samples; give the run directory of an RL run, or a result file of "
            "rlvr eval (eval/<bench>.json)"
        )
    if step is not None and step not in steps:
        raise UserError(f"--step: {path} has no rollouts of step {step}; it has {steps[0]} to {steps[-1]}")
    return _of_run(path, steps[-1] if step is None else step, limit)


def _of_run(run: Path, step: int, limit: int) -> Source:
    left_out: Counter[str] = Counter()
    rows = sorted(read_records(run, step), key=lambda row: (row["index"], row["sample"]))
    kept = [
        Recorded(
            key={name: row[name] for name in ("step", "index", "sample")},
            prompt=row["prompt"],
            response=row["response"],
            answer=row["answer"],
            correct=row["correct"],
            ids=(row["prompt_tokens"], row["response_tokens"]) if "response_tokens" in row else None,
        )
        for row in rows
        if _usable(row, left_out)
    ]
    return Source(
        samples=kept[:limit],
        left_out=left_out,
        model=str(run),
        place=run / "trajectories" / f"step_{step:06d}",
        about=f"step {step} of {run}: {min(limit, len(kept))} of {len(rows)} samples",
    )


def _of_result(path: Path, limit: int) -> Source:
    result, left_out = read_result(path), Counter[str]()
    rows = list(_samples(result))
    kept = [
        Recorded(
            key={"step": int(result.get("step") or 0), "index": row["index"], "sample": row["sample"]},
            prompt=row["prompt"],
            response=row["response"],
            answer=row["answer"],
            correct=row["correct"],
            ids=None,
        )
        for row in rows
        if _usable(row, left_out)
    ]
    return Source(
        samples=kept[:limit],
        left_out=left_out,
        model=result.get("model") or result.get("run"),
        place=path.with_suffix(".trajectories"),
        about=f"{path}: {min(limit, len(kept))} of {len(rows)} samples",
    )


def _samples(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for problem in result["problems"]:
        episodes = problem.get("episodes") or [None] * len(problem["responses"])
        rows = zip(problem["responses"], problem["correct"], episodes, strict=True)
        for sample, (response, correct, episode) in enumerate(rows):
            yield {
                **{name: problem[name] for name in ("index", "prompt", "answer")},
                **({"turns": episode} if episode is not None else {}),
                **{"sample": sample, "response": response, "correct": correct},
            }


def _usable(row: dict[str, Any], left_out: Counter[str]) -> bool:
    why = None
    if "turns" in row or "sampled" in row or "earlier" in row:
        why = "episodes of several turns"
    elif not row["answer"].strip():
        why = "samples without a gold answer"
    elif len(row["answer"]) > ANSWER:
        why = f"samples whose gold answer has more than {ANSWER} characters"
    elif not row["response"]:
        why = "empty responses"
    if why is not None:
        left_out[why] += 1
    return why is None
