"""What the samples of a bench answer together: by votes, by a verifier's confidence, and with early ends.

Every rule is scored on the same rows, so that what it gains or saves is paired with the plain vote. Where
samples were really ended early there is no full sampling in the rows: what was saved is then counted against
another result file (`select.full`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.probes import Probes, probes_of
from rlvr_cli.core.result_files import read_result
from rlvr_cli.evaluation.scores import Row, health, over_problems
from rlvr_cli.otv import votes
from rlvr_cli.otv.pruning import Halving, Race, Rule, Threshold, Winner, default_milestones, replayed
from rlvr_cli.otv.trace_score import auroc, trace_score
from rlvr_cli.schema import Bench, Prune, Select, SelectBy

RULES = (Prune.halving, Prune.threshold, Prune.winner)


def race_of(select: Select, prune: Prune, samples: int, longest: int) -> Race:
    """The race of a problem's samples under one family of pruning; none: all run to their end."""
    rules: dict[Prune, Callable[[], Rule | None]] = {
        Prune.none: lambda: None,
        Prune.halving: lambda: Halving(milestones=select.milestones or default_milestones(samples, longest)),
        Prune.threshold: lambda: Threshold(below=select.below, min_tokens=select.min_tokens),
        Prune.winner: lambda: Winner(above=select.above),
    }
    return Race(traces=samples, ema=select.ema, rule=rules[prune]())


def selected(rows: list[Row], select: Select, bench: Bench) -> dict[str, float]:
    """The numbers of `rlvr eval --select otv`. UserError where the rows have no confidences."""
    if any("probes" not in row for row in rows):
        raise UserError(
            "select.by=otv: these samples have no confidences, and their token ids are gone; sample anew "
            "with --select otv"
        )
    judged = [row for row in rows if None not in row["correct"]]
    if not judged:
        return {}
    if select.prune is not Prune.none:
        return pruned(judged, select) | recomputed(rows)
    return of_full_samples(judged, select, bench) | recomputed(rows)


def of_full_samples(rows: list[Row], select: Select, bench: Bench) -> dict[str, float]:
    """Votes, and each rule replayed on the recorded confidences."""
    k = len(rows[0]["correct"])
    scored = [(row, [_score(p, select) for p in probes(row)]) for row in rows]
    answers = [votes.answers_of(row["correct"], row["extracted"]) for row in rows]
    ways = {
        f"weighted@{k}": [votes.weighted_vote(a, s) for a, (_, s) in zip(answers, scored, strict=True)],
        f"best@{k}": [votes.best_of_n(a, s) for a, (_, s) in zip(answers, scored, strict=True)],
        f"filtered@{k}": [
            votes.filtered_vote(a, s, select.keep) for a, (_, s) in zip(answers, scored, strict=True)
        ],
        f"maj@{k}": [votes.majority_vote(a) for a in answers],
    }
    found = _with_intervals(ways)
    right = [s for row, scores in scored for s, ok in zip(scores, row["correct"], strict=True) if ok]
    wrong = [s for row, scores in scored for s, ok in zip(scores, row["correct"], strict=True) if not ok]
    area = auroc(right, wrong)
    found |= {} if area is None else {"auroc": area}
    full = sum(sum(row["lengths"]) for row in rows)
    found["tokens"] = float(full)
    for prune in RULES:
        chances, tokens = [], 0
        for row, answer in zip(rows, answers, strict=True):
            race = race_of(select, prune, k, bench.max_tokens)
            replayed(race, probes(row), row["lengths"])
            chances.append(_decided(answer, [_score(p, select) for p in probes(row)], race.left))
            tokens += race.tokens
        found |= _with_intervals({f"{prune.value}@{k}": chances})
        found |= {f"{prune.value}_tokens": float(tokens), f"{prune.value}_saved": 1 - tokens / full}
    return found


def pruned(rows: list[Row], select: Select) -> dict[str, float]:
    """Of samples that were really ended early: what they decide, and what they cost."""
    k, name = len(rows[0]["correct"]), select.prune.value
    chances = []
    for row in rows:
        answer = votes.answers_of(row["correct"], row["extracted"])
        left = [i for i, each in enumerate(probes(row)) if not each.dropped]
        chances.append(_decided(answer, [_score(p, select) for p in probes(row)], left))
    tokens = sum(sum(row["lengths"]) for row in rows)
    found = _with_intervals({f"{name}@{k}": chances}) | {
        "tokens": float(tokens),
        f"{name}_tokens": float(tokens),
    }
    if select.full is not None:
        found |= {f"{name}_saved": 1 - tokens / _full_tokens(Path(select.full), rows)}
    return found


def with_selection(
    summary: dict[str, float], rows: list[Row], select: Select, bench: Bench
) -> dict[str, float]:
    """A bench's summary with what `select` asks for. Samples that were cut short on purpose have no avg@k, no
    pass@k and no maj@k."""
    cut = cut_short(rows)
    if cut or select.prune is not Prune.none:
        kept = {name: summary[name] for name in ("left_out", "no_gold") if name in summary}
        summary = health(rows) | kept
    if select.by is SelectBy.majority:
        return summary
    if cut and select.prune is Prune.none:
        raise UserError(
            "select.by=otv: these samples were ended early, and no rule can be tried on them anew"
        )
    return summary | selected(rows, select, bench)


def cut_short(rows: list[Row]) -> bool:
    """Whether any sample was ended early on purpose."""
    return any(each["dropped"] for row in rows for each in row.get("probes", ()))


def recomputed(rows: list[Row]) -> dict[str, float]:
    """Probes, and tokens that went through the model again for them."""
    found = [each for row in rows for each in probes(row)]
    return {
        "probes": float(sum(len(each.tokens) for each in found)),
        "recomputed_tokens": float(sum(each.recomputed for each in found)),
    }


def probes(row: Row) -> list[Probes]:
    return [probes_of(each) for each in row["probes"]]


def _score(found: Probes, select: Select) -> float:
    return trace_score(found.confidences, select.score, select.window)


def _decided(answers: list[votes.Answer], scores: list[float], left: list[int]) -> float:
    """Those that are left vote by their scores."""
    return votes.weighted_vote([answers[i] for i in left], [scores[i] for i in left])


def _with_intervals(ways: dict[str, list[float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, chances in ways.items():
        found[name] = float(np.mean(chances))
        if (interval := over_problems(chances)) is not None:
            found |= {f"ci95_{name}_low": interval[0], f"ci95_{name}_high": interval[1]}
    return found


def _full_tokens(path: Path, rows: list[Row]) -> int:
    """Tokens of the same problems in the other result, whose samples are whole."""
    other: dict[str, Any] = {row["id"]: row for row in read_result(path)["problems"]}
    mine = [row["id"] for row in rows]
    if missing := [each for each in mine if each not in other]:
        raise UserError(f"select.full: {path} has no problem {missing[0]}; it must be of the same bench")
    k = len(rows[0]["lengths"])
    if any(len(other[each]["lengths"]) != k for each in mine):
        raise UserError(f"select.full: {path} has another number of samples per problem than k={k}")
    if any(p.get("dropped") for each in mine for p in other[each].get("probes", ())):
        raise UserError(f"select.full: the samples in {path} were ended early too")
    return sum(sum(other[each]["lengths"]) for each in mine)
