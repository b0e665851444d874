"""What an editor has written -> operations and insights.

Its answers are data: what cannot be read is said, and asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rlvr_cli.core.files import from_json
from rlvr_cli.experience.operations import Kind, Operation

FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)
TAG = re.compile(r"<experiences>(.*?)</experiences>", re.DOTALL | re.IGNORECASE)
NUMBERED = re.compile(r"^\s*(?:\d+\s*[.):]|[-*])\s+(.+?)\s*$")
KEYS: dict[Kind, tuple[str, ...]] = {
    Kind.add: ("experience",),
    Kind.modify: ("experience", "modified_from"),
    Kind.merge: ("experience", "merged_from"),
}
"""Of form `merge`, by option."""


class Malformed(ValueError):
    """Why an answer cannot be used, in words that its writer is told."""


def said(answer: str) -> str:
    """Without what was thought before it."""
    return answer.rpartition("</think>")[2].strip()


def summary(answer: str) -> str:
    """The text of a summary."""
    if not (text := said(answer)):
        raise Malformed("the answer is empty")
    return text


def merge_operations(
    answer: str, allowed: tuple[Kind, ...], most: int | None, max_words: int
) -> list[Operation]:
    """Items `{"option": ..., "experience": ..., "modified_from" or "merged_from": ...}`; `most`: the first
    so many of them, None: all."""
    found = []
    for number, item in enumerate(_items(answer)[:most], 1):
        kind = _kind(item.get("option"), allowed, f"item {number}: option")
        for key in KEYS[kind]:
            if key not in item:
                raise Malformed(f"item {number} has no '{key}'")
        ids: Any = item.get("modified_from") if kind is Kind.modify else item.get("merged_from", [])
        ids = ids if isinstance(ids, list) else [ids]
        text = checked(item["experience"], max_words, f"item {number}")
        found.append(Operation(kind=kind, text=text, ids=() if kind is Kind.add else _ids(ids, number)))
    return found


def update_operations(answer: str, max_words: int) -> list[Operation]:
    """Items `{"operation": ADD | UPDATE | DELETE | NONE, "id": ..., "content": ...}`."""
    allowed = (Kind.add, Kind.update, Kind.delete, Kind.none)
    found = []
    for number, item in enumerate(_items(answer), 1):
        kind = _kind(item.get("operation"), allowed, f"item {number}: operation")
        ids = _ids([item.get("id")], number) if kind in (Kind.update, Kind.delete) else ()
        content = item.get("content")
        text = ""
        if kind in (Kind.add, Kind.update) and isinstance(content, str) and content.strip():
            text = checked(content, max_words, f"item {number}")
        found.append(Operation(kind=kind, text=text, ids=ids))
    return found


def insights(answer: str, most: int, max_words: int) -> list[str]:
    """The numbered lines of `<Experiences>`; the first `most` of them."""
    blocks = TAG.findall(said(answer))
    if not blocks:
        raise Malformed("there is no <Experiences> ... </Experiences>")
    lines = [line[1] for line in map(NUMBERED.match, blocks[-1].splitlines()) if line is not None]
    if not lines and blocks[-1].strip():
        raise Malformed("the lines within <Experiences> are not numbered: `1. ...`")
    return [checked(text, max_words, f"experience {n}") for n, text in enumerate(lines[:most], 1)]


def checked(text: object, max_words: int, where: str) -> str:
    """An experience on one line, of at most `max_words` words."""
    if not isinstance(text, str) or not text.strip():
        raise Malformed(f"{where}: the experience is no text")
    words = text.split()
    if len(words) > max_words:
        raise Malformed(f"{where}: the experience has {len(words)} words; it may have {max_words}")
    return " ".join(words)


def _items(answer: str) -> list[Mapping[str, Any]]:
    """The list of objects in the last fence, or the whole answer where there is none."""
    text = said(answer)
    blocks = FENCE.findall(text)
    try:
        found = from_json(blocks[-1] if blocks else text)
    except ValueError as error:
        raise Malformed(f"there is no JSON list in a ```json fence ({error})") from None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Malformed("the JSON is no list of objects")
    return found


def _kind(value: object, allowed: tuple[Kind, ...], where: str) -> Kind:
    names = {kind.value: kind for kind in allowed}
    kind = names.get(value.strip().lower()) if isinstance(value, str) else None
    if kind is None:
        raise Malformed(f"{where} is {value!r:.40}; it must be one of {', '.join(names)}")
    return kind


def _ids(given: list[Any], number: int) -> tuple[str, ...]:
    """`G5` for "G5", "[G5]", "5" or 5."""
    found = []
    for each in given:
        match = re.fullmatch(r"\[?([A-Z]?)(\d{1,9})\]?\.?", str(each).strip())
        if match is None or isinstance(each, bool):
            raise Malformed(f"item {number}: {each!r:.40} is no id such as G0")
        found.append(f"{match[1] or 'G'}{int(match[2])}")
    if not found:
        raise Malformed(f"item {number} names no experience")
    return tuple(found)
