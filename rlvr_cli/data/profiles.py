"""Profiles: how often a model solves each problem of a data set, as `rlvr profile` has measured it.

A `.jsonl` file has the head {"profile": 1, "model": ..., ...} in its first line and a row for each problem
below; a `.parquet` file has the rows, and the head as JSON under `rlvr` in its metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import encodable, from_json, write_atomically
from rlvr_cli.core.types import Problem

SUFFIXES = (".jsonl", ".parquet")
VERSION = 1
METADATA = b"rlvr"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured, and how."""

    head: dict[str, Any]
    rows: list[Row]
    """{source, id, key, samples, judged, correct, pass@1, ..., tokens, truncated, reasons, label, ...}"""

    def counts(self, source: str, by_score: bool = False) -> dict[str, tuple[float, int]]:
        """Problem's key -> (right samples, samples with a verdict); where two sources have a problem, those
        of `source`. Problems without a verdict are not in it. `by_score`: the sum of scores in the place of
        right samples; UserError where a score is none of a share."""
        found: dict[str, tuple[float, int]] = {}
        for row in sorted(self.rows, key=lambda row: row["source"] == source):
            if row["judged"]:
                right = row["score"] * row["judged"] if by_score else row["correct"]
                if not 0 <= right <= row["judged"]:
                    raise UserError(
                        f"difficulty.by=score: problem {row['id']} of '{row['source']}' has the mean score "
                        f"{row['score']:g}, which is no share; take by=correct"
                    )
                found[row["key"]] = (right, row["judged"])
        return found

    def labels(self, source: str) -> dict[str, tuple[str | None, bool]]:
        """Problem's key -> (majority label, whether it is right); where two sources have a problem, that of
        `source`. KeyError where rows have none: an earlier version has made them."""
        ours = sorted(self.rows, key=lambda row: row["source"] == source)
        return {row["key"]: (row["label"], row["label_right"]) for row in ours}


def key_of(problem: Problem) -> str:
    """Identity of a problem: 16 hexadecimal digits from its text as the data set has it, before templates."""
    prompt = problem.extra.get("prompt", problem.prompt)
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def read_profile(path: Path) -> Profile:
    """UserError for a file that is not there or no profile."""
    path = path.expanduser()
    if not path.is_file():
        raise UserError(f"there is no file {path}; `rlvr profile RECIPE -o {path}` makes it")
    try:
        head, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)
        if head.get("profile") != VERSION:
            raise ValueError("it has no head of a profile")
        for number, row in enumerate(rows, 1):
            if not (isinstance(row["key"], str) and 0 <= row["correct"] <= row["judged"]):
                raise ValueError(f"row {number} has no key, or counts that do not fit")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"a row lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path} is no profile of `rlvr profile`: {said}") from error
    return Profile(head, rows)


def write_profile(path: Path, profile: Profile) -> None:
    """Whole or not at all, in the format that the name ends in."""
    if path.suffix == ".parquet":
        write_atomically(path, _parquet(profile))
    else:
        lines = (json.dumps(each, ensure_ascii=False) for each in (profile.head, *profile.rows))
        write_atomically(path, "".join(f"{line}\n" for line in lines))


def _read_lines(path: Path) -> tuple[dict[str, Any], list[Row]]:
    lines = [from_json(line) for line in path.read_bytes().splitlines() if line.strip()]
    return (lines[0], lines[1:]) if lines else ({}, [])


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[Row]]:
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    rows = table.to_pylist()
    for row in rows:  # a struct has every field that any row has
        row["reasons"] = {name: count for name, count in row["reasons"].items() if count}
    return from_json((table.schema.metadata or {}).get(METADATA, b"{}")), rows


def _parquet(profile: Profile) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    names = sorted({name for row in profile.rows for name in row["reasons"]})
    rows: Iterable[Row] = (
        {name: encodable(x) if isinstance(x, str) else x for name, x in row.items()}
        | {"reasons": {name: row["reasons"].get(name, 0) for name in names}}
        for row in profile.rows
    )
    table = pa.Table.from_pylist(list(rows))
    table = table.replace_schema_metadata({METADATA: json.dumps(profile.head).encode()})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()
