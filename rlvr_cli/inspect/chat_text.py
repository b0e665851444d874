"""A prompt's text in the chat template and out of it."""

from __future__ import annotations

from typing import Any


def chat(tokenizer: Any, text: str) -> str:
    """What a user says as a chat template renders it, with the opening of the answer."""
    messages = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def bare(tokenizer: Any, text: str) -> str:
    """What the user says in a rendered prompt of one message; the text as it is where it is none."""
    before, _, after = chat(tokenizer, "\x1f").partition("\x1f")
    inside = text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after)
    return text[len(before) : len(text) - len(after)] if inside else text
