"""What a preflight measures: groups sampled from the start model -> the numbers it judges and shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlvr_cli.core.episode_rows import as_text
from rlvr_cli.core.types import Group, Problem, Reason
from rlvr_cli.preflight.boxes import overlaps_of, written_in
from rlvr_cli.preflight.golds import Near, Shift, answered, shift_of
from rlvr_cli.preflight.rehearsal import Rehearsal
from rlvr_cli.preflight.shares import by_source, known, mean, seen
from rlvr_cli.training.sampled import sampled_logprobs
from rlvr_cli.verifiers.boxes.overlaps import Means
from rlvr_cli.vision.album import album

UNREAD = (Reason.no_answer, Reason.malformed)
"""Reasons that say that no answer could be read, not that it was wrong."""
HISTOGRAM = ("0", "to 1/4", "to 1/2", "to 3/4", "below 1", "1")
"""Bins of a prompt's mean correctness."""
EXAMPLES = 3


@dataclass(slots=True, kw_only=True)
class Row:
    """A group as the ranks tell each other of it: small, with little text."""

    index: int
    source: str
    verifier: str
    """The one that decides what counts as correct."""
    correct: list[float]
    scores: list[float]
    distinct: int
    """Different responses, by their tokens."""
    verdicts: list[tuple[str, Reason, float]]
    """(verifier, reason, milliseconds) of every verdict."""
    faults: dict[str, str]
    """Verifier -> why it cannot use the gold answer of this problem."""
    unscored: dict[str, str]
    """Verifier -> what it said where it gave no verdict."""
    refused: dict[str, str]
    """Verifier -> what it said where it refused an answer."""
    example: dict[str, Any]
    """The first response, shortened."""
    empty: int = 0
    """Responses without a word."""
    answers: list[int] = field(default_factory=list)
    """Offsets of the rows around its own whose gold a response gives."""
    images: int = 0
    overlaps: dict[str, Means] = field(default_factory=dict)
    """Verifier of boxes -> how well the responses' boxes lie on the gold's, by coordinate system."""


@dataclass(slots=True, kw_only=True)
class Verifier:
    """What one verifier made of the responses."""

    verdicts: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    golds: int = 0
    """Prompts it scores."""
    gold_faults: int = 0
    """Those whose gold answer it cannot use."""
    gold_fault: str = ""
    """Why not: the first."""
    unscored_detail: str = ""
    """What it said where it gave no verdict: the first."""
    refused_detail: str = ""
    """What it said where it refused an answer: the first."""
    systems: str = ""
    """Of boxes: that responses are written in another coordinate system than it is told, if they are."""

    def count(self, *reasons: Reason) -> int:
        return sum(self.reasons.get(reason.value, 0) for reason in reasons)

    @property
    def unscored(self) -> float:
        """Share of verdicts that are none."""
        return self.count(Reason.timeout, Reason.crash) / max(1, self.verdicts)

    @property
    def refused(self) -> float:
        """Share of its verdicts that are refusals: too slow, too large, several answers."""
        return self.count(Reason.refused) / max(1, self.verdicts)

    @property
    def unread(self) -> float:
        """Share of its verdicts in whose response it found no answer."""
        return self.count(*UNREAD) / max(1, self.verdicts)


