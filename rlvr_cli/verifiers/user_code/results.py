"""What a user's function returns -> verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.user_code.conventions import Convention, Spec

EXTRACTED = ("pred", "extracted", "answer", "prediction")
MOST_KEYS = 64
"""Of a dict that are kept."""
MOST_CHARS = 1000
"""Of a text that is kept."""


class NoNumber(ValueError):
    """What was returned is not a reward; says what it is."""


def number(value: Any) -> float:
    """A finite float of a number: Python's, numpy's, one-element arrays and tensors. NoNumber otherwise."""
    if hasattr(value, "item") and not isinstance(value, type):
        try:
            value = value.item()
        except Exception as error:  # of an array with more than one element, in the words of its library
            raise NoNumber(f"{_shown(value)} is not one number") from error
    if not isinstance(value, bool | int | float | Decimal | Fraction):
        raise NoNumber(f"{_shown(value)} is not a number")
    try:
        found = float(value)
    except OverflowError as error:
        raise NoNumber(f"{_shown(value)} is too large") from error
    if not math.isfinite(found):
        raise NoNumber(f"returned {found}")
    return found


def _shown(value: Any) -> str:
    """`returned a str ('0.5')`, `returned a list of 3`"""
    size = f" of {len(value)}" if isinstance(value, Sequence | Mapping) and not isinstance(value, str) else ""
    text = f" ({value[:40]!r})" if isinstance(value, str) else ""
    return f"returned {type(value).__name__}{size}{text}, which"


def verdict_of(
    result: Any, convention: Convention, spec: Spec, correct_at: float, key: str | None
) -> Verdict:
    """The verdict on one response. NoNumber where the result says nothing.

    `key`: of a dict, what the reward is called; null: as the convention has it.
    """
    if isinstance(result, Verdict):
        return _ours(result)
    if result is None:
        return Verdict(score=0.0, reason=Reason.no_say, detail="returned None", raw=True)
    if isinstance(result, Mapping):
        return _of_dict(result, convention, spec, correct_at, key)
    if hasattr(result, "score") and hasattr(result, "reasoning"):  # open-instruct's VerificationResult
        text = {"reasoning": result.reasoning} if isinstance(result.reasoning, str) else {}
        cost = {"cost": number(result.cost)} if getattr(result, "cost", None) is not None else {}
        return _made(number(result.score), None, correct_at, None, cost | text)
    if convention is Convention.verl_prime and isinstance(result, Sequence) and not isinstance(result, str):
        result = result[0] if result else None
    return _made(number(result), None, correct_at, None, {})


def _ours(result: Verdict) -> Verdict:
    result.raw = True
    if result.scored:
        result.score = number(result.score)
    return result


def _of_dict(
    result: Mapping[str, Any], convention: Convention, spec: Spec, correct_at: float, key: str | None
) -> Verdict:
    rest = {str(name): value for name, value in result.items()}
    if convention is Convention.openrlhf and isinstance(logs := rest.pop("extra_logs", None), Mapping):
        rest |= {str(name): value for name, value in logs.items() if name not in rest}
    wanted = (key,) if key is not None else spec.reward
    name = next((each for each in wanted if each in rest), None)
    if name is None:
        raise NoNumber(f"returned a dict without '{wanted[0]}'; it has {', '.join(rest) or 'nothing'}")
    value = rest.pop(name)
    if value is None:
        return Verdict(score=0.0, reason=Reason.no_say, detail=f"'{name}' is None", raw=True)
    judged = next((rest[each] for each in spec.correct if rest.get(each) is not None), None)
    said = next((each for each in EXTRACTED if isinstance(rest.get(each), str)), None)
    return _made(
        _first(value),
        None if judged is None else _first(judged),
        correct_at,
        None if said is None else rest[said][:MOST_CHARS],
        {each: x for each, x in rest.items() if each != said},
    )


def _first(value: Any) -> float:
    """OpenRLHF's dict holds lists of one."""
    return number(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)


def _made(
    value: float, judged: float | None, correct_at: float, extracted: str | None, more: Mapping[str, Any]
) -> Verdict:
    deciding = value if judged is None else judged
    kept: dict[str, float | str] = {}
    for name, each in list(more.items())[:MOST_KEYS]:
        try:
            kept[name] = _first(each)
        except NoNumber:  # None, lists and texts are no metrics
            kept |= {name: each[:MOST_CHARS]} if isinstance(each, str) else {}
    return Verdict(
        score=value,
        reason=Reason.correct if deciding >= correct_at else Reason.wrong,
        extracted=extracted,
        raw=True,
        judged=judged,
        more=kept,
    )


def crash(detail: str) -> Verdict:
    """There is no verdict."""
    return Verdict(score=0.0, reason=Reason.crash, detail=detail[:300])


def verdicts_of(
    result: Any, count: int, convention: Convention, spec: Spec, correct_at: float, key: str | None
) -> list[Verdict]:
    """The verdicts of a call that answers for `count` responses; `crash` where it does not."""
    result = result.tolist() if hasattr(result, "tolist") else result
    if not isinstance(result, list | tuple):
        return [crash(f"returned {type(result).__name__}, not a list of {count}") for _ in range(count)]
    if len(result) != count:
        return [crash(f"returned a list of {len(result)} for {count} responses") for _ in range(count)]
    found = []
    for each in result:
        try:
            found.append(verdict_of(each, convention, spec, correct_at, key))
        except NoNumber as error:
            found.append(crash(str(error)))
    return found
