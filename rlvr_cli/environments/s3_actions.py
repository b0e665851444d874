"""What a turn of s3's searcher asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rlvr_cli.core.files import from_json

_COMPLETE = re.compile(r"<search_complete>(.*?)</search_complete>", re.DOTALL)
_QUERY = re.compile(r"<query>(.*?)</query>", re.DOTALL)
_SELECTED = re.compile(r"<important_info>(.*?)</important_info>", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{1,4}")


@dataclass(slots=True, frozen=True, kw_only=True)
class Action:
    selected: list[int] | None
    """Numbers of documents in the order given, each once; None: nothing is said of them."""
    complete: bool
    """No more searches, whatever else is said."""
    query: str
    """"" where there is none."""


def parse_action(text: str) -> Action:
    """The first of each tag counts. A query that is no JSON is taken as it is written."""
    selected, complete, query = (tag.search(text) for tag in (_SELECTED, _COMPLETE, _QUERY))
    numbers = None if selected is None else list(dict.fromkeys(map(int, _NUMBER.findall(selected[1]))))
    done = complete is not None and complete[1].strip().lower() in ("true", "yes", "1", "y")
    return Action(selected=numbers, complete=done, query="" if query is None else _query(query[1].strip()))


def _query(text: str) -> str:
    """The value of `query` in a JSON object, of a list its first; else the text."""
    try:
        found = from_json(text)
    except ValueError:
        return text
    if isinstance(found, dict) and "query" in found:
        found = found["query"]
        if isinstance(found, list) and found:
            found = found[0]
    return found.strip() if isinstance(found, str) else text
