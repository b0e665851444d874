"""`<image>` in a problem's text: where its images stand in a message."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.errors import UserError

MARK = "<image>"

Messages = list[dict[str, str]]


def placed(prompt: str | Messages, images: int, where: str) -> str | Messages:
    """The prompt with a mark for each of its images: those without any come first in the first user message.

    UserError where there are marks, and not as many as images.
    """
    texts = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    marks = sum(text.count(MARK) for text in texts)
    if marks == images:
        return prompt
    if marks:
        raise UserError(
            f"{where}: its text has {MARK} {marks} times and it has {images} image{'s' * (images != 1)}; "
            "give it one for each, or none to have them first"
        )
    if isinstance(prompt, str):
        return MARK * images + prompt
    first = next((n for n, message in enumerate(prompt) if message["role"] == "user"), 0)
    whole = [dict(message) for message in prompt]
    whole[first]["content"] = MARK * images + whole[first]["content"]
    return whole


def typed(messages: Messages) -> list[dict[str, Any]]:
    """Contents with marks as the lists of typed parts that chat templates take."""
    return [
        message | {"content": parts(message["content"])} if MARK in message["content"] else message
        for message in messages
    ]


def parts(text: str) -> list[dict[str, str]]:
    """Text and images in turn; no part is empty."""
    found: list[dict[str, str]] = []
    for n, piece in enumerate(text.split(MARK)):
        if n:
            found.append({"type": "image"})
        if piece:
            found.append({"type": "text", "text": piece})
    return found


def marked(content: list[Any], where: str) -> str:
    """Typed parts, as some data sets have them, as one text with marks."""
    text = ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("image", "image_url") or (kind is None and isinstance(part, dict) and "image" in part):
            text += MARK
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            text += part["text"]
        else:
            raise UserError(
                f"{where}: a part of a message is {kind or type(part).__name__}; it must be text or image"
            )
    return text
