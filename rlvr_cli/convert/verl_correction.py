"""verl's rollout correction -> `algorithm.mismatch`: weights, rejection, bypass."""

from __future__ import annotations

import math
from typing import Any

from rlvr_cli.convert.draft import Draft

CORRECTION = "algorithm.rollout_correction."
WEIGH, REJECT = CORRECTION + "rollout_is", CORRECTION + "rollout_rs"
NORMALISE, VETO = CORRECTION + "rollout_is_batch_normalize", CORRECTION + "rollout_token_veto_threshold"
BYPASS, LOSS = CORRECTION + "bypass_mode", CORRECTION + "loss_type"
PURE = CORRECTION + "use_pure_rollout_correction"
"""The loss_type of older versions: whether it is reinforce."""
LEVELS = {"token_k1": "token", "seq_mean_k1": "geometric", "seq_sum_k1": "sequence"}
OLD_LEVELS = ("token", "geometric", "sequence")
OVER = {"token": "token", "seq_sum": "sum", "seq_mean": "mean", "seq_max": "max"}
DIVERGENCES = {f"{over}_{k}": (ours, k) for over, ours in OVER.items() for k in ("k2", "k3")}


def convert(draft: Draft) -> None:
    """After the loss, whose ratio and clip go where verl has none."""
    given = draft.given
    bypass = bool(given.get(BYPASS))
    pure = bool(given.get(PURE)) if given.has(PURE) else given.get(LOSS) == "reinforce"
    level = given.get(WEIGH) if given.has(WEIGH) else None
    if bypass and pure:
        draft.choose("loss", "reinforce", "bypass with loss_type reinforce: no ratio, no clip", LOSS, PURE)
        draft.values = {path: v for path, v in draft.values.items() if path[:2] != ("algorithm", "loss")}
    elif bypass and level:
        level = None  # the ratio new / rollout is all of it
        given.take(WEIGH + "_threshold")
    given.take(LOSS, PURE, WEIGH, REJECT)
    if criteria := _criteria(draft):
        _rejection(draft, criteria, level)
    elif level in ("token", "sequence"):
        _weight(draft, level)
    else:
        draft.choose("mismatch", "none")
    weighs = draft.options["mismatch"][0] != "none" or not pure
    if bypass and weighs:
        draft.put("algorithm.mismatch.proximal", "rollout", "bypass_mode", BYPASS)
    given.take(BYPASS)
    _normalise(draft, bypass)


def _weight(draft: Draft, level: str) -> None:
    key = WEIGH + "_threshold"
    low, high = bounds(draft.given.get(key))
    if low is None:
        draft.choose("mismatch", "truncate", "rollout_is", WEIGH)
        draft.put("algorithm.mismatch.cap", high, draft.origin(key), key)
    else:
        draft.choose("mismatch", "mask", "rollout_is with two bounds", WEIGH, key)
        draft.put("algorithm.mismatch.low", low, draft.origin(key))
        draft.put("algorithm.mismatch.high", high, draft.origin(key))
        draft.put("algorithm.mismatch.weight", level, "rollout_is")
    draft.put("algorithm.mismatch.level", level, "rollout_is")


def _criteria(draft: Draft) -> list[tuple[str, Any]]:
    """(criterion, threshold) of rollout_rs, those that there are."""
    given, key = draft.given, REJECT + "_threshold"
    names = [name.strip() for name in str(given.get(REJECT) or "").split(",") if given.has(REJECT)]
    thresholds = str(given.get(key) or 2.0).split(",")
    thresholds = thresholds * len(names) if len(thresholds) == 1 else thresholds
    found = dict(zip(filter(None, names), thresholds, strict=False))
    unknown = [n for n in found if n not in LEVELS and n not in OLD_LEVELS and n not in DIVERGENCES]
    if unknown:
        given.lose(REJECT, f"there is no such criterion: {', '.join(unknown)}")
        given.settle(f"algorithm/mismatch: {', '.join(unknown)} is not there; without it is a guess")
    if found:
        given.take(key)
    return [(name, threshold) for name, threshold in found.items() if name not in unknown]


