"""The rollouts a report has room for: whole steps, spread over the run, each compressed on its own."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import is_result, read_result
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.records import read_records
from rlvr_cli.tracking.report import courses
from rlvr_cli.tracking.report.gather import Run, short
from rlvr_cli.tracking.report.tokens import Texts

Rows = list[dict[str, Any]]
PER_SAMPLE = ("responses", "correct", "scores", "extracted", "reasons", "details", "lengths", "truncated")
"""Lists of a problem in a result file."""


@dataclass(slots=True, kw_only=True)
class Chunk:
    """The groups of one step, or the problems of one evaluation."""

    label: str
    step: int
    groups: int
    """How many are in it, of ..."""
    recorded: int
    samples: int
    packed: str
    files: list[str]
    """Copies of images that its groups name."""


def pack(value: Any) -> str:
    """JSON, gzip, base64: nothing in it can be mistaken for HTML."""
    try:
        text = _dumped(value)
    except (
        ValueError
    ):  # NaN or infinity, which a recipe may hold; looking for them takes longer than the rest
        text = _dumped(jsonable(value))
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)


def spread(count: int) -> Iterator[int]:
    """0 .. count - 1: the last, the first, then middles of ever smaller parts; any start is spread evenly."""
    seen: set[int] = set()
    order = [count - 1, 0] if count else []
    parts = 2
    while parts < 2 * count:
        order += [odd * (count - 1) // parts for odd in range(1, parts, 2)]
        parts *= 2
    for index in [*order, *range(count)]:
        if index not in seen:
            seen.add(index)
            yield index


def chunks(run: Run, budget: int, wanted: list[int] | None = None) -> list[Chunk]:
    """Whole steps while they fit into `budget` bytes, spread over the run; only those `wanted`, if given.

    Evaluations come after the first two steps. What does not fit even alone is cut to its first groups.
    """
    steps = [step for step in run.recorded if wanted is None or step in wanted]
    sources: list[int | Path] = [steps[index] for index in spread(len(steps))]
    if wanted is None:
        sources[2:2] = _results(run.path)
    texts = Texts(run.path, run.recipe.get("model.path"))
    made: list[Chunk] = []
    full = not budget
    for source in sources:
        if full and isinstance(source, int):
            continue  # the next ones would fill the gaps of another, finer spread
        chunk = _evaluation(source) if isinstance(source, Path) else _step(run.path, source, texts)
        if not chunk.recorded:
            continue  # a run that goes on was resumed meanwhile, which removes the steps past its checkpoint
        if len(chunk.packed) > budget:
            full = full or isinstance(source, int)
            if made or not (chunk := _cut(chunk, budget)).groups:
                continue
        made.append(chunk)
        budget -= len(chunk.packed)
    return sorted(made, key=lambda chunk: (chunk.label.startswith("eval"), chunk.step))


def _chunk(label: str, step: int, groups: Rows) -> Chunk:
    samples = sum(len(group["samples"]) for group in groups)
    shown = [image["file"] for group in groups for image in group.get("images", []) if image["file"]]
    return Chunk(
        label=label,
        step=step,
        groups=len(groups),
        recorded=len(groups),
        samples=samples,
        packed=pack(groups),
        files=list(dict.fromkeys(shown)),
    )


def _cut(chunk: Chunk, budget: int) -> Chunk:
    """The first groups of `chunk`, halved until they fit."""
    groups = json.loads(gzip.decompress(base64.b64decode(chunk.packed)))
    fitting = chunk
    while len(fitting.packed) > budget and groups:
        groups = groups[: len(groups) // 2]
        fitting = _chunk(chunk.label, chunk.step, groups)
    fitting.recorded = chunk.recorded
    return fitting


def _results(run: Path) -> list[Path]:
    folder = run / "eval" if (run / "eval").is_dir() else run  # rlvr eval of a model without a run
    return [path for path in sorted(folder.glob("*.json")) if is_result(path)]


def _step(run: Path, step: int, texts: Texts) -> Chunk:
    groups: dict[int, dict[str, Any]] = {}
    found = courses.of_step(run, step)
    try:
        for row in read_records(run, step):
            if row["index"] not in groups:
                groups[row["index"]] = _head(row)
            groups[row["index"]]["samples"].append(
                _sample(row, texts) | courses.shown(found, row["index"], row["sample"], row["response"])
            )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{run / 'rollouts'}, step {step} cannot be read: {error!r}; mend or remove it"
        ) from error
    return _chunk(f"step {step}", step, [groups[index] for index in sorted(groups)])


def _head(row: dict[str, Any]) -> dict[str, Any]:
    names = ("step", "index", "problem", "source", "prompt", "answer", "kept", "policy_version")
    images = {"images": row["images"]} if "images" in row else {}
    return {name: row[name] for name in names} | {"answer": _golds(row), **images, "samples": []}


def _golds(row: dict[str, Any]) -> str:
    """What is wanted, for people: any of several golds."""
    return " or ".join([row["answer"], *row.get("alternatives", [])])


def _sample(row: dict[str, Any], texts: Texts) -> dict[str, Any]:
    sample = {name: row[name] for name in ("response", "length", "finished", "verdicts")}
    sample |= {"correct": row["correct"]}
    sample |= {name: short(row[name]) for name in ("score", "reward", "advantage")}
    if "turns" in row:
        sample["episode"] = _episode(row)
    rows = [*row.get("earlier", []), row]  # a sample may have several sequences
    if "logprobs" in row:
        sample["tokens"] = [text for each in rows for text in _own(each, texts(each["response_tokens"]))]
        sample["logprobs"] = _rounded([value for each in rows for value in _own(each, each["logprobs"])], 3)
    if "trainer_logprobs" in row:
        policy = row.get("old_logprobs", row["trainer_logprobs"])  # the trainer's, of the policy that sampled
        pairs = zip(policy, [x for each in rows for x in _own(each, each["logprobs"])], strict=True)
        sample["gaps"] = _rounded([None if None in pair else pair[0] - pair[1] for pair in pairs], 5)
        sample["entropies"] = _rounded(row["entropies"], 3)
        sample["clipped"] = [int(value or 0) for value in row["clipped"]]
    return sample


def _own(row: dict[str, Any], values: list[Any]) -> list[Any]:
    """Of `values` of a sequence's tokens those of the policy's own: the trainer's numbers are of these."""
    if "sampled" not in row:
        return values
    return [value for value, own in zip(values, row["sampled"], strict=True) if own]


