"""Where documents come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlvr_cli.core.errors import UserError

MADE = "synthetic:two_hop"
"""A corpus that is made in the process (gym/two_hop.py)."""
SUFFIXES = (".jsonl", ".parquet")


@dataclass(kw_only=True)
class Retrieval:
    """A corpus with an index of our own (BM25), or a server in Search-R1's form."""

    corpus: str | None = None
    """`.jsonl` or `.parquet` file of documents with `id` and `contents` (title, newline, text) or `title` and
    `text`; `synthetic:two_hop`: the documents of that data family."""
    url: str | None = None
    """In the place of `corpus`: a server that answers `POST {url}`, e.g. http://127.0.0.1:8000/retrieve."""
    k1: float = 1.2
    """Of BM25: how soon further occurrences of a word stop to count."""
    b: float = 0.75
    """Of BM25: how much a document's length counts, 0 to 1."""
    stopwords: bool = True
    """Leave the commonest English words out of the index and of queries."""
    stem: bool = False
    """Reduce English words to their stems (Snowball)."""
    index: str | None = None
    """Folder that the index is kept in; null: beside the corpus."""
    timeout_s: float = 30.0
    """Seconds for an answer of the server."""
    retries: int = 5
    """Further attempts after the server did not answer, or answered 429 or 5xx."""

    def __post_init__(self) -> None:
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"retrieval.url is '{self.url}'; it must begin with http:// or https://")
        if self.url is not None and self.corpus is not None:
            raise ValueError("retrieval has both corpus and url; leave one out")
        for key, low in (("k1", 0.0), ("b", 0.0), ("retries", 0)):
            if getattr(self, key) < low:
                raise ValueError(f"retrieval.{key} is {getattr(self, key)}; it must be at least {low:g}")
        if self.b > 1:
            raise ValueError(f"retrieval.b is {self.b}; it must be at most 1")
        if self.timeout_s <= 0:
            raise ValueError(f"retrieval.timeout_s is {self.timeout_s}; it must be above 0")

    def check(self) -> None:
        """ValueError where no documents are named: by environments, which cannot do without."""
        if self.url is None and self.corpus is None:
            raise ValueError("retrieval names no documents; set retrieval.corpus, or retrieval.url")

    def ready(self) -> None:
        """UserError where the corpus is not there or empty, or the stemmer is not. No server is asked."""
        if self.url is not None or self.corpus == MADE:
            return
        path = Path(str(self.corpus)).expanduser()
        if path.suffix not in SUFFIXES:
            raise UserError(f"retrieval.corpus: {path} is no corpus; formats are {' and '.join(SUFFIXES)}")
        if not path.is_file():
            raise UserError(
                f"retrieval.corpus: there is no file {path}; check the path (relative paths start where rlvr "
                "runs)"
            )
        if path.stat().st_size == 0:
            raise UserError(f"retrieval.corpus: {path} is empty; give a file with at least one document")
