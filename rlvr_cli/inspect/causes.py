"""The gap between trainer and engine, cause by cause: one thing is changed at a time, and one forward made.

A cause that *is* the difference leaves nothing but rounding of the gap when it is taken over: the engine's
temperature, its prompt, its weights. Rounding itself cannot be taken over, as no two kernels round alike; it
is told by its size. The verdict says which cause dominates and what to set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from typing import Any

import numpy as np

from rlvr_cli.inspect.forwards import Forwards, Sampled, Setting, Transform, processed
from rlvr_cli.inspect.gap import Gap, gap
from rlvr_cli.schema import Precision

HALF = 0.5
"""Of the gap: a cause that leaves more is none."""
ALIKE = 3.0
"""Roundings whose sizes are within this factor are of one kind."""
NEAR = 1.5
"""Of two causes that leave about the same, the one that stands first in ORDER is named."""
ORDER = ("sampling", "template", "adapter", "stale", "routing")
"""Causes that are told by what they leave."""
FEW = 4
"""Rows by which a transform is looked for."""
TEMPERATURES = np.round(np.arange(0.3, 2.01, 0.05), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One forward with one thing as the engine may have had it."""

    name: str
    said: str
    """What was taken over, in words."""
    left: float
    """mean |engine - this forward|, nats: what the cause does not explain."""
    alone: float
    """mean |this forward - the trainer's|: what the change does by itself."""
    set: str
    """What to do where it dominates."""
    left_k3: float = nan
    """k3 of engine and this forward, nats; few tokens with large differences are most of it."""

    def explained(self, whole: float) -> float:
        """Share of the gap that is gone with it; below 0 where it is wider."""
        return 1 - self.left / whole if whole else 0.0

    def explained_k3(self, whole: float) -> float:
        """The same of k3."""
        return 1 - self.left_k3 / whole if whole else 0.0


@dataclass(slots=True, kw_only=True)
class Taken:
    """The gap taken apart."""

    gap: Gap
    causes: list[Cause]
    """The likeliest of each kind."""
    dominates: str
    """Name of a cause; `none` where the gap is 0, `unknown` where no cause is it."""
    verdict: str
    told: list[str] = field(default_factory=list)
    """What could not be looked at."""


@dataclass(slots=True, kw_only=True)
class Suspects:
    """What is known of a model and its engine, as causes are made of it."""

    rows: Sequence[Sampled]
    now: Forwards
    """The trainer's weights at the time of sampling."""
    trainer: Setting
    """As the trainer computes."""
    engine: Precision
    """The engine's type, by the recipe."""
    transform: Transform
    """What the engine does to logits, by the recipe."""
    prompts: list[tuple[str, Callable[[Sampled], list[int]]]] = field(default_factory=list)
    """Ways in which the engine may have been asked otherwise."""
    older: list[tuple[str, Callable[[], Forwards]]] = field(default_factory=list)
    """Weights of earlier versions, the newest first."""
    adapters: bool = False
    routed: bool = False
    """The rows say which experts the engine took, and `now` can follow. The trainer does where its setting
    says so: then routing is no cause."""
    unrouted: str = "the model has no router"
    """Why not."""


def take_apart(suspects: Suspects) -> Taken:
    """All causes, each by a forward, and the verdict."""
    engine = [row.logprobs for row in suspects.rows]
    ours = suspects.now(suspects.rows, suspects.trainer)
    found = [cause for cause in _causes(suspects, ours, engine) if cause is not None]
    best = [min((c for c in found if c.name == name), key=lambda c: c.left) for name in _names(found)]
    whole = gap(ours, engine)
    types_differ = suspects.trainer.precision is not suspects.engine
    dominates = dominating(best, whole.mean_abs, types_differ, whole.k3)
    told = [] if suspects.older else ["stale weights: there is no earlier version to hold against the record"]
    if not suspects.adapters:
        told.append("adapter: the model has none")
    if not suspects.routed:
        told.append(f"routing: {suspects.unrouted}")
    elif suspects.trainer.routed:
        told.append("routing: the trainer takes the engine's experts as it is (rollout.routing_replay=r3)")
    return Taken(
        gap=whole, causes=best, dominates=dominates, verdict=verdict(dominates, best, whole), told=told
    )


