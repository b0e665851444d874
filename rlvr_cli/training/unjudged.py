"""A step or an evaluation without verdicts ends a run: there is nothing to learn from, and nothing to say."""

from __future__ import annotations

from collections import Counter

from rlvr_cli.core import distributed
from rlvr_cli.core.causes import causes, commonest
from rlvr_cli.core.types import Group
from rlvr_cli.evaluation.bench import WORTH_A_WARNING
from rlvr_cli.training.ending import tell_why
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resume import save
from rlvr_cli.training.stop import NoVerdict
from rlvr_cli.training.tracker import tell_silence


def cause_of(mine: list[Group]) -> str | None:
    """Why no sample of any rank has all its verdicts; None: some have. All ranks must call it."""
    verdicts = [list(each.values()) for group in mine for each in group.verdicts]
    judged = any(any(v.scored for v in each) and not any(v.missing for v in each) for each in verdicts)
    found = causes(((v.reason.value, v.detail) for each in verdicts for v in each), silent=True)
    shares: list[tuple[int, bool, Counter[str]]] = distributed.gather((len(verdicts), judged, found))
    if any(judged for _, judged, _ in shares) or not sum(count for count, _, _ in shares):
        return None
    return commonest(sum((found for _, _, found in shares), Counter[str]()))


def tell_missing(parts: Parts, mine: list[Group]) -> None:
    """Say why verdicts of a step are missing, where they are more than chance; a cause is told once.

    All ranks must call it.
    """
    pairs = [(v.reason.value, v.detail) for g in mine for each in g.verdicts for v in each.values()]
    shares: list[tuple[int, Counter[str]]] = distributed.gather((len(pairs), causes(pairs)))
    asked, found = sum(count for count, _ in shares), sum((found for _, found in shares), Counter[str]())
    if found.total() <= WORTH_A_WARNING * asked:
        return
    [(cause, _)] = found.most_common(1)
    if cause != parts.state.get("missing"):
        parts.state["missing"] = cause
        share = found.total() / asked
        said = f"step {parts.step}: {share:.1%} of the verdicts are missing, mostly {commonest(found)}"
        parts.tracker.event("warning", said)


def keep_and_tell(parts: Parts, error: NoVerdict) -> None:
    """Before the run ends with `error`: a checkpoint of what is finished, to go on from."""
    save(parts, last=True)
    tell_why(parts)
    tell_silence(parts.tracker, parts.step, error, parts.out)