@dataclass(slots=True, kw_only=True)
class Facts:
    """Everything a preflight measured. Shares are of 1; NaN: not measured."""

    prompts: int
    samples: int
    """Responses to each prompt."""
    verifier: str
    """The one that decides what counts as correct, of most prompts."""
    correct: float
    """Mean correctness of the responses that have a verdict."""
    histogram: dict[str, int]
    """Prompts by their mean correctness."""
    all_right: int
    all_wrong: int
    signal: int
    """Groups whose scores differ."""
    kept: int
    """Groups that pass the algorithm's filter."""
    useful: int
    """Groups that pass it and have what the algorithm's advantage needs: none means nothing is learned."""
    truncated: float
    lengths: dict[str, float]
    """Response tokens: percentiles."""
    repeated: float
    """Share of responses that repeat an earlier one of their group; of those that have one before them."""
    nats: float
    """Mean -log p of a sampled token under the engine."""
    uniform: float
    """The same of a model that knows nothing: log of the size of the vocabulary."""
    verifiers: dict[str, Verifier]
    sources: dict[str, dict[str, float]]
    """Source -> prompts, signal, correct."""
    seen: dict[str, float]
    """The same of the prompts with images; empty where all or none have some."""
    examples: list[dict[str, Any]]
    empty: float
    """Share of responses without a word: the model ends them at once."""
    shifts: dict[str, Shift]
    """Sources whose golds stand beside their problems."""
    template: list[str] = field(default_factory=list)
    """What is wrong with the prompts themselves."""
    replaced: bool = False
    """`model.chat_template` stands in the place of one that the model has."""
    environments: dict[str, Rehearsal] = field(default_factory=dict)
    """What became of the scripts of those that have some."""
    mismatch_mean: float = math.nan
    """Mean |logprob difference| between engine and trainer, over the sampled tokens."""
    mismatch_max: float = math.nan
    seconds: dict[str, float] = field(default_factory=dict)
    """What the preflight itself took."""
    step_s: float = math.nan
    """About what a step takes."""

    @property
    def judged(self) -> int:
        """Prompts of which any response has a verdict."""
        return sum(self.histogram.values())

    @property
    def at_most(self) -> float:
        """Where no group has a signal: the share of prompts that may have one, at 95%. About 3 / n."""
        return 1 - 0.05 ** (1 / self.prompts)


def nowhere(problem: Problem) -> Mapping[int, frozenset[str]]:
    """Of a problem without neighbours."""
    return {}


def row_of(group: Group, verifiers: Mapping[str, Any], near: Near = nowhere) -> Row:
    """What others need of a group of this rank. `near`: the golds around a problem."""
    names = group.problem.verifiers
    checks = {name: getattr(verifiers[name], "check_gold", None) for name in names}
    found = {n: check(group.problem.answer, group.problem.extra) for n, check in checks.items() if check}
    pairs = [(name, verdict) for each in group.verdicts for name, verdict in each.items()]
    first, completion = group.verdicts[0][names[0]], group.completions[0]
    return Row(
        index=group.index,
        source=group.problem.source,
        verifier=names[0],
        correct=group.correct,
        scores=group.scores,
        distinct=len({b"".join(row.tokens.tobytes() for row in c.rows) for c in group.completions}),
        verdicts=[(name, verdict.reason, verdict.ms) for name, verdict in pairs],
        faults={name: fault for name, fault in found.items() if fault is not None},
        unscored={name: verdict.detail for name, verdict in reversed(pairs) if not verdict.scored},
        refused={name: v.detail for name, v in reversed(pairs) if v.reason is Reason.refused},
        example={
            "prompt": group.problem.prompt[-200:],
            "response": as_text(completion)[-200:],
            "finished": completion.finished,
            "answer": " or ".join(group.problem.golds)[:100],
            "extracted": None if first.extracted is None else first.extracted[:100],
            "reason": first.reason.value,
        },
        empty=sum(not as_text(each).strip() for each in group.completions),
        answers=answered(group, near),
        images=len(album.numbers(group.problem.tokens)),
        overlaps=overlaps_of(group, verifiers),
    )


