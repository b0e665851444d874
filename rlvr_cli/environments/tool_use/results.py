"""What a tool returns, as the text that a policy is given."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from enum import Enum
from typing import Any

JOINER = "\N{ZERO WIDTH JOINER}"
MARK = "...(truncated)..."
WORDS = (
    "s|bos|eos|pad|unk|mask|think|tools|tool|tool_call|tool_calls|tool_response|tool_result|start_of_turn|end_of_turn|"
    "start_of_image|end_of_image|image_soft_token|function_calls"
)
CONTROL = re.compile(
    rf"<(?=/?(?:{WORDS})>)"  # <end_of_turn>, </s>
    r"|<(?=[|｜][^<>\n]{1,60}>)|<(?=/?\w[^<>\n]{0,60}[|｜]>)"  # <|im_end|>, <|tool_call>, <tool_call|>
    r"|\[(?=/?[A-Z_]{3,24}\])"  # [INST], [/TOOL_RESULTS]
)
"""The first character of what a chat template may use to say who speaks."""


class Side(Enum):
    """Which part of a long result is kept."""

    left = "left"
    right = "right"
    middle = "middle"
    """Both ends: the middle is left out."""


def text_of(value: Any) -> str:
    """dict, list and tuple as JSON, a verl `ToolResponse` its text, all else by `str`."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    said = getattr(value, "text", None)
    if not isinstance(value, str) and isinstance(said, str):
        return said
    return str(value)


def cut(text: str, most: int, side: Side) -> str:
    """At most so many characters of it, and a mark where more were."""
    if len(text) <= most:
        return text
    if side is Side.left:
        return text[:most] + MARK
    if side is Side.right:
        return MARK + text[len(text) - most :]
    begin = (most + 1) // 2
    return text[:begin] + MARK + text[len(text) - (most - begin) :]


def harmless(text: str, tags: Collection[str] = ()) -> str:
    """The text with a joiner inside all that a tokenizer or a parser would read as a control string: what a
    tool returns cannot end its own turn. `tags`: more names that stand in angle brackets."""
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be tokenised
    text = CONTROL.sub(lambda found: found[0] + JOINER, text)
    for tag in tags:
        text = re.sub(rf"<(?=/?{re.escape(tag)}>)", f"<{JOINER}", text)
    return text
