"""The problems of an RL run: read, routed to their verifiers, looked at, and only then mixed."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.types import Problem
from rlvr_cli.data.hygiene import GOLD, Checker
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import guesses_read, problems
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import Report, held_out, normalised
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.sampling.routes import check_routes
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.box_checks import boxes_of
from rlvr_cli.training.difficulty import paced
from rlvr_cli.training.labels import relabelled
from rlvr_cli.training.source_metrics import check_values_of
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import SelfTest, self_test
from rlvr_cli.verifiers.several_golds import fault_of, wants_rows
from rlvr_cli.vision.exact import demand_same_images
from rlvr_cli.vision.processor import processor_of

Row = dict[str, Any]
REPORT = "data_report.json"
MOST_GOLDS = 1000
"""So many of a source, the first, are asked what of them is not compared: up to a millisecond each."""


def load_problems(
    recipe: Recipe,
    tokenizer: Any,
    tracker: Tracker | NullTracker,
    environments: Environments | None = None,
) -> Sampler:
    """Problems of every source, mixed by weight; what was left out and what looks wrong is said.

    UserError where a row names a verifier that is not there, where `hygiene.strict` refuses what was
    found, and where a verifier misses `verification.self_test_floor`. Rank 0 looks for all ranks.
    """
    looks = recipe.hygiene.enabled and distributed.rank() == 0
    checker = Checker(recipe.hygiene) if looks else None
    for name, bench in recipe.eval.benches.items() if checker else ():
        asked = list(normalised(bench.source, bench.seed, PROBLEMS))
        checker.bench(name, asked)  # type: ignore[union-attr]
    by_source, reports, refused = {}, {}, dict[str, list[Row]]()
    announced = environments.tools if environments is not None else {}
    apart = held_out(recipe.data.values(), recipe.seed, PROBLEMS)
    for name, source in recipe.data.items():
        by_source[name], reports[name] = problems(
            name,
            source,
            tokenizer,
            recipe.rollout.max_prompt_tokens,
            recipe.seed,
            look=partial(checker.row, name) if checker else None,
            ask=partial(fault_of, recipe.verifiers),
            refused=partial(note_refused, name, checker, refused.setdefault(name, [])),
            apart=apart,
            raw=any(map(wants_rows, recipe.verifiers.values())),
            environment=source.environment,
            tools=announced.get(source.environment or "", ()),
        )
        check_routes(by_source[name], recipe.verifiers)
        if source.metrics_by is not None:
            check_values_of(name, source.metrics_by, by_source[name])
        if environments is not None and source.environment is not None:
            by_source[name] = kept_of(
                name, source.environment, by_source[name], environments, recipe, tracker
            )
        tracker.event("data", str(reports[name]))
        for verifier in dict.fromkeys(each for p in by_source[name] for each in p.verifiers):
            own = [p for p in by_source[name] if verifier in p.verifiers]
            if said := guesses_read(own, recipe.verifiers[verifier], f"verifiers.{verifier}"):
                tracker.event("warning", f"data.{name}: {said}")
    demand_same_images(processor_of(tokenizer))
    if checker is not None:
        notes = {
            "uncompared": {name: uncompared(found, recipe.verifiers) for name, found in by_source.items()},
            "boxes": boxes_of(by_source, refused, recipe.verifiers),
        }
        conclude(recipe, checker, reports, notes, tracker)
    if recipe.verification.self_test_floor is not None and distributed.rank() == 0:
        test_verifiers(recipe, by_source, refused, tracker)
    by_source, labels = relabelled(recipe, by_source, tracker)
    kept, paces = paced(recipe, by_source, tracker)
    weights = {name: source.weight for name, source in recipe.data.items()}
    return Sampler(kept, weights, seed=recipe.seed, paces=paces, labels=labels)


def kept_of(
    name: str,
    environment: str,
    found: list[Problem],
    environments: Environments,
    recipe: Recipe,
    tracker: Tracker | NullTracker,
) -> list[Problem]:
    """The problems that their environment keeps; what it leaves out is counted and told."""
    kept = environments.kept(environment, found, recipe.seed)
    if not kept:
        raise UserError(f"data.{name}: environments.{environment} keeps none of {len(found)} problems")
    if len(kept) < len(found):
        left = len(found) - len(kept)
        tracker.event("data", f"{name}: {left} of {len(found)} left out by environments.{environment}")
    return kept


def note_refused(
    source: str, checker: Checker | None, rows: list[Row], row: Row, gold: str | None, why: str
) -> None:
    """A gold that its verifiers cannot use: for the data report and, where it is there, for the self-test."""
    if checker is not None:
        why = why or row["faults"][0]
        checker.found(source, GOLD, id=row["id"], answer=(gold or "")[:200], fault=why)
    if gold is not None:
        rows.append({"id": row["id"], "answer": gold, "extra": row["extra"] | {"prompt": row["prompt"]}})


def uncompared(found: list[Problem], verifiers: dict[str, Any]) -> list[str]:
    """What to say of golds of which a verifier does not compare all, a line for each verifier."""
    said = []
    for name in dict.fromkeys(each for problem in found for each in problem.verifiers):
        if (note_of := getattr(verifiers[name], "gold_note", None)) is None:
            continue
        looked = [(p.id, gold) for p in found if name in p.verifiers for gold in p.golds][:MOST_GOLDS]
        notes = [(row, note) for row, gold in looked if (note := note_of(gold)) is not None]
        if notes:
            row, first = notes[0]
            said.append(
                f"{len(notes)} of {len(looked)} gold answers say more than verifiers.{name} compares "
                f"(first: {first}, row {row}); its options are in docs/verifiers/{verifiers[name].name}.md"
            )
    return said


def conclude(
    recipe: Recipe,
    checker: Checker,
    reports: dict[str, Report],
    notes: dict[str, dict[str, list[str]]],
    tracker: Tracker | NullTracker,
) -> None:
    """Write `data_report.json`, say what was found, and refuse it where that is asked.

    `notes`: kind -> source -> what is said of its golds; nothing to refuse, as most sets are meant so.
    """
    content = {
        name: {
            "rows": asdict(report),
            "found": {kind: asdict(finding) for kind, finding in checker.findings[name].items()},
            **{kind: lines[name] for kind, lines in notes.items()},
        }
        for name, report in reports.items()
    }
    path = Path(recipe.out) / REPORT
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    for source, lines in (pair for each in notes.values() for pair in each.items()):
        for line in lines:
            tracker.event("data_check", f"{source}: {line}")
    said = [text for text in map(checker.summary, reports) if text]
    for text in said:
        tracker.event("data_check", f"{text}; examples in {REPORT}")
    if said and recipe.hygiene.strict:
        raise UserError(
            f"hygiene.strict: data.{'; data.'.join(said)}; rows are in {path}; "
            "clean the data (deduplicate: true drops repeated prompts) or set hygiene.strict=false"
        )


def test_verifiers(
    recipe: Recipe,
    by_source: dict[str, list[Problem]],
    refused: dict[str, list[Row]],
    tracker: Tracker | NullTracker,
) -> None:
    """The self-test of each source's first verifier, before anything large is built.

    `refused`: source -> golds that its verifiers cannot use, which count as refused.
    """
    floor = recipe.verification.self_test_floor
    assert floor is not None
    firsts = {name: (recipe.data[name].verifiers or p[0].verifiers)[0] for name, p in by_source.items()}
    with Pool({name: recipe.verifiers[name] for name in firsts.values()}, recipe.verification) as pool:
        for name, found in by_source.items():
            verifier = firsts[name]
            taken = (
                {"id": p.id, "answer": gold, "extra": p.extra}
                for p in found
                if p.verifiers[0] == verifier
                for gold in p.golds
            )
            most, faulty = recipe.verification.self_test_rows, refused[name]
            share = len(faulty) / (len(faulty) + sum(len(p.golds) for p in found))
            tested = islice(chain(faulty[: int(share * most)], taken), most)
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
        f"'{verifier}' refuses {len(result.refused)} of {result.golds} right answers "
        f"and accepts {len(result.accepted)} of {result.mutants} wrong ones"
    )
