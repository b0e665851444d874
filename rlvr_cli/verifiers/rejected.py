"""A response without an answer that could be compared."""

from __future__ import annotations

from rlvr_cli.core.types import Reason, Verdict


class Rejected(Exception):
    """The response has no answer that could be compared; carries the verdict's reason."""

    def __init__(self, reason: Reason, detail: str, extracted: str | None = None) -> None:
        super().__init__(detail)
        self.verdict = Verdict(score=0.0, reason=reason, detail=detail, extracted=extracted)
