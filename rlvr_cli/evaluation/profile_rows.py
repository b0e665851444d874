"""What a profile keeps of a problem: how often it was solved, and what most samples say, as a label that may
be trained on (TTRL, 2504.16084; Spurious Rewards, 2506.10947)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.data.profiles import Row
from rlvr_cli.evaluation.scores import pass_at_k
from rlvr_cli.schema.score_names import powers
from rlvr_cli.verifiers.mathematics.ballot import ballot
from rlvr_cli.verifiers.mathematics.guard import refuse
from rlvr_cli.verifiers.rejected import Rejected

MAX_CHARS = 300
"""A longer answer is compared as text."""
_RIGHT = ("right",)


def row_of(group: Group, key: str) -> Row:
    """What is kept of a problem."""
    right = [value == 1 for value in group.correct if value == value]
    values = [value for value in group.first_scores if value == value]
    lengths = [len(completion.tokens) for completion in group.completions]
    judged, samples = len(right), len(lengths)
    verdicts = [each[group.problem.verifiers[0]] for each in group.verdicts]
    return {
        "source": group.problem.source,
        "id": group.problem.id,
        "key": key,
        "samples": samples,
        "judged": judged,
        "correct": sum(right),
        **{f"pass@{j}": pass_at_k(judged, sum(right), j) if j <= judged else None for j in powers(samples)},
        "score": sum(values) / judged if judged else None,
        "score_varies": len(set(values)) > 1,
        "tokens": sum(lengths) / samples,
        "longest": max(lengths),
        "truncated": sum(not completion.finished for completion in group.completions) / samples,
        "reasons": dict(Counter(verdict.reason.value for verdict in verdicts)),
        **majority(verdicts),
    }


def majority(verdicts: list[Verdict]) -> dict[str, Any]:
    """{label, votes, label_right} by a problem's verdicts of one verifier; label None where nobody has an
    answer.

    All right answers are one, whatever their form, since the verifier has compared them; of the wrong ones
    numbers are equal by value, words without case, and everything else by its text. Of several answers with
    as many votes the one that was given first is taken, in the form in which it was given first.
    """
    votes: dict[Hashable, int] = {}
    written: dict[Hashable, str] = {}
    for verdict in verdicts:
        if verdict.extracted is None or verdict.reason not in (Reason.correct, Reason.wrong):
            continue
        key = _RIGHT if verdict.reason is Reason.correct else _key(verdict.extracted)
        votes[key] = votes.get(key, 0) + 1
        written.setdefault(key, verdict.extracted)
    if not votes:
        return {"label": None, "votes": 0, "label_right": False}
    winner = max(votes, key=lambda key: votes[key])  # the first of equals, as they were given
    return {"label": written[winner], "votes": votes[winner], "label_right": winner == _RIGHT}


def _key(answer: str) -> Hashable:
    if len(answer) > MAX_CHARS:
        return "text", answer
    try:
        refuse(answer, "")
        return ballot(answer)
    except Rejected:
        return "text", answer