def _names(found: list[Cause]) -> list[str]:
    return list(dict.fromkeys(cause.name for cause in found))


def dominating(causes: Sequence[Cause], whole: float, types_differ: bool, k3: float = 0.0) -> str:
    """Which cause a gap of `whole` nats is: see the module. Pure, for any numbers."""
    by_name = {cause.name: cause for cause in causes}
    if whole == 0:
        return "none"
    kernel = by_name["kernel"].alone
    told = [by_name[name] for name in ORDER if name in by_name]
    taken = [cause for cause in told if cause.left <= HALF * whole and cause.alone > ALIKE * kernel]
    if taken:
        least = min(cause.left for cause in taken)
        return next(cause.name for cause in taken if cause.left <= max(NEAR * least, ALIKE * kernel))
    dtype = by_name["dtype"]
    same_size = dtype.alone >= whole / ALIKE and (types_differ or dtype.alone <= whole * ALIKE)
    rounds = (types_differ or whole > ALIKE * kernel) and (dtype.left <= HALF * whole or same_size)
    if by_routes(by_name.get("routing"), k3) and not (types_differ and rounds):
        return "routing"
    if rounds:
        return "dtype"
    return "kernel" if whole <= ALIKE * kernel or by_name["kernel"].left <= HALF * whole else "unknown"


def by_routes(routing: Cause | None, k3: float) -> bool:
    """Whether other experts are most of a k3 of so many nats. They are few tokens' and large, and rounding is
    every token's: it may be most of the mean all the same. Two kernels part by other experts too."""
    return routing is not None and routing.left_k3 < HALF * k3


def _causes(suspects: Suspects, ours: list[np.ndarray], engine: list[np.ndarray]) -> Iterator[Cause]:
    rows, now, trainer = suspects.rows, suspects.now, suspects.trainer

    def cause(name: str, said: str, other: list[np.ndarray]) -> Cause:
        return Cause(
            name=name,
            said=said,
            left=mean_abs(other, engine),
            alone=mean_abs(other, ours),
            left_k3=gap(other, engine).k3,
            set=_SET[name],
        )

    for precision in Precision:
        if precision is not trainer.precision:
            other = now(rows, replace(trainer, precision=precision))
            yield cause("dtype", f"computed in {precision.value}", other)
    other = now(rows, replace(trainer, precision=suspects.engine, attention="eager", together=True))
    same = now(rows, replace(trainer, precision=suspects.engine))
    # Against the trainer's own kernel in the engine's type, or it would be the type that is measured.
    yield replace(cause("kernel", "eager attention, in padded batches", other), alone=mean_abs(other, same))
    transform = _likeliest(suspects, engine)
    other = now(rows, replace(trainer, transform=transform))
    yield cause("sampling", transform.said or "no transform", other)
    for said, prompt in suspects.prompts:
        asked = [replace(row, prompt=prompt(row)) for row in rows]
        if any(a.prompt != b.prompt for a, b in zip(asked, rows, strict=True)) and all(
            a.prompt for a in asked
        ):
            yield cause("template", said, now(asked, replace(trainer, routed=False)))
    if suspects.adapters:
        other = now(rows, replace(trainer, bare=True))
        yield cause("adapter", "the model without its adapters", other)
    for said, older in suspects.older:
        yield cause("stale", said, older()(rows, replace(trainer, routed=False)))
    if suspects.routed and not trainer.routed:
        now.other_experts()
        other = now(rows, replace(trainer, routed=True))
        share = now.other_experts()
        said = f"the engine's experts, which are others at {share:.2%} of a token's routers"
        yield cause("routing", said, other)


