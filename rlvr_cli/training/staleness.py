"""How old what a step trained on was, and what is in flight after it."""

from __future__ import annotations

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group
from rlvr_cli.training.ahead import Ahead


def staleness_metrics(ahead: Ahead | None, mine: list[Group], kept: set[int], step: int) -> dict[str, float]:
    """Of the step at version `step`; nothing where it samples what it trains on. All ranks must call it.

    `mine`: the groups this rank has sampled; `kept`: indices of those that train, on any rank.
    """
    if ahead is None:
        return {}
    if ahead.keeps:
        ahead.count()
    else:
        ahead.pause()  # then it is known how far everything is
    trained = [c for g in mine if g.index in kept for c in g.completions if len(c.versions)]
    ages = [step - c.versions for c in trained]
    shares = distributed.gather(
        {
            "sum": sum(int(age.sum()) for age in ages),
            "tokens": sum(map(len, ages)),
            "oldest": sum(int(age.max()) for age in ages),
            "samples": len(ages),
            "mixed": sum(int(age.min() < age.max()) for age in ages),
            "most": max((int(age.max()) for age in ages), default=0),
            "in_flight": len(ahead.flights),
            "begun": sum(flight.tokens for flight in ahead.flights),
            "engine_steps": ahead.engine_steps,
            "beside_steps": ahead.beside_steps,
        }
    )
    total = {name: sum(share[name] for share in shares) for name in shares[0]}
    found = {
        "staleness/dropped": float(ahead.dropped),
        "staleness/in_flight": float(total["in_flight"]),
    }
    if not ahead.keeps:  # else only the engine knows
        found["staleness/in_flight_tokens"] = float(total["begun"])
    if total["tokens"]:
        found["staleness/mean"] = total["sum"] / total["tokens"]
        found["staleness/sample_mean"] = total["oldest"] / total["samples"]
        found["staleness/mixed_fraction"] = total["mixed"] / total["samples"]
        found["staleness/max"] = float(max(share["most"] for share in shares))
    if ahead.counts:
        found["perf/engine_steps"] = float(total["engine_steps"])
    if ahead.counts and ahead.beside is not None:
        found["perf/beside_fraction"] = total["beside_steps"] / max(1, total["engine_steps"])
    ahead.engine_steps = ahead.beside_steps = ahead.dropped = 0
    return found
