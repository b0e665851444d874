"""Documents as a policy reads them, and those it has chosen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from rlvr_cli.environments.retrieval import Document

_TAGS = "answer|information|important_info|query|question|search|search_complete|think"
_TAG = re.compile(rf"<(?=/?(?:{_TAGS})>)")


@dataclass(slots=True)
class Block:
    """The documents that one search has shown."""

    documents: list[Document]
    chosen: list[int] | None = None
    """Numbers from 1 on; None: nothing has been said of it, and all count."""

    def selected(self) -> list[Document]:
        if self.chosen is None:
            return self.documents
        return [self.documents[number - 1] for number in self.chosen]


def shown(found: list[Document], most: int) -> tuple[str, list[Document]]:
    """The text of documents, in the form `Doc 1(Title: "T") text`, a line each, and what of them it holds.

    most: characters, at least one of the first document's text. The document at the limit is cut, and those
    behind it are left out. Tags of the protocol in a document are broken: a document says nothing in the
    policy's place.
    """
    lines: list[str] = []
    held: list[Document] = []
    left = most
    for number, each in enumerate(found, 1):
        head = f'Doc {number}(Title: "{_harmless(each.title)}") '
        text = _harmless(" ".join(each.text.split()))[: max(left - len(head), 0)]
        text = text.rstrip()
        if not text and lines:
            break
        lines.append(head + text)
        held.append(replace(each, text=text))
        left -= len(head) + len(text) + 1
        if left <= 0:
            break
    return "\n".join(lines), held


def cut(found: list[Document], held: list[Document]) -> int:
    """How many documents were shown in part or not at all."""
    whole = zip(found, held, strict=False)
    return len(found) - sum(len(_harmless(" ".join(a.text.split()))) == len(b.text) for a, b in whole)


def information(text: str) -> str:
    """What a search is answered with, as upstream has it."""
    return f"\n\n<information>{text}</information>\n\n"


def context(blocks: Iterable[Block]) -> list[Document]:
    """The chosen documents of all blocks in order; of those with the same text the first."""
    by_text: dict[str, Document] = {}
    for block in blocks:
        for each in block.selected():
            by_text.setdefault(each.text, each)
    return list(by_text.values())


def context_text(found: Iterable[Document]) -> str:
    """Documents as a generator reads them."""
    return "\n\n".join(f"Doc {n} (Title: {each.title})\n{each.text}" for n, each in enumerate(found, 1))


def _harmless(text: str) -> str:
    return _TAG.sub("< ", text)