def _episode(row: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of an episode."""
    names = ("environment", "ended", "environment_reward", "measures", "turns", "failure")
    return {name: row[name] for name in names if row.get(name) is not None}


def _rounded(values: list[float | None], digits: int) -> list[float | None]:
    return [None if value is None else round(value, digits) for value in values]


def _evaluation(path: Path) -> Chunk:
    result = read_result(path)
    step, bench = int(result.get("step") or 0), result["bench"]
    verifier = result["verifier"].get("name", "verifier")
    groups, found = [], courses.of_result(path)
    for problem in result["problems"]:
        rows = zip(*(problem[name] for name in PER_SAMPLE), strict=True)
        episodes = problem.get("episodes") or [None] * len(problem["responses"])
        more = problem.get("more") or [{}] * len(problem["responses"])
        samples = [
            {
                "response": response,
                "correct": correct,
                "score": score,
                "length": length,
                "finished": not cut,
                "verdicts": {
                    verifier: {"score": score, "reason": reason, "extracted": extracted, "detail": detail}
                    | ({"more": said} if said else {})
                },
                **({"episode": _episode(episode)} if episode is not None else {}),
                **courses.shown(found, problem["index"], number, response),
            }
            for number, (
                (response, correct, score, extracted, reason, detail, length, cut),
                episode,
                said,
            ) in enumerate(zip(rows, episodes, more, strict=True))
        ]
        head = {"step": step, "index": problem["index"], "problem": problem["id"], "source": bench}
        head |= {"images": problem["images"]} if "images" in problem else {}
        groups.append({**head, "prompt": problem["prompt"], "answer": _golds(problem), "samples": samples})
    return _chunk(f"eval {bench}" + (f", step {step}" if step else ""), step, groups)
