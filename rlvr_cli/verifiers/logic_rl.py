"""Knights and knaves as Logic-RL (2502.14768) scores them: form first, then an answer that names everybody.

Values on a scale of their own: right 3, wrong -0.5, unreadable -1, and -3 without the form, in which case the
answer is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.format import tag_fault

TAGS = ["think", "answer"]
STATEMENT = re.compile(r"\b(\w+) is an? (\w+)")
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass(kw_only=True)
class LogicRl:
    name: str = "logic_rl"
    weight: float = 1.0
    gate: bool = False
    """Not possible: its values are no factors from 0 to 1."""
    form: float = 1.0
    """For the form; without it its negative."""
    right: float = 2.0
    """Everybody's role is the gold one."""
    wrong: float = -1.5
    """Somebody's is not."""
    unreadable: float = -2.0
    """Somebody of the gold answer is not named, or the form is missing."""
    opened: bool = False
    """The prompt has opened `<think>`: the response begins within it."""

    def __post_init__(self) -> None:
        if self.gate:
            raise ValueError(
                "a gate multiplies and takes values from 0 to 1; logic_rl has others: set gate=false"
            )
        if not self.unreadable <= self.wrong < self.right:
            raise ValueError(
                f"unreadable ({self.unreadable}) <= wrong ({self.wrong}) < right ({self.right}) must hold"
            )

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        response = f"<think>{response}" if self.opened else response
        if fault := tag_fault(response, TAGS):
            return self._verdict(-self.form + self.unreadable, Reason.malformed, "", fault)
        said = ANSWER.search(response)
        assert said is not None  # the form has one
        found, gold = roles(said[1]), roles(answer)
        text = ", ".join(f"{who} {what}" for who, what in sorted(found.items()))
        if missing := sorted(gold.keys() - found.keys()):
            value = self.form + self.unreadable
            return self._verdict(value, Reason.no_answer, text, f"says nothing of {', '.join(missing)}")
        equal = all(found[who] == what for who, what in gold.items())
        value = self.form + (self.right if equal else self.wrong)
        return self._verdict(value, Reason.correct if equal else Reason.wrong, text, "")

    inline = verify

    def _verdict(self, value: float, reason: Reason, found: str, detail: str) -> Verdict:
        return Verdict(
            score=value,
            reason=reason,
            extracted=found[:300] or None,
            detail=detail,
            raw=True,
            judged=float(reason is Reason.correct),
        )

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        return None if roles(answer) else "it says of nobody what they are (`Zoey is a knight`)"


def roles(text: str) -> dict[str, str]:
    """Who is what, in lower case; of somebody named twice the last counts, as in Logic-RL's parser of a line
    a person."""
    return {who.lower(): what.lower() for who, what in STATEMENT.findall(text)}
