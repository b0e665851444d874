"""GenAcc: whether a gold answer stands in the response as a span of words, or else whether a judge says so.

The measure of s3 (2505.14146) for what a generator says. Without a judge it is cheap and strict about
spelling; with one the judge is asked only where no span is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers import open_qa
from rlvr_cli.verifiers.extract import Extraction, Rejected, after_reasoning, extract
from rlvr_cli.verifiers.golds import wrapped, wrong_for
from rlvr_cli.verifiers.judge import Judge

JUDGE_TOKENS = 10


@dataclass(kw_only=True)
class GenAcc:
    by_nature = "a gold that stands anywhere in the response"
    name: str = "gen_acc"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = None
    """Where the answer stands in the response; null: all that follows the last `</think>`."""
    judge_url: str | None = None
    """Of a judge with OpenAI's chat completions, up to and without /chat/completions; null: no judge."""
    judge_model: str | None = None
    """Its name on that server."""
    judge_key_env: str | None = None
    """Environment variable that holds its key; null: it wants none."""
    concurrency: int = 8
    """Requests to the judge at a time, each from a worker process of its own."""
    timeout_s: float = 60.0
    """Seconds for its verdict, retries included."""
    wait_s: float = 120.0
    """Seconds a judge that is down or too busy is waited for after that, before verdicts are given up."""
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.judge_url is None) != (self.judge_model is None):
            raise ValueError("judge_url and judge_model belong together; set both, or none")
        if self.judge_url is None and self.judge_key_env is not None:
            raise ValueError("judge_key_env is set and judge_url is not; set both, or none")
        if self.judge_url is not None:
            self._judge()

    def limits(self, config: Verification) -> Verification:
        return self._judge().limits(config) if self.judge_url else replace(config, workers=1)

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        """The verdict, unless a judge is to be asked for it."""
        try:
            said = self._said(response)
        except Rejected as rejected:
            return rejected.verdict
        if open_qa.span(said, answer):
            return Verdict(score=1.0, reason=Reason.correct, extracted=said[:300], detail="span")
        return None if self.judge_url else Verdict(score=0.0, reason=Reason.wrong, extracted=said[:300])

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        verdict = self.inline(response, answer, extra)
        if verdict is None:
            verdict = self._judge().verify(self._said(response), answer, extra)
        return verdict

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if open_qa.normalise(answer) else "nothing is left of it without punctuation and articles"

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [wrapped(text, self.extraction) for text in (answer, f"I think it is the {answer}.")]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        wrong = [text for text in wrong_for(self.extraction, answer) if not open_qa.span(text, answer)]
        return ["", *(wrapped(text, self.extraction) for text in wrong)]

    def _said(self, response: str) -> str:
        if self.extraction is not None:
            return extract(response, self.extraction)
        said = after_reasoning(response).strip()
        if not said:
            raise Rejected(Reason.no_answer, "the response is empty")
        return said

    def _judge(self) -> _YesOrNo:
        return _YesOrNo(
            base_url=self.judge_url or "",
            model=self.judge_model or "",
            api_key_env=self.judge_key_env,
            template=open_qa.JUDGE,
            max_tokens=JUDGE_TOKENS,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            wait_s=self.wait_s,
        )


class _YesOrNo(Judge):
    """A judge that answers in one word."""

    def _read(self, said: str) -> Verdict:
        verdict = open_qa.says_yes(said)
        if verdict is None:
            detail = f"the judge said neither yes nor no: {said[-200:]!r}"
            return Verdict(score=0.0, reason=Reason.malformed, detail=detail)
        reason = Reason.correct if verdict else Reason.wrong
        return Verdict(score=float(verdict), reason=reason, extracted=said[:300], detail="judge")
