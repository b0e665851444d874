"""The JSON of `rlvr serve-verifier`: requests in, verdicts out."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

from rlvr_cli.core import progress
from rlvr_cli.core.errors import hint
from rlvr_cli.core.files import from_json
from rlvr_cli.core.flatten import deeper
from rlvr_cli.core.types import Verdict

KEYS = ("response", "answer", "extra", "verifier", "progress")


MAX_VALUES = 1_000_000
"""JSON values of a request: some take thirty times their text in memory."""
VALUE_BYTES = 100
"""Of memory for a value, besides its text."""
MAX_LEVELS = 50
"""Of nesting in `extra`."""
SHOWN = 60
"""Characters of a key or name that an error quotes."""
EXTRACTED, DETAIL = 10_000, 1_000
"""Characters of a verdict's texts in an answer."""

# Possessive, and the end of a string may be missing: every character is looked at once.
_VALUE = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{,]', re.DOTALL)


class BadRequest(Exception):
    """What is wrong with a request, for its sender."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Item(NamedTuple):
    """The arguments of `Pool.submit`."""

    verifier: str
    response: str
    answer: str
    extra: dict[str, Any]


def decode(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig", "surrogatepass")
    except UnicodeDecodeError:
        raise BadRequest("the body is not JSON: it is not UTF-8 text") from None


def values(text: str) -> int:
    """About how many JSON values a body holds, before they are made; BadRequest above MAX_VALUES."""
    found = sum(1 for _ in islice(_VALUE.finditer(text), MAX_VALUES + 1))
    if found > MAX_VALUES:
        raise BadRequest(f"at most {MAX_VALUES} values a request; send fewer items at a time", 413)
    return found


def content_of(text: str) -> Any:
    """What a body says; BadRequest where it is not JSON."""
    try:
        return from_json(text)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from None


def parse(text: str, names: list[str], most: int) -> tuple[list[Item], bool]:
    """The items of a request (at most `most`), and whether it was a single one without a list around it.

    `names`: the server's verifiers; an item need not name the only one.
    """
    content = content_of(text)
    if not isinstance(content, dict):
        raise BadRequest("the body must be an object: an item, or {items: [...]}")
    if "items" not in content:
        return [_item(content, "", names)], True
    if not isinstance(content["items"], list) or set(content) != {"items"}:
        raise BadRequest("items must be a list, and the only key beside it none")
    if len(content["items"]) > most:
        raise BadRequest(f"{len(content['items'])} items; at most {most} a request", 413)
    return [_item(item, f"items[{n}]: ", names) for n, item in enumerate(content["items"])], False


def _item(item: Any, where: str, names: list[str]) -> Item:
    if not isinstance(item, dict):
        raise BadRequest(f"{where}an item must be an object with {', '.join(KEYS)}")
    if unknown := sorted(set(item) - set(KEYS)):
        raise BadRequest(f"{where}unknown key '{unknown[0][:SHOWN]}'{hint(unknown[0][:SHOWN], KEYS)}")
    for key in ("response", "answer"):
        if not isinstance(item.get(key), str):
            raise BadRequest(f"{where}{key} must be there, and text")
    extra = item.get("extra") or {}
    if not isinstance(extra, dict) or deeper(extra, MAX_LEVELS):
        raise BadRequest(f"{where}extra must be an object of at most {MAX_LEVELS} levels")
    name = item.get("verifier") or (names[0] if len(names) == 1 else None)
    if name is None:
        raise BadRequest(f"{where}verifier must be one of {', '.join(names)}")
    if name not in names:
        shown = str(name)[:SHOWN]
        raise BadRequest(f"{where}there is no verifier '{shown}'{hint(shown, names)}")
    told = _progress(item.get("progress"), where)
    return Item(
        name, item["response"], item["answer"], extra | ({} if told is None else {progress.KEY: told})
    )


def _progress(given: Any, where: str) -> progress.Progress | None:
    """Of the client's run; None: it trains nothing by the verdict."""
    if given is None:
        return None
    try:
        return progress.Progress(**given)
    except (TypeError, ValueError):
        raise BadRequest(
            f"{where}progress must be {{step, total_steps}}, whole numbers, 0 <= step <= total_steps"
        ) from None


def reply_of(verdicts: list[Verdict], single: bool) -> dict[str, Any]:
    found = [
        {
            "score": verdict.score,
            "reason": verdict.reason.value,
            "extracted": verdict.extracted and verdict.extracted[:EXTRACTED],
            "detail": verdict.detail[:DETAIL],
            "ms": verdict.ms,
            **({"raw": True} if verdict.raw else {}),
            **({"judged": verdict.judged} if verdict.raw or verdict.judged is not None else {}),
            **({"more": verdict.more} if verdict.raw or verdict.more else {}),
        }
        for verdict in verdicts
    ]
    return found[0] if single else {"verdicts": found}


def counted(verdict: Verdict) -> tuple[str, float]:
    """(reason, seconds), for the metrics."""
    return verdict.reason.value, verdict.ms / 1000
