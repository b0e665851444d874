"""math-verify by itself, as a verifier: what it finds in a response is compared with the gold answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict


@dataclass(kw_only=True)
class MathVerify:
    name: str = "math_verify_alone"
    weight: float = 1.0

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        from math_verify import parse, verify

        # The worker has a deadline of its own.
        gold, found = (parse(text, parsing_timeout=None) for text in (f"\\boxed{{{answer}}}", response))
        equal = verify(gold, found, timeout_seconds=None)
        return Verdict(score=float(equal), reason=Reason.correct if equal else Reason.wrong)
