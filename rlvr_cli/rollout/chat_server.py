"""A hosted chat model as an engine: messages in, text out. Neither token ids nor logprobs are to be had."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import Request, Sampling
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.server import ServerEngine
from rlvr_cli.schema import Server
from rlvr_cli.vision.processor import processor_of

LIMITS = ("max_tokens", "max_completion_tokens")
"""Names of the length limit: the usual one, and the one that some models of OpenAI insist on."""


class ChatEngine(ServerEngine):
    """As `ServerEngine`, over `/chat/completions`; `tokenizer` (or None) counts where the server does not."""

    path = "/chat/completions"
    limit = LIMITS[0]

    def __init__(self, server: Server, *, model: str, tokenizer: Any, pause: float = 1.0) -> None:
        super().__init__(server, model=model, tokenizer=tokenizer, pause=pause)
        self._prompts = Prompts(processor_of(tokenizer))

    def body(self, request: Request, number: int, sampling: Sampling) -> dict[str, Any]:
        assert request.messages, "a chat server is asked with messages"
        asked: dict[str, Any] = {"messages": request.messages, self.limit: request.limit(sampling)}
        if (messages := self._prompts.spoken(request.messages, request.tokens)) is not None:
            # No response holds an image here either: scores are those of an engine in the process.
            asked |= {"messages": messages, **self._prompts.bans()}
        return asked

    def _sample(self, request: Request, number: int, sampling: Sampling) -> Completion:
        try:
            return super()._sample(request, number, sampling)
        except UserError as error:
            if self.limit == LIMITS[1] or LIMITS[1] not in str(error):
                raise
        self.limit = LIMITS[1]
        return super()._sample(request, number, sampling)

    def text_of(self, choice: dict[str, Any]) -> str:
        """What the model has said, with the reasoning that some servers keep apart put before it."""
        message = choice["message"]
        said = str(message.get("content") or message.get("refusal") or "")
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        return f"<think>\n{reasoning}\n</think>\n\n{said}" if reasoning else said
