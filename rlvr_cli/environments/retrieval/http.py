"""A retriever behind HTTP, in Search-R1's form, which servers of dense indexes speak.

    POST /retrieve {"queries": [...], "topk": 3, "return_scores": true}
    {"result": [[{"document": {"id", "contents"}, "score": 0.8}, ...], ...]}    or the documents by themselves

Queries that come within a few milliseconds of each other travel in one request.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from rlvr_cli.environments.retrieval.document import Document, from_row
from rlvr_cli.environments.servers import NoAnswer, post

GATHER_S = 0.005
"""How long the first query waits for others."""
MOST = 128
"""Queries of a request."""
_Waiting = tuple[str, int, "Future[list[Document]]"]


class HttpRetriever:
    def __init__(self, url: str, timeout_s: float, retries: int) -> None:
        self._url, self._timeout_s, self._retries = url, timeout_s, retries
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []

    def search(self, queries: list[str], topk: int) -> list[list[Document]]:
        """Raises NoAnswer, which says what the server did, after all attempts."""
        mine: list[_Waiting] = [(query, topk, Future()) for query in queries]
        with self._lock:
            first = not self._waiting
            self._waiting += mine
        if first:
            time.sleep(GATHER_S)
            with self._lock:
                all_of_them, self._waiting = self._waiting, []
            for begin in range(0, len(all_of_them), MOST):
                self._send(all_of_them[begin : begin + MOST])
        return [found.result() for _, _, found in mine]

    def _send(self, waiting: list[_Waiting]) -> None:
        body = {
            "queries": [query for query, _, _ in waiting],
            "topk": max(topk for _, topk, _ in waiting),
            "return_scores": True,
        }
        try:
            answer = post("the retriever", self._url, body, timeout_s=self._timeout_s, retries=self._retries)
            found = self._read(answer, len(waiting))
        except Exception as error:  # whoever waits must be told, whatever it is
            for _, _, future in waiting:
                future.set_exception(error)
        else:
            for (_, topk, future), documents in zip(waiting, found, strict=True):
                future.set_result(documents[:topk])

    def _read(self, answer: Any, queries: int) -> list[list[Document]]:
        try:
            lists = answer["result"]
            if len(lists) != queries:
                raise ValueError(f"{len(lists)} lists of documents for {queries} queries")
            return [[_document(item, n) for n, item in enumerate(items, 1)] for items in lists]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise NoAnswer(
                f"the retriever at {self._url}: its answer is not in Search-R1's form: "
                f"{type(error).__name__}: {error}"
            ) from error


def _document(item: dict[str, Any], number: int) -> Document:
    if isinstance(item.get("document"), dict):
        return from_row(item["document"], number, float(item.get("score", 0.0)))
    return from_row(item, number)
