"""The problems of an RL run: read, routed to their verifiers, looked at, and only then mixed."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.types import Problem
from rlvr_cli.data.hygiene import GOLD, Checker
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import Report, rows
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import SelfTest, self_test

REPORT = "data_report.json"


def load_problems(recipe: Recipe, tokenizer: Any, tracker: Tracker | NullTracker) -> Sampler:
    """Problems of every source, mixed by weight; what was left out and what looks wrong is said.

    UserError where a row names a verifier that is not there, where `hygiene.strict` refuses what was
    found, and where a verifier misses `verification.self_test_floor`. Rank 0 looks for all ranks.
    """
    looks = recipe.hygiene.enabled and distributed.rank() == 0
    checker = Checker(recipe.hygiene) if looks else None
    for name, bench in recipe.eval.benches.items() if checker else ():
        checker.bench(name, rows(bench.source, bench.seed))  # type: ignore[union-attr]
    by_source, reports = {}, {}
    for name, source in recipe.data.items():
        look = (lambda row, name=name: checker.row(name, row)) if checker else None
        by_source[name], report = problems(
            name, source, tokenizer, recipe.rollout.max_prompt_tokens, recipe.seed, look=look
        )
        check_routes(by_source[name], recipe.verifiers)
        reports[name] = report
        tracker.event("data", str(report))
    if checker is not None:
        check_golds(checker, by_source, recipe.verifiers)
        conclude(recipe, checker, reports, tracker)
    if recipe.verification.self_test_floor is not None and distributed.rank() == 0:
        test_verifiers(recipe, by_source, tracker)
    return Sampler(by_source, {n: s.weight for n, s in recipe.data.items()}, seed=recipe.seed)


def check_routes(found: list[Problem], verifiers: dict[str, Any]) -> None:
    """Every problem is scored by somebody, and not only let through."""
    for problem in found:
        where = f"data.{problem.source}: row {problem.id}"
        for name in problem.verifiers:
            if name not in verifiers:
                raise UserError(f"{where} names the verifier '{name}'{hint(name, verifiers)}")
        if all(getattr(verifiers[name], "gate", False) for name in problem.verifiers):
            raise UserError(
                f"{where} has no verifier that scores it"
                f"{', only gates: ' + ', '.join(problem.verifiers) if problem.verifiers else ''}"
            )


def check_golds(checker: Checker, by_source: dict[str, list[Problem]], verifiers: dict[str, Any]) -> None:
    """Ask the verifiers of each problem whether they can use its gold answer."""
    for name, found in by_source.items():
        for problem in found:
            for verifier in problem.verifiers:
                check = getattr(verifiers[verifier], "check_gold", None)
                fault = check(problem.answer, problem.extra) if check else None
                if fault is not None:
                    answer = problem.answer[:200]
                    checker.found(name, GOLD, id=problem.id, verifier=verifier, answer=answer, fault=fault)


def conclude(
    recipe: Recipe, checker: Checker, reports: dict[str, Report], tracker: Tracker | NullTracker
) -> None:
    """Write `data_report.json`, say what was found, and refuse it where that is asked."""
    content = {
        name: {"rows": asdict(report), "found": {k: asdict(f) for k, f in checker.findings[name].items()}}
        for name, report in reports.items()
    }
    path = Path(recipe.out) / REPORT
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    said = [text for text in map(checker.summary, reports) if text]
    for text in said:
        tracker.event("data_check", f"{text}; examples in {REPORT}")
    if said and recipe.hygiene.strict:
        raise UserError(
            f"hygiene.strict: data.{'; data.'.join(said)}; rows are in {path}; "
            "clean the data (deduplicate: true drops repeated prompts) or set hygiene.strict=false"
        )


def test_verifiers(
    recipe: Recipe, by_source: dict[str, list[Problem]], tracker: Tracker | NullTracker
) -> None:
    """The self-test of each source's first verifier, before anything large is built."""
    floor = recipe.verification.self_test_floor
    assert floor is not None
    firsts = {name: (recipe.data[name].verifiers or p[0].verifiers)[0] for name, p in by_source.items()}
    with Pool({name: recipe.verifiers[name] for name in firsts.values()}, recipe.verification) as pool:
        for name, found in by_source.items():
            verifier = firsts[name]
            taken = (p for p in found if p.verifiers[0] == verifier)
            tested = [
                {"id": p.id, "answer": p.answer, "extra": p.extra}
                for p in islice(taken, recipe.verification.self_test_rows)
            ]
            result = self_test(pool, verifier, recipe.verifiers[verifier], tested)
            tracker.event("self_test", f"{name}: {describe(verifier, result)}")
            if result.rate < floor:
                failed = dict.fromkeys(failure.id for failure in (*result.refused, *result.accepted))
                raise UserError(
                    f"data.{name}: {describe(verifier, result)}: below "
                    f"verification.self_test_floor={floor:g}; first rows: {', '.join(list(failed)[:5])}; "
                    f"see them with `rlvr verify {recipe.data[name].path} --self-test`"
                )


def describe(verifier: str, result: SelfTest) -> str:
    return (
        f"'{verifier}' refuses {len(result.refused)} of {result.golds} gold answers "
        f"and accepts {len(result.accepted)} of {result.mutants} wrong ones"
    )
