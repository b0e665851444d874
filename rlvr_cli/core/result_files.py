"""Result files of evaluations: found, read, and what makes two incomparable. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlvr_cli.core.causes import MISSING
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.files import from_json

KEYS = {"bench", "summary", "protocol", "source", "verifier", "problems"}
IGNORED = (
    *("note", "seed", "pass_at", "majority", "problems", "limit", "verifiers", "weight", "path"),
    *("holdout", "held_out"),
    "experiences",  # where the library lies; what it holds is compared
)
"""Parts of the protocol that may differ: they say nothing of how a problem is asked or judged."""


def result_files(given: str, benches: list[str]) -> dict[str, Path]:
    """Bench -> result file, of a file, a folder or a run directory; only `benches` if any are named."""
    path = Path(given).expanduser()
    if path.is_file():
        found = {read_result(path)["bench"]: path}
    else:
        folder = path / "eval" if (path / "eval").is_dir() else path
        found = {file.stem: file for file in sorted(folder.glob("*.json")) if is_result(file)}
    if not found:
        raise UserError(
            f"--from: {given} is no result file and no folder or run with any; run rlvr eval first"
        )
    for bench in benches:
        if bench not in found:
            raise UserError(f"--bench: {given} has no result of '{bench}'{hint(bench, found)}")
    return {bench: file for bench, file in found.items() if not benches or bench in benches}


def is_result(path: Path) -> bool:
    try:
        read_result(path)
    except UserError:
        return False
    return True


def read_result(path: Path) -> dict[str, Any]:
    """A result file of `rlvr eval`; UserError where it is something else."""
    try:
        result = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise UserError(f"{path} cannot be read: {reason}; give a result file of rlvr eval") from error
    lacking = KEYS - set(result) if isinstance(result, dict) else KEYS
    if lacking:
        raise UserError(f"{path} is no result file of rlvr eval: it lacks {', '.join(sorted(lacking))}")
    return dict(result) | {"problems": [_whole(row) for row in result["problems"]]}


def _whole(row: dict[str, Any]) -> dict[str, Any]:
    """A problem as it is stored today: earlier versions had the scores alone, as `correct`, 0 without a
    verdict."""
    if "scores" in row:
        return row
    pairs = list(zip(row["correct"], row["reasons"], strict=True))
    return row | {
        "correct": [None if reason in MISSING else reason == "correct" for _, reason in pairs],
        "scores": [None if reason in MISSING else score for score, reason in pairs],
        "details": [""] * len(pairs),
    }


def right(row: dict[str, Any]) -> list[bool]:
    """Of the samples that have a verdict."""
    return [bool(correct) for correct in row["correct"] if correct is not None]


def share_right(row: dict[str, Any]) -> float | None:
    """Of the samples that have a verdict; None where none has."""
    judged = right(row)
    return sum(judged) / len(judged) if judged else None


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What makes two results incomparable: `k (4, 8)`, ..."""
    found = [f"bench ({a['bench']}, {b['bench']})"] if a["bench"] != b["bench"] else []
    for part in ("protocol", "source", "verifier", "environment"):
        one, two = (result.get(part) or {} for result in (a, b))
        for key in sorted(set(one) | set(two)):
            mine, other = one.get(key), two.get(key)
            if key not in IGNORED and mine != other:
                found.append(f"{part}.{key} ({_short(mine)}, {_short(other)})")
    read = [(result.get("experiences") or {}).get("sha256") for result in (a, b)]
    if read[0] != read[1]:
        said = ("none" if each is None else f"sha256 {each[:8]}" for each in read)
        found.append(f"experiences ({', '.join(said)})")
    codes = [{row["key"]: row["sha256"][:8] for row in result.get("code", [])} for result in (a, b)]
    found += [
        f"code.{key} (sha256 {codes[0].get(key)}, {codes[1].get(key)})"
        for key in sorted({*codes[0], *codes[1]})
        if codes[0].get(key) != codes[1].get(key)
    ]
    ids = [{row["id"] for row in result["problems"]} for result in (a, b)]
    if ids[0] != ids[1]:
        found.append(f"problems ({len(ids[0])}, {len(ids[1])}; {len(ids[0] & ids[1])} in both)")
    asked = [
        {row["id"]: [row["answer"], *row.get("alternatives", [])] for row in result["problems"]}
        for result in (a, b)
    ]
    if changed := [key for key in ids[0] & ids[1] if asked[0][key] != asked[1][key]]:
        found.append(f"gold answers (of {len(changed)} problems)")
    return found


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
