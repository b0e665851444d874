"""What the pages of the documentation say: which of them name a key, and what a metric means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlvr_cli.core.documentation import DOCS

GENERATED = "reference.md"
"""The page with a line for every key."""
METRIC_PAGES = ("metrics.md", "evaluation.md", "difficulty.md")


@cache
def pages() -> dict[str, str]:
    """Path below docs/ -> text, of every page there is."""
    return {
        str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))
    }


def naming(*words: str) -> list[str]:
    """Pages, the generated one aside, that have one of these words in code, alone or with a value."""
    pattern = re.compile("|".join(rf"(?<![\w./]){re.escape(word)}(?![\w/]|\.\w)" for word in words))
    return [page for page, text in _with(words) if pattern.search(_code(page, text))]


def in_tables(*words: str) -> list[str]:
    """Pages, the generated one aside, with one of these words in the first column of a table."""
    pattern = re.compile("|".join(rf"^\|[^|\n]*`{re.escape(word)}`" for word in words), re.MULTILINE)
    return [page for page, text in _with(words) if pattern.search(text)]


def _with(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pages, the generated one aside, that have one of the words anywhere: a pattern takes far longer."""
    return [
        (page, text)
        for page, text in pages().items()
        if page != GENERATED and any(word in text for word in words)
    ]


@cache
def _code(page: str, text: str) -> str:
    """Spans and blocks of code of a page, each on lines of its own."""
    blocks = re.findall(r"```.*?\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = (*blocks, *re.findall(r"^    (.*)$", rest, re.MULTILINE), *re.findall(r"`([^`\n]+)`", rest))
    return "\n".join(found)


@dataclass(frozen=True)
class Metric:
    """A number of metrics.jsonl or of a result file."""

    name: str
    """With <...> or * for what differs from run to run."""
    unit: str
    meaning: str
    page: str

    def fits(self, given: str) -> bool:
        """Whether `given` is this metric, by its general name or as a run writes it."""
        parts = re.split(r"<\w+>|\*|@k|@j", self.name)
        pattern = r"(?:@\d+|[\w.@-]+(?:/[\w.-]+)?)".join(map(re.escape, parts))
        return given == self.name or re.fullmatch(pattern, given) is not None


@cache
def metrics() -> tuple[Metric, ...]:
    """All that the pages describe, in their order."""
    found: dict[str, Metric] = {}
    for page in METRIC_PAGES:
        for row in _rows(pages().get(page, ""), ("metric", "unit", "meaning")):
            for name in _names(row[0]):
                found.setdefault(name, Metric(name, row[1], _plain(row[2]), page))
        measured = pages().get(page, "").partition("## What is measured")[2].partition("\n## ")[0]
        for row in _rows(measured, ("key", "means")):
            for name in _names(row[0]):
                full = f"eval/<bench>/{name}"
                found.setdefault(full, Metric(full, "", _plain(row[1]), page))
    return tuple(found.values())


def same_elsewhere(name: str) -> list[tuple[str, str]]:
    """(framework, our metrics) for a metric of another framework, as the last table of metrics.md has it."""
    found = []
    head = ("rlvr", "verl", "TRL")
    for row in _rows(pages()["metrics.md"], head):
        for framework, cell in zip(head[1:], row[1:], strict=True):
            if name in _names(cell):
                found.append((framework, row[0].replace("`", "")))
    return found


def _rows(text: str, head: tuple[str, ...]) -> list[list[str]]:
    """Rows of the tables whose columns are `head`."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE):
        first, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()
        ]
        if tuple(first) == head:
            found += rows
    return found


def _names(cell: str) -> list[str]:
    """`a/b`, `c` -> a/b and a/c: what has no slash of its own goes on after the first one's."""
    names: list[str] = []
    prefix = ""
    for name in re.findall(r"`([^`]+)`", cell):
        if name.startswith("_") and names:  # `gpass@k_0.5`, `_0.75`
            name = names[0].rpartition("_")[0] + name
        elif "/" in name:
            prefix = name.rpartition("/")[0] + "/"
        elif prefix:
            name = prefix + name
        names.append(name)
    return names


def _plain(cell: str) -> str:
    """A cell of a table as text for the terminal: links without their targets, no backticks."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", cell)
    return text.replace("\\|", "|").replace("`", "")


def page_of(path: Path | str) -> str:
    """How a page is named to the user."""
    return f"docs/{path}"
