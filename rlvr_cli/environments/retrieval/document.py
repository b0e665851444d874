"""A document, and its form in the corpora and answers of Search-R1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, frozen=True, kw_only=True)
class Document:
    id: str
    title: str
    text: str
    score: float = 0.0
    """How well it fits the query, on the retriever's own scale."""

    @property
    def contents(self) -> str:
        """Title and text in one, as Search-R1 has them: `"Title"`, newline, text."""
        return f'"{self.title}"\n{self.text}'


def from_row(row: dict[str, Any], number: int, score: float = 0.0) -> Document:
    """A document of a row with `contents`, or with `text` and perhaps `title`; without `id` its number is it.

    ValueError for a row that has neither.
    """
    identity = str(row.get("id", number))
    contents, title, text = row.get("contents"), row.get("title"), row.get("text")
    if isinstance(contents, str):
        first, _, rest = contents.partition("\n")
        return Document(id=identity, title=_bare(first), text=rest.strip(), score=score)
    if isinstance(text, str):
        return Document(id=identity, title=_bare(str(title or "")), text=text.strip(), score=score)
    raise ValueError(f"it has neither `contents` nor `text`, but {', '.join(map(str, row)) or 'nothing'}")


def _bare(title: str) -> str:
    title = title.strip()
    return title[1:-1].strip() if len(title) > 1 and title[0] == title[-1] == '"' else title