def _rejection(draft: Draft, criteria: list[tuple[str, Any]], level: str | None) -> None:
    given = draft.given
    vetoes = [pair for pair in criteria if pair[0].startswith("seq_max")] if len(criteria) > 1 else []
    first, *more = [pair for pair in criteria if pair not in vetoes] or criteria[:1]
    _criterion(draft, *first)
    for name, threshold in vetoes:
        low, high = within(name[-2:], float(threshold))
        comment = f"{name} of {threshold} are these bounds of every token"
        draft.put("algorithm.mismatch.veto_low", low, comment)
        draft.put("algorithm.mismatch.veto_high", high, comment)
    if more:
        names = ", ".join(name for name, _ in more)
        given.lose(REJECT, f"one criterion, and bounds of every token beside it: without {names}")
        given.settle(f"algorithm/mismatch: {names} of rollout_rs is left out")
    if given.has(VETO) and given.get(VETO) is not None:
        draft.put("algorithm.mismatch.veto_low", float(given.get(VETO)), "the token veto", VETO)
    draft.put("algorithm.mismatch.weight", level or "none", "rollout_is" if level else "no rollout_is")
    key = WEIGH + "_threshold"
    if level:
        floor, cap = bounds(given.get(key))
        draft.put("algorithm.mismatch.cap", cap, draft.origin(key), key)
        if floor is not None:
            given.settle("algorithm.mismatch.cap: the lower bound of rollout_is_threshold is left out")


def _criterion(draft: Draft, name: str, threshold: Any) -> None:
    key = REJECT + "_threshold"
    if name in DIVERGENCES:
        over, statistic = DIVERGENCES[name]
        draft.choose("mismatch", "reject", f"rollout_rs {name}", REJECT)
        draft.put("algorithm.mismatch.statistic", statistic, "rollout_rs")
        draft.put("algorithm.mismatch.over", over, "rollout_rs")
        draft.put("algorithm.mismatch.limit", float(threshold), "rollout_rs_threshold", key)
        return
    low, high = bounds(threshold)
    if draft.given.has(lower := REJECT + "_threshold_lower") and draft.given.get(lower) is not None:
        low = float(draft.given.get(lower))
        draft.given.take(lower)
    low, comment = 1 / high if low is None else low, "rollout_rs_threshold"
    if name in LEVELS:
        low, high = 1 / high, 1 / low
        comment += "; bounds of k1 are those of the reciprocal"
    draft.choose("mismatch", "mask", f"rollout_rs {name}", REJECT)
    draft.put("algorithm.mismatch.level", LEVELS.get(name, name), "rollout_rs")
    draft.put("algorithm.mismatch.low", low, comment, key)
    draft.put("algorithm.mismatch.high", high, comment)


def _normalise(draft: Draft, bypass: bool) -> None:
    given = draft.given
    if not given.get(NORMALISE):
        given.take(NORMALISE)
    elif draft.options["mismatch"][0] != "truncate" or bypass:
        why = (
            "weights that follow the update have no mean of it"
            if bypass
            else "beside rejection it is not there"
        )
        given.lose(NORMALISE, why)
    else:
        draft.put("algorithm.mismatch.normalise", True, "rollout_is_batch_normalize", NORMALISE)


def bounds(value: Any) -> tuple[float | None, float]:
    """`2.0`, or `0.5_5.0`."""
    low, _, high = str(value).rpartition("_")
    return (float(low) if low else None), float(high)


def within(statistic: str, limit: float) -> tuple[float, float]:
    """The bounds of rho within which K2 or K3 of a token is at most `limit`."""
    if statistic == "k2":
        return math.exp(-math.sqrt(2 * limit)), math.exp(math.sqrt(2 * limit))
    found = []
    for inside, outside in ((0.0, -limit - 2), (0.0, math.sqrt(2 * limit) + limit)):
        for _ in range(200):  # halved: K3 = e^d - 1 - d grows on both sides of d = 0
            middle = (inside + outside) / 2
            near = math.expm1(middle) - middle <= limit
            inside, outside = (middle, outside) if near else (inside, middle)
        found.append(math.exp(inside))
    return found[0], found[1]
