"""Frozen generators: models that answer a question from documents, and are not trained."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any, Protocol

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.servers import NoAnswer, post
from rlvr_cli.verifiers import open_qa

SYSTEM = "Answer the question from the documents. Reply with the answer alone, in a few words."
PROMPT = "{context}\n\nQuestion: {question}\nAnswer:"
UNKNOWN = "unknown"


@dataclass(kw_only=True)
class Generation:
    """What answers the questions."""

    name: str = "server"
    """`server`: one with OpenAI's chat completions; `model`: a model in the environment's process;
    `gold_in_context`: no model but a rule, which answers right exactly where a gold stands in them."""
    base_url: str | None = None
    """Of a server: up to and without /chat/completions, e.g. http://localhost:8000/v1."""
    model: str | None = None
    """Its name on the server, or the model's folder or hub id."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key; null: it wants none."""
    device: str = "cpu"
    """Of a model in the process, e.g. cuda:1."""
    system: str = SYSTEM
    """System message."""
    prompt: str = PROMPT
    """The user's; {context} and {question} are put in."""
    max_tokens: int = 64
    """Of an answer, which is greedy."""
    timeout_s: float = 60.0
    """Seconds for an answer of a server."""
    retries: int = 5
    """Further attempts after the server did not answer, or answered 429 or 5xx."""

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise ValueError(f"generator.name is '{self.name}'; it must be one of {', '.join(KINDS)}")
        for place in ("{context}", "{question}"):
            if place not in self.prompt:
                raise ValueError(f"generator.prompt lacks {place}")
        for key in ("max_tokens", "timeout_s"):
            if getattr(self, key) <= 0:
                raise ValueError(f"generator.{key} is {getattr(self, key)}; it must be above 0")

    def check(self) -> None:
        """ValueError where it lacks what its kind needs."""
        needed = {"server": ("base_url", "model"), "model": ("model",)}.get(self.name, ())
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"generator.{key} is not set, which generator.name={self.name} needs")
        if self.name != "server" and self.base_url is not None:
            raise ValueError(f"generator.base_url is for a server; generator.name is {self.name}")

    def ready(self) -> None:
        """UserError where the key is not there."""
        check_key("generator", self.api_key_env)

    @property
    def identity(self) -> list[Any]:
        """What its answers depend on besides question and documents."""
        if self.name == "gold_in_context":
            return [self.name]
        return [self.name, self.base_url, self.model, self.system, self.prompt, self.max_tokens]

    def messages(self, question: str, context: str) -> list[dict[str, str]]:
        text = self.prompt.replace("{question}", question, 1).replace("{context}", context, 1)
        return [
            *([{"role": "system", "content": self.system}] if self.system else []),
            {"role": "user", "content": text},
        ]


class Generator(Protocol):
    def answer(self, question: str, context: str, golds: list[str]) -> str: ...


class ServerGenerator:
    def __init__(self, settings: Generation) -> None:
        self._settings = settings

    def answer(self, question: str, context: str, golds: list[str]) -> str:
        """Raises NoAnswer."""
        its = self._settings
        return chat(
            "the generator",
            str(its.base_url),
            str(its.model),
            its.messages(question, context),
            max_tokens=its.max_tokens,
            timeout_s=its.timeout_s,
            retries=its.retries,
            key_env=its.api_key_env,
        )


class ModelGenerator:
    """Loads the model at once; answers one question at a time."""

    def __init__(self, settings: Generation) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._settings, self._lock = settings, threading.Lock()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(settings.model))
            model: Any = AutoModelForCausalLM.from_pretrained(str(settings.model), dtype="auto")
        except (OSError, ValueError) as error:
            said = str(error).strip().splitlines()[0][:200]
            raise UserError(f"generator.model: {settings.model} cannot be loaded: {said}") from error
        self._model = model.to(settings.device).eval()

    def answer(self, question: str, context: str, golds: list[str]) -> str:
        import torch

        messages = self._settings.messages(question, context)
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        else:
            text = "\n\n".join(each["content"] for each in messages)
        with self._lock, torch.inference_mode():
            ids = self._tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
            made = self._model.generate(
                ids.to(self._settings.device), max_new_tokens=self._settings.max_tokens, do_sample=False
            )
        return str(self._tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)).strip()


class GoldInContext:
    """No model: the first gold that stands in the documents as a span, else `unknown`. For tests and toys."""

    def __init__(self, settings: Generation) -> None: ...

    def answer(self, question: str, context: str, golds: list[str]) -> str:
        return next((gold for gold in golds if open_qa.span(context, gold)), UNKNOWN)


KINDS: dict[str, type] = {
    "server": ServerGenerator,
    "model": ModelGenerator,
    "gold_in_context": GoldInContext,
}


def open_generator(settings: Generation) -> Generator:
    """Ready to answer, in any thread. UserError where a model cannot be loaded."""
    made: Generator = KINDS[settings.name](settings)
    return made


def chat(
    what: str,
    base_url: str,
    model: str,
    messages: list[dict[str, str]],
    *,
    max_tokens: int,
    timeout_s: float,
    retries: int,
    key_env: str | None,
) -> str:
    """What a server with OpenAI's chat completions says, at temperature 0. Raises NoAnswer."""
    body = {"model": model, "messages": messages, "temperature": 0.0, "max_tokens": max_tokens}
    url = f"{base_url.rstrip('/')}/chat/completions"
    reply = post(what, url, body, timeout_s=timeout_s, retries=retries, key_env=key_env)
    try:
        return str(reply["choices"][0]["message"]["content"] or "").strip()
    except (LookupError, TypeError) as error:
        raise NoAnswer(f"{what} at {url}: its reply is no chat completion") from error


def check_key(key: str, variable: str | None) -> None:
    """UserError where the variable is named and not set."""
    if variable is not None and not os.environ.get(variable):
        raise UserError(f"{key}.api_key_env: the environment variable {variable} is not set")
