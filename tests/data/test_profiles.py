"""Files of profiles: the same in both formats, and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.profiles import Profile, key_of, read_profile, write_profile


def row(source: str, key: str, correct: int, judged: int) -> dict[str, Any]:
    reasons = {"correct": correct, "wrong": judged - correct}
    return {
        "source": source,
        "id": key,
        "key": key,
        "samples": 4,
        "judged": judged,
        "correct": correct,
        "pass@1": correct / judged if judged else None,
        "tokens": 7.5,
        "reasons": {name: count for name, count in reasons.items() if count},
    }


ROWS = [row("a", "x", 1, 4), row("b", "x", 3, 4), row("b", "y", 0, 3), row("b", "z", 0, 0)]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    head = {"profile": 1, "model": "m", "sampling": {"temperature": 1.0}}
    write_profile(path, Profile(head, ROWS))
    found = read_profile(path)
    assert found.head == head and found.rows == ROWS
    assert found.counts("a") == {"x": (1, 4), "y": (0, 3)}  # z has no verdict
    assert found.counts("b")["x"] == (3, 4) and found.counts("another")["x"] in ((1, 4), (3, 4))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file .*; `rlvr profile RECIPE -o .*p.jsonl` makes it"),
        ("", "is no profile .*: it has no head"),
        ('{"prompt": "1+1=", "answer": "2"}\n', "is no profile .*: it has no head"),
        ('{"profile": 1}\n{"key": "a"}\n', "is no profile .*: a row lacks 'correct'"),
        (
            '{"profile": 1}\n{"key": "a", "correct": 3, "judged": 2}\n',
            "is no profile .*: row 1 has no key, or",
        ),
        ("{\n", "is no profile"),
    ],
)
def test_what_is_no_profile(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "p.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_profile(path)


def test_a_problem_is_its_text_before_any_template() -> None:
    def problem(prompt: Any, seen: str) -> Problem:
        own = {"prompt": prompt}
        return Problem(id="1", prompt=seen, tokens=[], answer="", source="s", verifiers=[], extra=own)

    assert (
        key_of(problem("1+1=", "Solve: 1+1=")) == key_of(problem("1+1=", "<user>1+1=")) == "9ffe8627f3749018"
    )
    assert key_of(problem("1+1=", "")) != key_of(problem("1+2=", ""))
    turns = [{"role": "user", "content": "1+1="}]
    assert key_of(problem(turns, "")) == key_of(problem(json.loads(json.dumps(turns)), ""))
    assert key_of(problem("half \ud800", ""))


def test_solved_by_the_mean_score() -> None:
    """V-Triune's filter: a summed IoU of 2 to 10 in 16 samples is a mean of 1/8 to 5/8."""
    rows = [
        row("a", key, 0, 16) | {"score": total / 16} for key, total in (("x", 1.5), ("y", 4.0), ("z", 12.0))
    ]
    found = Profile({}, rows).counts("a", by_score=True)
    assert found == {"x": (1.5, 16), "y": (4.0, 16), "z": (12.0, 16)}
    assert [key for key, (solved, of) in found.items() if 0.125 <= solved / of <= 0.625] == ["y"]
    with pytest.raises(UserError, match=r"has the mean score 3, which is no share; take by=correct"):
        Profile({}, [row("a", "x", 0, 4) | {"score": 3.0}]).counts("a", by_score=True)
