"""Commands in the documentation's blocks of code, and what is known of those that no test runs."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import Any

import yaml
from places import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TABLE = ROOT / "tests" / "support" / "doc_commands.yaml"
USAGE = re.compile(r"\[\w|\[-|\b[A-Z]{4,}\b|\bRUN\b|\bKEY\b|\.\.\.")
"""In a usage line: something in brackets, or a word that stands for the reader's own."""


def blocks(text: str) -> list[str]:
    """Lines of fenced and indented blocks, continued ones put together."""
    lines: list[str] = []
    inside = False
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            lines.append(line.strip())
    return lines


def commands() -> dict[str, list[str]]:
    """Command -> pages that have it; comments, and what stands before it on its line, are left out."""
    found: dict[str, list[str]] = {}
    for page in PAGES:
        for line in blocks(page.read_text()):
            for part in re.split(r"\s&&\s|;\s|\s\|\s", line.removeprefix("$ ")):
                if re.match(r"(rlvr|make) [a-z-]", part):
                    words = shlex.split(part, comments=True)
                    found.setdefault(shlex.join(words), []).append(str(page.relative_to(ROOT)))
    return found


@cache
def table() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load(TABLE.read_text()))


def rows_of(command: str) -> list[dict[str, Any]]:
    return [row for row in table() if re.fullmatch(row["match"], command)]
