"""The JSON of `rlvr serve-verifier`: requests in, verdicts out."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from rlvr_cli.core.errors import hint
from rlvr_cli.core.types import Verdict

KEYS = ("response", "answer", "extra", "verifier")


class BadRequest(Exception):
    """What is wrong with a request, for its sender."""


class Item(NamedTuple):
    """The arguments of `Pool.submit`."""

    verifier: str
    response: str
    answer: str
    extra: dict[str, Any]


def parse(body: bytes, names: list[str]) -> tuple[list[Item], bool]:
    """The items of a request, and whether it was a single one without a list around it.

    `names`: the server's verifiers; an item need not name the only one.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadRequest("the body must be an object: an item, or {items: [...]}")
    if "items" not in content:
        return [_item(content, "", names)], True
    if not isinstance(content["items"], list) or set(content) != {"items"}:
        raise BadRequest("items must be a list, and the only key beside it none")
    return [_item(item, f"items[{n}]: ", names) for n, item in enumerate(content["items"])], False


def _item(item: Any, where: str, names: list[str]) -> Item:
    if not isinstance(item, dict):
        raise BadRequest(f"{where}an item must be an object with {', '.join(KEYS)}")
    if unknown := sorted(set(item) - set(KEYS)):
        raise BadRequest(f"{where}unknown key '{unknown[0]}'{hint(unknown[0], KEYS)}")
    for key in ("response", "answer"):
        if not isinstance(item.get(key), str):
            raise BadRequest(f"{where}{key} must be there, and text")
    extra = item.get("extra") or {}
    if not isinstance(extra, dict):
        raise BadRequest(f"{where}extra must be an object")
    name = item.get("verifier") or (names[0] if len(names) == 1 else None)
    if name is None:
        raise BadRequest(f"{where}verifier must be one of {', '.join(names)}")
    if name not in names:
        raise BadRequest(f"{where}there is no verifier '{name}'{hint(str(name), names)}")
    return Item(name, item["response"], item["answer"], extra)


def reply_of(verdicts: list[Verdict], single: bool) -> dict[str, Any]:
    found = [
        {
            "score": verdict.score,
            "reason": verdict.reason.value,
            "extracted": verdict.extracted,
            "detail": verdict.detail,
            "ms": verdict.ms,
        }
        for verdict in verdicts
    ]
    return found[0] if single else {"verdicts": found}


def counted(verdict: Verdict) -> tuple[str, float]:
    """(reason, seconds), for the metrics."""
    return verdict.reason.value, verdict.ms / 1000
