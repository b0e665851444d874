"""An account of a run in words: all of it, or the last lines of a run."""

from __future__ import annotations

from collections.abc import Iterator

from rlvr_cli.diagnosis.account import Account, Told
from rlvr_cli.diagnosis.learning import said
from rlvr_cli.diagnosis.samples import Sample, first_verdict

WIDTH = 200
"""Characters of a foreign text that are shown."""
ENDS = 3
"""Turns of an episode that are shown of its beginning and of its end."""


def in_full(account: Account, page: str | None) -> Iterator[str]:
    """Lines; `page`: path of docs/troubleshooting.md, where there is one."""
    yield from (line for line in [_trend(account)] if line)
    if not account.findings:
        yield _nothing(account)
    for number, told in enumerate(account.findings, start=1):
        yield ""
        yield f"{number}. {told.rule.title} ({told.finding.severity}, {_since(told)})"
        yield f"   {told.finding.message}"
        if told.cause:
            yield f"   the commonest cause: {one_line(told.cause)}"
        yield f"   change: {', '.join(told.change)}"
        if page is not None:
            yield f"   see: {page}#{told.rule.symptom}"
        for row in told.samples:
            yield from (f"   {line}" for line in _sample(row))
    if account.over:
        yield ""
        yield "seen on the way, and over:"
        yield from (f"   {finding.message.removeprefix('over: ')}" for finding in account.over)


def in_short(account: Account, run: str) -> list[str]:
    """The last lines of a run."""
    lines = [line for line in [_trend(account)] if line]
    for told in account.findings[:2]:
        lines.append(f"{told.rule.title} ({_since(told)}); change {told.change[0]}")
    more = len(account.findings) - 2
    lines += [f"and {more} more"] if more > 0 else []
    return [*lines, f"rlvr why {run} tells more"] if account.findings else [*lines, _nothing(account)]


def _nothing(account: Account) -> str:
    if account.steps == 0:
        return "no step was finished, so there is nothing to judge"
    if account.early:
        return f"nothing is wrong so far; {account.steps} steps are too few for most rules"
    return "nothing is wrong: no rule finds anything"


def _trend(account: Account) -> str:
    found = account.trend
    if found is None:
        return ""
    still = found.low == found.high == 0
    verdict = "more than noise" if found.certain else "no change" if still else "within noise"
    return f"{said(found)}: {verdict}"


def _since(told: Told) -> str:
    return f"found after step {told.finding.step}"


def _sample(row: Sample) -> Iterator[str]:
    verdict = first_verdict(row)
    read, detail = verdict.get("extracted"), verdict.get("detail")
    yield (
        f"step {row['step']}, problem {one_line(str(row['problem']))}: {verdict.get('reason')}, "
        f"read {'nothing' if read is None else one_line(repr(read))}, wanted {one_line(repr(row['answer']))}"
        + (f" ({one_line(detail)})" if detail else "")
    )
    if "turns" in row:
        yield from _turns(row)
    else:
        yield f"   {one_line(row['prompt'], end=True)} -> {one_line(row['response'], end=True)}"


def _turns(row: Sample) -> Iterator[str]:
    """An episode: its prompt and its turns, of many the first and the last ones."""
    yield f"   {one_line(row['prompt'], end=True)}"
    turns = list(enumerate(row["turns"], start=1))
    shown = turns if len(turns) <= 2 * ENDS else [*turns[:ENDS], *turns[-ENDS:]]
    for number, turn in shown:
        if number > ENDS and len(shown) < len(turns) and number == turns[-ENDS][0]:
            yield f"   ... {len(turns) - 2 * ENDS} more turns ..."
        said = f" -> {one_line(turn['said'])}" if turn["said"] else ""
        yield f"   turn {number}: {one_line(turn['text'])}{said}"
    yield f"   ended: {row['ended']}"


def one_line(text: str, most: int = WIDTH, *, end: bool = False) -> str:
    """Foreign text in a line: nothing that moves the cursor, its beginning or its end."""
    part = text[-4 * most :] if end else text[: 4 * most]
    line = " ".join("".join(c if c.isprintable() else " " for c in part).split())
    if len(line) <= most:
        return line
    return f"...{line[3 - most :]}" if end else f"{line[: most - 3]}..."
