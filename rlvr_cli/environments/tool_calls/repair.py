"""The three repairs that `repair: true` allows: code fences, trailing commas, arguments that are quoted JSON.

The third stands in json_calls.py. What is mended is counted, since it changes what a policy learns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"```(?:json|python|tool_call)?[ \t]*\n?(.*?)\n?[ \t]*```", re.DOTALL)
_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


def unfenced(text: str) -> str:
    """Without the code fence around it, if all of it is one."""
    found = _FENCE.fullmatch(text.strip())
    return found[1] if found else text


def without_commas(text: str) -> str:
    """Without commas before a closing brace or bracket, outside of strings."""
    return _STRING_OR_COMMA.sub(lambda found: "" if found[0] == "," else found[0], text)


def mended(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the text may have been meant to be, and what was done to it; the smallest changes first."""
    bare = unfenced(text)
    for candidate, done in ((text, ()), (bare, ("fence",))):
        if done and bare == text:
            return
        if done:
            yield candidate, done
        if (fewer := without_commas(candidate)) != candidate:
            yield fewer, (*done, "comma")
