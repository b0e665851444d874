"""Retrievers: questions in, documents out; an index of our own over a corpus, or a server."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rlvr_cli.environments.retrieval.document import Document as Document
from rlvr_cli.environments.retrieval.settings import MADE
from rlvr_cli.environments.retrieval.settings import Retrieval as Retrieval


class Retriever(Protocol):
    def search(self, queries: list[str], topk: int) -> list[list[Document]]:
        """For each query the documents that fit best, the best first, at most `topk`. Any thread may ask."""
        ...


def open_retriever(settings: Retrieval) -> Retriever:
    """What `settings` name, ready to be asked. UserError where a corpus cannot be read."""
    if settings.url is not None:
        from rlvr_cli.environments.retrieval.http import HttpRetriever

        return HttpRetriever(settings.url, settings.timeout_s, settings.retries)
    from rlvr_cli.environments.retrieval.bm25 import open_index

    return open_index(settings)


def index_path(settings: Retrieval) -> Path | None:
    """Where the index of the corpus is kept; None for a server, and for a corpus made in the process."""
    if settings.corpus is None or settings.corpus == MADE:
        return None
    from rlvr_cli.environments.retrieval.bm25 import index_folder

    return index_folder(Path(settings.corpus).expanduser(), settings)
