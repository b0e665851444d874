"""BM25 over a corpus on this machine, by the bm25s package: built once, kept beside it, memory-mapped.

The index is a folder whose name has the corpus's SHA-256 and what it was built with: another corpus or
another setting is another index. Whoever comes first builds it, the others wait for it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import directory_atomically
from rlvr_cli.environments.retrieval.corpus import digest, documents
from rlvr_cli.environments.retrieval.document import Document
from rlvr_cli.environments.retrieval.settings import MADE, Retrieval
from rlvr_cli.gym import two_hop

WORD = r"(?u)\b\w+\b"
"""A word; bm25s's own leaves out those of one letter, and with them the 1 of `Apollo 1`."""
FORM = 1
"""Of the folder's content; another one is another index."""


class Words:
    """Text to the words that are counted."""

    def __init__(self, settings: Retrieval) -> None:
        self._stopwords = "en" if settings.stopwords else []
        self._stemmer = _stemmer() if settings.stem else None

    def __call__(self, texts: list[str], ids: bool = False) -> Any:
        """Words of each text; `ids`: as bm25s's `Tokenized`, numbers and their vocabulary."""
        import bm25s

        return bm25s.tokenize(
            texts,
            token_pattern=WORD,
            stopwords=self._stopwords,
            stemmer=self._stemmer,
            return_ids=ids,
            show_progress=False,
        )


def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")


class BM25:
    """An index in memory, or memory-mapped from a folder, with its documents by number."""

    def __init__(self, scorer: Any, found: Any, words: Words) -> None:
        self._scorer, self._documents, self._words = scorer, found, words

    def search(self, queries: list[str], topk: int) -> list[list[Document]]:
        """Documents that share a word with the query; of equal scores the one that comes first in the
        corpus."""
        return [self._search(words, topk) for words in self._words(queries)]

    def _search(self, words: list[str], topk: int) -> list[Document]:
        words = [word for word in words if word in self._scorer.vocab_dict]
        if not words:
            return []
        scores = self._scorer.get_scores(words)
        least = np.partition(scores, -topk)[-topk] if topk < len(scores) else 0.0
        candidates = np.flatnonzero((scores >= least) & (scores > 0))
        order = candidates[np.argsort(-scores[candidates], kind="stable")][:topk]
        return [self._document(int(number), float(scores[number])) for number in order]

    def _document(self, number: int, score: float) -> Document:
        identity, title, text = self._documents[number]
        return Document(id=identity, title=title, text=text, score=score)


class Stored:
    """(id, title, text) of each document, read from a memory-mapped file where they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._starts = np.load(folder / "starts.npy", mmap_mode="r")
        with open(folder / "documents.jsonl", "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> tuple[str, str, str]:
        identity, title, text = json.loads(self._bytes[self._starts[number] : self._starts[number + 1]])
        return identity, title, text


def in_memory(found: Iterable[Document], settings: Retrieval) -> BM25:
    """An index of a few documents."""
    words, rows = Words(settings), [(each.id, each.title, each.text) for each in found]
    return BM25(_scored([f"{title}\n{text}" for _, title, text in rows], words, settings), rows, words)


def open_index(settings: Retrieval) -> BM25:
    """The index of the corpus, built where there is none yet. UserError where the corpus cannot be read."""
    settings.ready()
    if settings.corpus == MADE:
        made = two_hop.documents()
        return in_memory((Document(id=d.title, title=d.title, text=d.text) for d in made), settings)
    import bm25s

    path = Path(str(settings.corpus)).expanduser()
    folder = index_folder(path, settings)
    if not folder.is_dir():
        with _alone(folder):
            if not folder.is_dir():
                _build(path, folder, settings)
    return BM25(bm25s.BM25.load(folder, mmap=True), Stored(folder), Words(settings))


def index_folder(path: Path, settings: Retrieval) -> Path:
    """Where the index of the corpus as it is now is, or will be."""
    home = path.parent if settings.index is None else Path(settings.index).expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
        content = digest(path, home)
    except OSError as error:
        raise UserError(
            f"the index of {path} cannot be kept in {home}: {error.strerror}; set retrieval.index to a "
            "folder that can be written"
        ) from error
    words = f"{'-stop' if settings.stopwords else ''}{'-stem' if settings.stem else ''}"
    return home / f"{path.name}.{content[:16]}-k1_{settings.k1:g}-b_{settings.b:g}{words}-{FORM}.bm25"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process builds this index meanwhile."""
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(path: Path, folder: Path, settings: Retrieval) -> None:
    begun, starts, texts = time.monotonic(), [0], []
    with directory_atomically(folder) as aside:
        with open(aside / "documents.jsonl", "wb") as file:
            for each in documents(path):
                row = json.dumps([each.id, each.title, each.text]).encode() + b"\n"
                starts.append(starts[-1] + file.write(row))
                texts.append(f"{each.title}\n{each.text}")
        np.save(aside / "starts.npy", np.array(starts, np.int64))
        _scored(texts, Words(settings), settings).save(aside)
    took = time.monotonic() - begun
    print(f"rlvr: {path}: index of {len(texts):,} documents built in {took:.0f} s", file=sys.stderr)


def _scored(texts: list[str], words: Words, settings: Retrieval) -> Any:
    import bm25s

    scorer = bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene", backend="numpy")
    counted = words(texts, ids=True)
    if not any(counted.ids):
        raise UserError(f"retrieval.corpus: {settings.corpus} has no document with a word in it")
    scorer.index(counted, show_progress=False)
    return scorer
