"""`rlvr verify`: verifiers on responses that are there already, through the pool of training. No torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.types import Verdict
from rlvr_cli.data.layouts import did_you_mean, gold, lookup
from rlvr_cli.data.readers import read
from rlvr_cli.data.sources import rows as problems_of
from rlvr_cli.schema import Source, VerifyRecipe
from rlvr_cli.tracking.verdicts import print_comparison, print_self_test, print_verdicts
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import Failure, self_test

Case = dict[str, Any]


def run_cases(recipe: VerifyRecipe, terminal: TextIO, out: str | None) -> int:
    """Score every row {response, answer, ...} by every verifier; compare them if there are several."""
    assert recipe.source is not None
    _writable(out)
    cases = list(islice(read_cases(recipe.source), recipe.source.limit))
    with Pool(recipe.verifiers, recipe.verification) as pool:
        futures = [
            {
                name: pool.submit(name, case["response"], case["answer"], case["extra"])
                for name in recipe.verifiers
            }
            for case in cases
        ]
        verdicts = [{name: future.result() for name, future in each.items()} for each in futures]
    if out is not None:
        lines = [
            {"id": case["id"], "verifier": name} | as_json(verdict)
            for case, each in zip(cases, verdicts, strict=True)
            for name, verdict in each.items()
        ]
        _write(out, lines)
    for name in recipe.verifiers:
        print_verdicts(terminal, name, [each[name] for each in verdicts])
    if len(recipe.verifiers) > 1:
        print_comparison(terminal, [case["id"] for case in cases], verdicts)
    _say_where(terminal, out)
    return 0


def run_self_test(recipe: VerifyRecipe, terminal: TextIO, floor: float | None, out: str | None) -> int:
    """Gold answers and wrong ones made of them; 1 where the verifier falls below `floor` (default 1)."""
    assert recipe.source is not None
    _writable(out)
    floor = 1.0 if floor is None else floor
    [(name, verifier)] = recipe.verifiers.items()
    rows = list(islice(problems_of(recipe.source, recipe.seed), recipe.source.limit))
    with Pool(recipe.verifiers, recipe.verification) as pool:
        result = self_test(pool, name, verifier, rows)
    if result.golds == 0:
        raise UserError(f"'{name}' makes no responses out of these gold answers, so nothing was tested")
    if out is not None:
        kinds = {"refused_gold": result.refused, "accepted_wrong": result.accepted}
        _write(out, [failure_json(kind, one) for kind, found in kinds.items() for one in found])
    print_self_test(terminal, name, len(rows), result, floor)
    _say_where(terminal, out)
    return 0 if result.rate >= floor else 1


def read_cases(source: Source) -> Iterator[Case]:
    """{id, response, answer, extra}; other columns are `extra`, `source.columns` renames."""
    names = {ours: source.columns.get(ours, ours) for ours in ("response", "answer", "id")}
    for number, (where, raw) in enumerate(read(source), 1):
        found: Case = {"id": str(number)}
        for ours, path in names.items():
            try:
                found[ours] = lookup(raw, path)
            except KeyError:
                if ours == "id":
                    continue
                raise UserError(
                    f"{where} has no column '{path}'; it has {', '.join(raw)}{did_you_mean(path, raw)}; "
                    f"name another with source.columns.{ours}=COLUMN"
                ) from None
        if not isinstance(found["response"], str):
            raise UserError(f"{where}: '{names['response']}' is {type(found['response']).__name__}, not text")
        found["id"], found["answer"] = str(found["id"]), gold(found["answer"], names["answer"], where)
        extra = {column: value for column, value in raw.items() if column not in names.values()}
        renamed = {ours: path for ours, path in source.columns.items() if ours not in names}
        yield found | {"extra": extra | {ours: lookup(raw, path) for ours, path in renamed.items()}}


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict's fields; the score is null where there is none."""
    return {
        "score": verdict.score if verdict.scored else None,
        "reason": verdict.reason.value,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        "ms": round(verdict.ms, 3),
    }


def failure_json(kind: str, failure: Failure) -> dict[str, Any]:
    verdict = as_json(failure.verdict) if failure.verdict is not None else {}
    return {
        "kind": kind,
        "id": failure.id,
        "answer": failure.answer,
        "response": failure.response,
        **verdict,
    }


def _writable(out: str | None) -> None:
    """Before the work, not after it."""
    if out is not None and not Path(out).expanduser().absolute().parent.is_dir():
        raise UserError(f"--out: {Path(out).parent} is not a directory")


def _write(out: str, lines: list[dict[str, Any]]) -> None:
    write_atomically(Path(out).expanduser(), "".join(json.dumps(line) + "\n" for line in lines))


def _say_where(terminal: TextIO, out: str | None) -> None:
    if out is not None:
        print(f"wrote {out}", file=terminal)
