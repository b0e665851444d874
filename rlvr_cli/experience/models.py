"""Who is asked: the engine of this process, a server that takes tokens, or one that takes chat messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from rlvr_cli.core.types import Completion
from rlvr_cli.data.prompts import Messages, encode, encode_plain, shown
from rlvr_cli.experience.calls import Answer, Call, digest
from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.rollout.engine import CPU_SEQUENCES
from rlvr_cli.rollout.server import ServerEngine


@dataclass(slots=True, kw_only=True)
class Model:
    """A model that answers calls."""

    engine: Engine
    name: str
    """Of the model, with what tells its weights from others of that name: part of what a call asks."""
    tokenizer: Any
    """None: a server of chat messages."""
    positions: int | None
    """Tokens of question and answer together; None: a server's own affair."""
    at_once: int | None
    """Calls of an engine that are given to it together."""

    def call(self, name: str, messages: Messages, sampling: Sampling, seed: int | None) -> Call | None:
        """A question in a conversation; None where it does not fit."""
        if self.tokenizer is None:
            return self.of_prompt(name, messages, [], sampling, seed)
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            tokens = encode(str(text), self.tokenizer)
        else:
            text = "\n\n".join(message["content"] for message in messages) + "\n"
            tokens = encode_plain(text, self.tokenizer)
        return self.of_prompt(name, str(text), tokens, sampling, seed)

    def of_prompt(
        self, name: str, prompt: Messages | str, tokens: list[int], sampling: Sampling, seed: int | None
    ) -> Call | None:
        """A prompt that is rendered already: messages for a server of chat, else tokens of the text."""
        if self.positions is not None and len(tokens) + sampling.max_tokens > self.positions:
            return None
        messages = prompt if isinstance(prompt, list) else []
        request = Request(key=0, tokens=tokens, samples=1, seed=seed, messages=messages)
        asked = digest(self.name, prompt, asdict(sampling), seed)
        return Call(name=name, asked=asked, request=request, sampling=sampling)

    def answers(self, calls: Iterable[Call]) -> Iterator[tuple[Call, Answer]]:
        """As they come. All have the same sampling."""
        if isinstance(self.engine, ServerEngine):
            yield from self._of_server(self.engine, iter(calls))
            return
        left = iter(calls)
        while some := list(islice(left, self.at_once or CPU_SEQUENCES)):
            for number, each in enumerate(some):
                each.request.key = number
            for key, [completion] in self.engine.generate([c.request for c in some], some[0].sampling):
                yield some[key], _answer(some[key], completion)

    def _of_server(self, server: ServerEngine, calls: Iterator[Call]) -> Iterator[tuple[Call, Answer]]:
        first = next(calls, None)
        if first is None:
            return
        begun = {id(first.request): first}

        def wanted() -> Iterator[tuple[Request, int]]:
            yield first.request, 0
            for call in calls:
                begun[id(call.request)] = call
                yield call.request, 0

        for request, _, completion in server.samples(wanted(), first.sampling):
            call = begun.pop(id(request))
            yield call, _answer(call, completion)


def _answer(call: Call, completion: Completion) -> Answer:
    asked = completion.prompt_length
    return Answer(
        text=completion.text,
        finished=completion.finished,
        tokens=len(completion.tokens),
        prompt_tokens=len(call.request.tokens) if asked is None else asked,
    )


def text_of(prompt: Messages | str) -> str:
    """As a reader sees it."""
    return prompt if isinstance(prompt, str) else shown(prompt)
