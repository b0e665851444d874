"""`rlvr verify`: verifiers on responses that are there already, through the pool of training. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.types import Verdict
from rlvr_cli.data.golds import golds
from rlvr_cli.data.layouts import ANSWERS, PROMPTS, did_you_mean, find, lookup, raw_of
from rlvr_cli.data.readers import read
from rlvr_cli.data.sources import Report, without_gold
from rlvr_cli.data.sources import rows as problems_of
from rlvr_cli.evaluation.verify_groups import compares, group_of, grouped, submit
from rlvr_cli.sampling.user_functions import introduced, print_into
from rlvr_cli.schema import VerifyRecipe
from rlvr_cli.tracking.verdicts import print_comparison, print_self_test, print_verdicts
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import Failure, self_test
from rlvr_cli.verifiers.several_golds import Reads, fault_of, reads, wants_rows

Case = dict[str, Any]


def run_cases(recipe: VerifyRecipe, terminal: TextIO, out: str | None) -> int:
    """Score every row {response, answer, ...} by every verifier; compare them if there are several.

    1 where one of them has given less than half of its verdicts.
    """
    assert recipe.source is not None
    check_out(out)
    report = Report(name="responses")
    cases = list(islice(read_cases(recipe, report), recipe.source.limit))
    with TemporaryDirectory(prefix="rlvr-verify-") as folder:
        print_into(recipe.verifiers, Path(folder), "verify")
        with Pool(recipe.verifiers, recipe.verification) as pool:
            _introduce(recipe, pool, cases, terminal)
            columns = [_submitted(pool, name, recipe, cases) for name in recipe.verifiers]
            say = partial(print, "waiting:", file=sys.stderr, flush=True)
            found = [[result(future, pool, say) for future in futures] for futures in columns]
        _keep_prints(Path(folder), out, terminal)
    verdicts = [dict(zip(recipe.verifiers, each, strict=True)) for each in zip(*found, strict=True)]
    _say_left_out(terminal, report)
    if out is not None:
        lines = [
            {"id": case["id"], "verifier": name} | as_json(verdict)
            for case, each in zip(cases, verdicts, strict=True)
            for name, verdict in each.items()
        ]
        write_verdicts(out, lines)
        _write_disputed(out, cases, verdicts)
    for name in recipe.verifiers:
        print_verdicts(terminal, name, [each[name] for each in verdicts])
    if len(recipe.verifiers) > 1:
        print_comparison(terminal, [case["id"] for case in cases], verdicts)
    _say_where(terminal, out)
    lost = [sum(not each[name].scored for each in verdicts) for name in recipe.verifiers]
    return int(2 * max(lost) > len(verdicts))


def _submitted(pool: Pool, name: str, recipe: VerifyRecipe, cases: list[Case]) -> list[Future[Verdict]]:
    verifier, source = recipe.verifiers[name], recipe.source
    if wants_rows(verifier) or compares(verifier):
        return submit(pool, name, verifier, cases, "" if source is None else source.path)
    return [
        pool.submit(name, case["response"], [case["answer"], *case["alternatives"]], case["extra"])
        for case in cases
    ]


def _introduce(recipe: VerifyRecipe, pool: Pool, cases: list[Case], terminal: TextIO) -> None:
    """How the user's functions are called, with the first row."""
    assert recipe.source is not None
    first = {name: group_of(cases[:1], recipe.source.path) for name in recipe.verifiers if cases}
    for line in introduced(recipe.verifiers, first, pool, recipe.verification):
        print(line, file=terminal)
    for name, verifier in recipe.verifiers.items():
        if compares(verifier):
            print(f"{name}: {len(cases)} rows in {len(grouped(cases))} groups", file=terminal)


def _keep_prints(folder: Path, out: str | None, terminal: TextIO) -> None:
    """What functions have printed, beside `out`; without that it is lost, and said to be."""
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size
        if out is None:
            print(f"{path.name}: {size} bytes printed by the function; --out FILE keeps them", file=terminal)
        else:
            kept = Path(out).expanduser().with_name(path.name)
            write_atomically(kept, path.read_text(encoding="utf-8", errors="replace"))
            print(f"what the function printed is in {kept}", file=terminal)


def run_self_test(recipe: VerifyRecipe, terminal: TextIO, floor: float | None, out: str | None) -> int:
    """Gold answers and wrong ones made of them; 1 where the verifier falls below `floor` (default 1)."""
    assert recipe.source is not None
    check_out(out)
    floor = 1.0 if floor is None else floor
    [(name, verifier)] = recipe.verifiers.items()
    report = Report(name="golds")
    # A gold that the verifier cannot use is what a self-test is to find; only what is none is left out.
    free = reads(verifier) is Reads.no_gold
    found = problems_of(
        recipe.source, recipe.seed, report, lambda row, gold: "" if gold is None and not free else None
    )
    rows = list(islice(found, recipe.source.limit))
    each_gold = [row | {"answer": gold} for row in rows for gold in (row["answer"], *row["alternatives"])]
    with Pool(recipe.verifiers, recipe.verification) as pool:
        result = self_test(pool, name, verifier, each_gold)
    if result.golds == 0:
        raise UserError(f"'{name}' makes no responses out of these gold answers, so nothing was tested")
    if out is not None:
        kinds = {"refused_gold": result.refused, "accepted_wrong": result.accepted}
        write_verdicts(out, [failure_json(kind, one) for kind, found in kinds.items() for one in found])
    _say_left_out(terminal, report)
    print_self_test(terminal, name, len(rows), result, floor)
    _say_where(terminal, out)
    return 0 if result.rate >= floor else 1


