"""Every completion of a run with its verdicts, reward and advantage, one JSON row each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlvr_cli.core.episode_rows import row_of
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.routes import as_json
from rlvr_cli.core.types import Completion, Group, Verdict
from rlvr_cli.tracking.journal import read_rows, to_line

Images = Callable[[Iterable[Sequence[int]]], list[list[dict[str, Any]]]]

_NAME = re.compile(r"step_(\d+)\.rank(\d+)\.jsonl")


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    return {
        "score": float(verdict.score) if verdict.scored else None,
        "reason": verdict.reason.value,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        "ms": round(verdict.ms, 3),
        **({"more": verdict.more} if verdict.more else {}),
    }


def _token_row(group: Group, completion: Completion) -> dict[str, Any]:
    return {
        "prompt_tokens": completion.after(group.problem).tolist(),
        "response_tokens": completion.tokens.tolist(),
        "logprobs": completion.logprobs.tolist(),
        **({"sampled": completion.sampled.tolist()} if len(completion.sampled) else {}),
        **({"routes": as_json(completion.routes)} if len(completion.routes) else {}),
        **({"earlier": [_token_row(group, row) for row in completion.earlier]} if completion.earlier else {}),
    }


def _episode_row(completion: Completion) -> dict[str, Any]:
    """How an episode went, turn by turn; nothing of one answer to one prompt."""
    return {} if completion.episode is None else row_of(completion.episode)


def _leaf_row(group: Group, sample: int) -> dict[str, Any]:
    """Of a leaf of a tree: its place, which of its tokens train with it (others do with leaves before it),
    and the values of the nodes on the way to it, leaf included, whose differences are the advantages."""
    completion = group.completions[sample]
    if not completion.path:
        return {}
    own = completion.sampled.nonzero()[0].tolist()
    values = group.path_values[sample] if group.path_values else []
    return {
        "path": list(completion.path),
        "own": [own[0], own[-1] + 1] if own else [],
        "values": [None if math.isnan(v) else v for v in values[: len(completion.path) + 1]],
    }


class RolloutRecords:
    """Writes `step_000012.rank0.jsonl` files into `folder`, the `rollouts/` of a run directory."""

    def __init__(
        self, folder: Path, rank: int, *, tokens: bool = False, images: Images | None = None
    ) -> None:
        """`images`: of each of a step's prompts, as token ids, what a row says of its images."""
        self._folder = folder
        self._rank = rank
        self._tokens = tokens
        self._images = images

    def write(
        self,
        step: int,
        groups: Sequence[Group],
        rewards: Sequence[Sequence[float]],
        advantages: Sequence[Sequence[float]] | None,
        kept: Sequence[bool],
        versions: Sequence[int],
        notes: Mapping[int, Sequence[Mapping[str, Sequence[float]]]] | None = None,
    ) -> None:
        """Write a step's groups; every sequence has one entry per group, NaN becomes null.

        `advantages` is None when there are none; `versions` counts the weight updates of the policy
        that sampled the group, where its completions do not say so themselves. With `tokens`, `notes` adds
        lists of one number a token by name: index of a group -> its samples.
        """
        missing = [[None] * len(group.completions) for group in groups]
        parts = zip(groups, rewards, advantages or missing, kept, versions, strict=True)
        rows = [row for part in parts for row in self._rows(step, *part)]
        if self._images is not None:
            prompts = {group.index: group.problem.tokens for group in groups}
            found = dict(zip(prompts, self._images(prompts.values()), strict=True))
            for row in rows:
                row |= {"images": found[row["index"]]} if found[row["index"]] else {}
        if self._tokens and notes:
            for row in rows:
                seen = notes[row["index"]][row["sample"]] if row["index"] in notes else {}
                row |= {name: [float(f"{x:.6g}") for x in values] for name, values in seen.items()}
        path = self._folder / f"step_{step:06d}.rank{self._rank}.jsonl"
        write_atomically(path, "".join(map(to_line, rows)))

    def _rows(
        self,
        step: int,
        group: Group,
        rewards: Sequence[float],
        advantages: Sequence[float | None],
        kept: bool,
        version: int,
    ) -> Iterator[dict[str, Any]]:
        samples = zip(
            group.completions,
            group.verdicts,
            group.scores,
            group.correct,
            group.first_scores,
            rewards,
            advantages,
            strict=True,
        )
        for sample, (completion, verdicts, total, correct, score, reward, advantage) in enumerate(samples):
            yield {
                "step": step,
                "index": group.index,
                "sample": sample,
                "problem": group.problem.id,
                "source": group.problem.source,
                "prompt": group.problem.prompt,
                "response": completion.text,
                "answer": group.problem.answer,
                **({"alternatives": group.problem.alternatives} if group.problem.alternatives else {}),
                **({"label": group.problem.label} if group.problem.label is not None else {}),
                "finished": completion.finished,
                "length": completion.response_length,
                "verdicts": {name: _verdict_row(verdict) for name, verdict in verdicts.items()},
                "total": float(total),
                "score": float(score),
                "correct": None if math.isnan(correct) else correct == 1,
                "reward": float(reward),
                "advantage": None if advantage is None else float(advantage),
                "kept": bool(kept),
                "policy_version": version,
            } | self._more(group, sample)

    def _versions(self, completion: Completion) -> dict[str, Any]:
        """Of a sample that may have been begun before its step: of oldest and newest token, or of each."""
        if not len(completion.versions):
            return {}
        oldest, newest = int(completion.versions.min()), int(completion.versions.max())
        each = {"versions": completion.versions.tolist()} if self._tokens else {}
        return {"policy_version": oldest, "newest_version": newest} | each

    def _more(self, group: Group, sample: int) -> dict[str, Any]:
        """What only some rows have: a second verifier's verdict, tokens."""
        audited = {"audit": _verdict_row(group.audits[sample])} if sample in group.audits else {}
        completion = group.completions[sample]
        more = audited | self._versions(completion) | _episode_row(completion) | _leaf_row(group, sample)
        return more | (_token_row(group, completion) if self._tokens else {})


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """(step, rank, path) of every record file, in order; other files are left alone."""
    named = ((_NAME.fullmatch(path.name), path) for path in folder.glob("step_*.jsonl"))
    return sorted((int(name[1]), int(name[2]), path) for name, path in named if name)


def read_records(run: Path, step: int | None = None) -> Iterator[dict[str, Any]]:
    """Every row of a run directory's `rollouts/` (or those of one step), by step and rank; one file in
    memory at a time."""
    for written, _, path in _files(run / "rollouts"):
        if step is None or written == step:
            yield from read_rows(path)


def record_steps(run: Path) -> list[int]:
    """The steps of a run directory's `rollouts/`."""
    return list(dict.fromkeys(step for step, _, _ in _files(run / "rollouts")))


def drop_records_after(folder: Path, step: int) -> None:
    """Delete the files of every rank past `step`, and what a killed rank has left of half a file."""
    for written, _, path in _files(folder):
        if written > step:
            path.unlink()
    for half in folder.glob(".step_*.tmp"):
        half.unlink()