def facts_of(
    groups: list[Group],
    rows: list[Row],
    keep: list[bool],
    needs_group: bool,
    vocabulary: int,
    verifiers: Mapping[str, Any],
) -> Facts:
    """The numbers of all ranks' groups (text may be missing there) and of their rows, in the same order.

    keep: which pass the filter; needs_group: whether the advantage compares the samples of one prompt.
    """
    completions = [c for g in groups for c in g.completions]
    lengths = np.array([c.length for c in completions])
    logprobs = np.concatenate([sampled_logprobs(row) for c in completions for row in c.rows])
    right = [known(row.correct) for row in rows]
    rates = [sum(values) / len(values) for values in right if values]
    differing = [len(set(known(row.scores))) > 1 for row in rows]
    passing = [row for row, kept in zip(rows, keep, strict=True) if kept]
    if needs_group:
        useful = sum(kept and differs for kept, differs in zip(keep, differing, strict=True))
    else:  # compares with other prompts, or with what a critic expects: all equal teaches neither
        useful = len(passing) if len({s for row in passing for s in known(row.scores)}) > 1 else 0
    later = sum(len(row.correct) - 1 for row in rows)
    return Facts(
        prompts=len(rows),
        samples=len(groups[0].completions),
        verifier=Counter(row.verifier for row in rows).most_common(1)[0][0],
        correct=mean([value for values in right for value in values]),
        histogram=_histogram(rates),
        all_right=sum(rate >= 1 for rate in rates),
        all_wrong=sum(rate <= 0 for rate in rates),
        signal=sum(differing),
        kept=sum(keep),
        useful=useful,
        truncated=sum(not c.finished for c in completions) / len(completions),
        lengths={f"p{p}": float(np.percentile(lengths, p)) for p in (1, 50, 90, 99)}
        | {"max": float(lengths.max())},
        repeated=sum(len(row.correct) - row.distinct for row in rows) / later if later else math.nan,
        nats=float(-logprobs.mean()),
        uniform=math.log(vocabulary),
        verifiers=_verifiers(rows, verifiers),
        sources=by_source(rows, differing),
        seen=seen(rows, differing),
        examples=_examples(rows),
        empty=sum(row.empty for row in rows) / len(completions),
        shifts=_shifts(rows),
    )


def _histogram(rates: list[float]) -> dict[str, int]:
    """A bin for 0, one for 1 and four between; rates outside (scores may be any number) go to the ends."""
    places = [0 if rate <= 0 else 5 if rate >= 1 else 1 + min(3, math.ceil(rate * 4) - 1) for rate in rates]
    return {name: places.count(number) for number, name in enumerate(HISTOGRAM)}


def _verifiers(rows: list[Row], verifiers: Mapping[str, Any]) -> dict[str, Verifier]:
    found: dict[str, Verifier] = {}
    times: dict[str, list[float]] = {}
    for row in rows:
        for name, reason, ms in row.verdicts:
            verifier = found.setdefault(name, Verifier())
            verifier.verdicts += 1
            verifier.reasons[reason.value] = verifier.reasons.get(reason.value, 0) + 1
            times.setdefault(name, []).append(ms)
        for name in {name for name, _, _ in row.verdicts}:
            found[name].golds += 1
        for name, fault in row.faults.items():
            found[name].gold_faults += 1
            found[name].gold_fault = found[name].gold_fault or f"{row.example['answer']!r}: {fault}"
        for name, detail in row.unscored.items():
            found[name].unscored_detail = found[name].unscored_detail or detail
        for name, detail in row.refused.items():
            found[name].refused_detail = found[name].refused_detail or detail
    for name, ms_all in times.items():
        found[name].p50_ms, found[name].p99_ms = (float(x) for x in np.percentile(ms_all, [50, 99]))
    for name, verifier in found.items():
        means = (row.overlaps[name] for row in rows if name in row.overlaps)
        verifier.systems = written_in(name, means, verifiers)
    return found


def _shifts(rows: list[Row]) -> dict[str, Shift]:
    found = dict[str, Shift]()
    for name in dict.fromkeys(row.source for row in rows):
        own = [row for row in rows if row.source == name]
        right = [max(known(row.correct), default=0) > 0 for row in own]
        if (shift := shift_of([row.answers for row in own], right)) is not None:
            found[name] = shift
    return found


def _examples(rows: list[Row]) -> list[dict[str, Any]]:
    """Of different reasons first: they say most together."""
    by_reason = {row.example["reason"]: row for row in reversed(rows)}
    others = [row for row in rows if row is not by_reason[row.example["reason"]]]
    return [row.example for row in [*by_reason.values(), *others][:EXAMPLES]]