def read_cases(recipe: VerifyRecipe, report: Report) -> Iterator[Case]:
    """{id, response, answer, alternatives, extra}; other columns are `extra`, `source.columns` renames.

    Without a column `answer` in the first row, the gold is where a data set of problems has it (layouts.py).

    Rows without a gold that all verifiers can use are left out and counted; UserError where all are so.
    """
    assert recipe.source is not None
    source, names = recipe.source, list(recipe.verifiers)
    columns: dict[str, str] | None = None

    def fault(row: dict[str, Any], gold: str | None) -> str | None:
        return fault_of(recipe.verifiers, names, gold, row["extra"])

    for number, (where, raw) in enumerate(read(source), 1):
        report.rows += 1
        if columns is None:
            known = None if "answer" in raw else find(raw, ANSWERS)
            columns = ({} if known is None else {"answer": known}) | source.columns
        case = _case(raw, columns, where, str(number))
        if report.settle(case, where, fault):
            yield case
    if report.no_gold == report.rows:
        raise UserError(
            f"none of the {report.rows} rows of '{source.path}' has a gold answer that can be used: "
            f"{'; '.join(report.no_gold_rows)}"
        )


def _case(raw: dict[str, Any], columns: dict[str, str], where: str, number: str) -> Case:
    names = {ours: columns.get(ours, ours) for ours in ("response", "answer", "id")}
    found: Case = {"id": number, "answer": None, "alternatives": [], "faults": [], "unreadable": None}
    for ours, path in names.items():
        try:
            found[ours] = lookup(raw, path)
        except KeyError:
            missing = (
                f"{where} has no column '{path}'; it has {', '.join(raw)}{did_you_mean(path, raw)}; "
                f"name another with source.columns.{ours}=COLUMN"
            )
            if ours == "response":
                raise UserError(missing) from None
            found["faults"] += [missing] if ours == "answer" else []
    if not isinstance(found["response"], str):
        raise UserError(f"{where}: '{names['response']}' is {type(found['response']).__name__}, not text")
    found["id"], found["named"] = str(found["id"]), names["id"] in raw
    prompt = columns.get("prompt") or find(raw, PROMPTS)
    found["raw"] = raw_of(raw, {**names, "prompt": prompt} if prompt else names)
    if not found["faults"]:
        try:
            texts, faults = golds(found["answer"], names["answer"], where)
        except UserError as error:  # which is for those who read it
            texts, faults, found["unreadable"] = [], [], str(error)
        found |= {"answer": next(iter(texts), None), "alternatives": texts[1:]}
        found["faults"] = [f"{where}: {fault}" for fault in faults]
    extra = {column: value for column, value in raw.items() if column not in names.values()}
    renamed = {ours: path for ours, path in columns.items() if ours not in names}
    if prompt is not None:
        extra["prompt"] = lookup(raw, prompt)
    return found | {"extra": extra | {ours: lookup(raw, path) for ours, path in renamed.items()}}


def _say_left_out(terminal: TextIO, report: Report) -> None:
    if report.no_gold:
        print(without_gold(report.no_gold, report.no_gold_rows), file=terminal)
    if report.unusable_golds:
        print(f"golds left out of rows that have others: {report.unusable_golds}", file=terminal)


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict's fields; the score is null where there is none."""
    return {
        "score": verdict.score if verdict.scored else None,
        "reason": verdict.reason.value,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        "ms": round(verdict.ms, 3),
        **({"more": verdict.more} if verdict.more else {}),
    }


def failure_json(kind: str, failure: Failure) -> dict[str, Any]:
    verdict = as_json(failure.verdict) if failure.verdict is not None else {}
    return {
        "kind": kind,
        "class": failure.kind,
        "id": failure.id,
        "answer": failure.answer,
        "response": failure.response,
        **verdict,
    }


def check_out(out: str | None) -> None:
    """UserError where nothing can be written there: before the work, not after it."""
    if out is not None and not Path(out).expanduser().absolute().parent.is_dir():
        raise UserError(f"--out: {Path(out).parent} is not a directory")


def write_verdicts(out: str, lines: list[dict[str, Any]]) -> None:
    write_atomically(Path(out).expanduser(), "".join(json.dumps(line) + "\n" for line in lines))


def _write_disputed(out: str, cases: list[Case], verdicts: list[dict[str, Verdict]]) -> None:
    """`disputed.jsonl` beside `out`: verdicts that two ways of comparing disagree on."""
    path = Path(out).expanduser().with_name("disputed.jsonl")
    rows = [
        {
            "id": case["id"],
            "verifier": name,
            "gold": [case["answer"], *case["alternatives"]],
            "extracted": verdict.extracted,
            "detail": verdict.detail,
        }
        for case, each in zip(cases, verdicts, strict=True)
        for name, verdict in each.items()
        if verdict.disputed
    ]
    if rows:
        write_verdicts(str(path), rows)


def _say_where(terminal: TextIO, out: str | None) -> None:
    if out is not None:
        print(f"wrote {out}", file=terminal)
