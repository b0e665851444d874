"""GenAcc within an environment: a span, or else what a judge says of all golds together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.environments.generators import chat, check_key
from rlvr_cli.environments.servers import NoAnswer
from rlvr_cli.verifiers import open_qa

TOKENS = 10


@dataclass(kw_only=True)
class Judging:
    """A judge with OpenAI's chat completions; without one a gold counts only as a span of words."""

    base_url: str | None = None
    """Up to and without /chat/completions; null: no judge."""
    model: str | None = None
    """Its name on that server."""
    api_key_env: str | None = None
    """Environment variable that holds the key; null: it wants none."""
    timeout_s: float = 60.0
    """Seconds for its answer."""
    retries: int = 5
    """Further attempts after it did not answer, or answered 429 or 5xx."""

    def __post_init__(self) -> None:
        if (self.base_url is None) != (self.model is None):
            raise ValueError("judge.base_url and judge.model belong together; set both, or none")
        if self.base_url is None and self.api_key_env is not None:
            raise ValueError("judge.api_key_env is set and judge.base_url is not; set both, or none")

    @property
    def identity(self) -> list[Any]:
        return [self.base_url, self.model]

    def ready(self) -> None:
        """UserError where the key is not there."""
        check_key("judge", self.api_key_env)

    def gen_acc(self, question: str, golds: list[str], prediction: str) -> float:
        """1.0 or 0.0. Raises NoAnswer where the judge does not say which."""
        if any(open_qa.span(prediction, gold) for gold in golds):
            return 1.0
        if self.base_url is None or not prediction.strip():
            return 0.0
        asked = [{"role": "user", "content": open_qa.judge_prompt(question, golds, prediction)}]
        said = chat(
            "the judge",
            self.base_url,
            str(self.model),
            asked,
            max_tokens=TOKENS,
            timeout_s=self.timeout_s,
            retries=self.retries,
            key_env=self.api_key_env,
        )
        verdict = open_qa.says_yes(said)
        if verdict is None:
            raise NoAnswer(f"the judge at {self.base_url} said neither yes nor no: {said[:100]!r}")
        return float(verdict)
