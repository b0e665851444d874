"""Response tokens -> the text that verifiers see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

NAMED = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


class ResponseText:
    """Decodes responses: without the tokens that begin, end or pad a text or stand for what is unknown.

    Other special tokens are part of it: a model writes `<think>` and `</think>`, and verifiers read them.
    `eos`: every token that ends a response.
    """

    def __init__(self, tokenizer: Any, eos: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        named = (getattr(tokenizer, name, None) for name in NAMED)
        self._unseen = frozenset(eos) | {token for token in named if token is not None}

    def __call__(self, tokens: Iterable[int]) -> str:
        return str(self.tokenizer.decode([token for token in tokens if token not in self._unseen]))

    def whole(self, tokens: Iterable[int]) -> str:
        """With all special tokens."""
        return str(self.tokenizer.decode(list(tokens)))

    def trimmed(self, text: str) -> str:
        """A text that somebody else decoded, without such tokens at its end."""
        ends = tuple(str(token) for token in self.tokenizer.convert_ids_to_tokens(sorted(self._unseen)))
        while text.endswith(ends):
            text = next(text.removesuffix(end) for end in ends if text.endswith(end))
        return text