def _likeliest(suspects: Suspects, engine: list[np.ndarray]) -> Transform:
    """Of other temperatures, nuclei and penalties the one that leaves least, by the logits of a few rows."""
    rows = suspects.rows[:FEW]
    logits = [suspects.now.logits(row, suspects.trainer) for row in rows]

    def left(transform: Transform) -> float:
        found = [_of(each, row, transform) for each, row in zip(logits, rows, strict=True)]
        return mean_abs(found, engine[: len(rows)])

    plain = suspects.trainer.transform
    tries = [replace(plain, temperature=float(t)) for t in TEMPERATURES if abs(t - plain.temperature) > 0.01]
    tries += [replace(plain, top_p=p) for p in (0.8, 0.9, 0.95, 0.98)]
    tries += [replace(plain, top_k=k) for k in (1, 5, 10, 20, 50, 100) if k < logits[0].shape[1]]
    tries += [replace(plain, repetition_penalty=p) for p in (1.05, 1.1, 1.2)]
    tries += [suspects.transform] * (suspects.transform != plain)
    return min(tries, key=left)


def _of(logits: Any, row: Sampled, transform: Transform) -> np.ndarray:
    tokens, start = [*row.prompt, *row.response], len(row.prompt)
    log_p = processed(logits, tokens, start, transform)
    chosen: np.ndarray = log_p[range(len(row.response)), row.response].cpu().numpy()
    return chosen


def mean_abs(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Nats; a token that one of them says is impossible counts 20."""
    off = np.concatenate(
        [np.asarray(a, float) - np.asarray(b, float) for a, b in zip(one, other, strict=True)]
    )
    return float(np.minimum(np.abs(np.nan_to_num(off, nan=20.0, posinf=20.0, neginf=-20.0)), 20.0).mean())


_SET = {
    "dtype": "compute both in one type (rollout.dtype, trainer.precision), the output layer in fp32 "
    "(model.fp32_head=true), or correct for it (algorithm/mismatch=truncate)",
    "kernel": "nothing is wrong: two kernels round in different orders. Where mismatch/k3 is above 1e-3, "
    "correct for it (algorithm/mismatch=truncate) or compute in fp32 (rollout.dtype, trainer.precision)",
    "sampling": "let both have one transform: rollout.temperature as the engine samples, rollout.top_p=1, "
    "and no top_k or penalty in the engine's own generation settings",
    "template": "let both read the same tokens: model.chat_template and data.<source>.chat as the engine has "
    "them, and no second beginning-of-sequence token",
    "adapter": "the engine samples from the model without its adapters: rollout.lora=merged, and see "
    "actor/lora_merge_error",
    "stale": "the engine has older weights: rollout.max_staleness=0, or correct for it "
    "(algorithm/mismatch=truncate); without overlap a sync is missing, which the probe is to notice "
    "(rollout.probe_tolerance)",
    "routing": "the engine sends tokens through other experts than the trainer: rollout.routing_replay=r3",
}


def verdict(dominates: str, causes: list[Cause], whole: Gap) -> str:
    """In words, with what to set."""
    if dominates == "none":
        return "the engine's logprobs are the trainer's, bit for bit"
    size = f"{whole.mean_abs:.2g} nats a token (k3 {whole.k3:.2g})"
    if dominates == "unknown":
        return (
            f"unknown: a gap of {size} that none of these explains: another model, an engine that implements "
            "it otherwise, or several causes at once; rlvr doctor compares the two on a model of its own"
        )
    cause = next(each for each in causes if each.name == dominates)
    if dominates == "routing":
        share, of_k3 = cause.explained(whole.mean_abs), cause.explained_k3(whole.k3)
        said = f"with {cause.said} {share:.1%} of the gap of {size} and {of_k3:.1%} of k3 are gone"
    elif dominates in ORDER:
        said = f"with {cause.said} {cause.explained(whole.mean_abs):.1%} of the gap of {size} is gone"
    else:
        said = f"a gap of {size} is as large as rounding by itself ({cause.said}: {cause.alone:.2g})"
    return f"{dominates}: {said}; {cause.set}{_besides(dominates, causes, whole.k3)}"


def _besides(dominates: str, causes: list[Cause], k3: float) -> str:
    """What replay would do to a gap of rounding."""
    routing = next((each for each in causes if each.name == "routing"), None)
    if routing is None or dominates not in ("dtype", "kernel") or not by_routes(routing, k3):
        return ""
    share = routing.explained_k3(k3)
    return f"; besides, {share:.1%} of k3 is by other experts, which rollout.routing_replay=r3 takes away"
