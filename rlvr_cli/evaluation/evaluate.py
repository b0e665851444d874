"""`rlvr eval`: every bench of a recipe on one model, or a new verdict on the samples of earlier results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli.core import distributed
from rlvr_cli.core.causes import commonest
from rlvr_cli.core.errors import Hopeless
from rlvr_cli.core.result_files import read_result
from rlvr_cli.core.types import Group
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import context_length
from rlvr_cli.evaluation import outputs
from rlvr_cli.evaluation.bench import (
    Evaluation,
    Questions,
    disputed_rows,
    gathered,
    judge,
    judges_of,
    missing,
    positions,
    prompt_limit,
    questions,
    run_bench,
    scored,
    shortfalls,
    unjudged,
    verifier_key,
)
from rlvr_cli.evaluation.breakdown import by_subject
from rlvr_cli.evaluation.contamination import probe
from rlvr_cli.evaluation.engines import asked_of, engine_of, tokenizer_of
from rlvr_cli.evaluation.probing import identity_of
from rlvr_cli.evaluation.selection import cut_short, with_selection
from rlvr_cli.evaluation.stored_samples import (
    Partial,
    Replay,
    completions,
    fingerprint,
    problem_of,
    weights_of,
)
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.sampling.start_model import default_precision, local_model
from rlvr_cli.sampling.user_functions import first_asked, introduced, print_into, surroundings
from rlvr_cli.schema import Bench, EvalRecipe, Model, SelectBy, Verification
from rlvr_cli.tracking import Timer, Tracker, print_results, versions
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.vision.gallery import FOLDER, Gallery, carried
from rlvr_cli.vision.processor import processor_of
from rlvr_cli.vision.refusals import refuse_unseen

UNSAMPLED = ("verifier", "tracked", "note", "pass_at", "majority")
"""Parts of a bench that its samples do not depend on."""


UNKNOWN = (
    "server.api=chat: the server puts problems into its own template, also those of benches with "
    "chat: never, and the length of a prompt is not known: none is left out for it (max_prompt_tokens)"
)
"""What a chat server keeps to itself."""


class NoScore(Hopeless):
    """Of some benches most samples have no verdict."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """A bench that is done, with what its result file says of how it came about."""

    name: str
    result: Evaluation
    context: dict[str, Any]
    timing: dict[str, float]


def evaluate(recipe: EvalRecipe, terminal: TextIO) -> None:
    """Run every bench of the recipe; results are written as each is done. NoScore where one has none."""
    assert recipe.out is not None  # the launcher has filled it in
    out = Path(recipe.out)
    process_group.initialise()
    judges = judges_of(recipe.benches)
    verification = roomy(recipe.verification, list(judges.values()))
    print_into(judges, out, f"rank{distributed.rank()}")
    with open_eval_tracker(recipe, out, terminal) as tracker, Pool(judges, verification) as pool:
        header = {"model": recipe.model.path, "benches": ", ".join(recipe.benches), "results": str(out)}
        tracker.header(header | ({"server": recipe.server.url} if recipe.server.url else {}))
        results: dict[str, dict[str, Any]] = {}
        tables: dict[str, dict[str, Any]] = {}
        lost: dict[str, str] = {}
        disputed: list[dict[str, Any]] = []
        for done in (
            rescored(recipe, out, pool, tracker) if recipe.rescore else sampled(recipe, out, pool, tracker)
        ):
            summary, bench = done.result.summary, recipe.benches[done.name]
            limit = prompt_limit(bench, recipe.rollout)
            for line in shortfalls("benches", done.name, bench, limit, summary):
                tracker.event("warning", line)
            said, has_score = unjudged(done.name, done.result)
            if said is not None:
                tracker.event("warning", said)
            if not has_score and said is not None:
                lost[done.name] = said
            tracker.evaluation(0, done.name, summary, done.timing)
            if distributed.rank() == 0:
                path = outputs.write_result(out, done.name, bench, done.result, **done.context)
                outputs.write_samples(out, done.name, done.result.rows, recipe.samples)
                seconds = done.timing["timing_s/step"]
                results[str(path)] = {"bench": done.name, "seconds": seconds} | summary
                results[str(path)]["cause"] = commonest(missing(done.result.rows))
                disputed += disputed_rows(done.name, done.result.rows)
                tables[str(path)] = {} if cut_short(done.result.rows) else by_subject(done.result.rows)
        if distributed.rank() == 0:
            if recipe.lm_eval:
                outputs.write_lm_eval(out, recipe, list(results))
            outputs.write_disputed(out, disputed)
            # Only now: a killed evaluation repeats none of its benches, and one without verdicts no sample.
            for name in set(recipe.benches) - set(lost):
                for part in out.glob(f"{name}.partial.*.jsonl"):
                    part.unlink()
        if lost:
            tracker.close("failed")
    if distributed.rank() == 0:
        print_results(terminal, results, tables)
    if lost:
        raise NoScore("; ".join(lost.values()))


def roomy(verification: Verification, judges: list[Any]) -> Verification:
    """A verifier that runs programs brings its own limits; those of the pool must not come first."""
    seconds = max([verification.timeout_s, *(getattr(judge, "needs_s", 0.0) for judge in judges)])
    memory = max([verification.memory_mb, *(getattr(judge, "memory_mb", 0) for judge in judges)])
    if verification.memory_mb == 0:  # no limit
        memory = 0
    return replace(verification, timeout_s=seconds, memory_mb=memory)


def sampled(recipe: EvalRecipe, out: Path, pool: Pool, tracker: Tracker | NullTracker) -> Iterator[Measured]:
    """The benches, one after the other, on one engine."""
    model = local_model(recipe.model, out, recipe.seed)
    tokenizer = tokenizer_of(recipe, model)
    refuse_unseen(recipe, tokenizer)
    precision = recipe.rollout.dtype or recipe.precision or default_precision()
    context = room(recipe, model, tracker)
    # Before the engine starts, which may take minutes: what cannot be had is known at once.
    chosen = identity_of(recipe.select)
    if recipe.select.full is not None:
        read_result(Path(recipe.select.full))
    environments = Environments.of({}, recipe.benches, tokenizer, out)
    asked = {
        name: fitting(name, bench, recipe, tokenizer, context, environments)
        for name, bench in recipe.benches.items()
    }
    for line in (line for name, each in asked.items() for line in each.warnings(name)):
        tracker.event("warning", line)
    if recipe.server.chat:
        tracker.event("warning", UNKNOWN)
    pool.around.decode = surroundings(None if recipe.server.chat else tokenizer).decode
    _introduce(recipe, asked, pool, tracker)
    engine = engine_of(recipe, model, tokenizer, context, out, environments, tracker)
    origin: dict[str, Any] = {"model": recipe.model.path, "precision": precision.value}
    origin["engine"] = recipe.server.url or recipe.rollout.engine.value
    if recipe.server.chat:
        origin["api"] = recipe.server.api.value
    if recipe.select.by is SelectBy.otv:
        origin["select"] = jsonable(asdict(recipe.select))
    if (seen := processor_of(tokenizer)) is not None:
        origin |= {"min_pixels": seen.least, "max_pixels": seen.most}
    gallery = Gallery(out / FOLDER, recipe.tracker.images, seen)
    for name, bench in recipe.benches.items():
        timer = Timer()
        identity = fingerprint(
            [asked_of(problem) for problem in asked[name].problems],
            {k: v for k, v in asdict(bench).items() if k not in UNSAMPLED},
            *(origin, weights_of(model.path), asdict(recipe.rollout), versions(), context),
            *chosen,
        )
        stored = Partial(out, name, identity, distributed.rank())
        result = run_bench(
            name,
            bench,
            engine,
            pool,
            asked[name],
            timer=timer,
            advance=tracker.progress(name),
            say=partial(tracker.event, "waiting"),
            partial=stored,
            gallery=gallery,
        )
        stored.close()
        result.summary = with_selection(result.summary, result.rows, recipe.select, bench)
        if recipe.contamination is not None:
            limit = min(prompt_limit(bench, recipe.rollout), context - 1)
            result.summary |= probe(name, bench, engine, tokenizer, recipe.contamination, limit, timer)
        yield Measured(name=name, result=result, context=dict(origin), timing=timer.take())
    engine.close()


def _introduce(
    recipe: EvalRecipe, asked: dict[str, Questions], pool: Pool, tracker: Tracker | NullTracker
) -> None:
    """Functions of the user, each with the first problem of its bench."""
    pool.around.seed = recipe.seed
    judges = judges_of(recipe.benches)
    first: dict[str, Group] = {}
    for name, each in asked.items():
        problem = replace(each.problems[0], verifiers=[verifier_key(name)])
        first |= first_asked({name: [problem]}, recipe.benches[name].k)
    if distributed.rank() == 0:
        for line in introduced(judges, first, pool, recipe.verification):
            tracker.event("verifier", line)


def fitting(
    name: str, bench: Bench, recipe: EvalRecipe, tokenizer: Any, context: int, environments: Environments
) -> Questions:
    """The problems of a bench; UserError where no prompt fits."""
    chat = recipe.server.chat
    if (limit := prompt_limit(bench, recipe.rollout)) < context:
        return questions(name, bench, tokenizer, limit, environments=environments, chat=chat)
    remedy = f"the model has {context} positions: take one with a longer context"
    return questions(name, bench, tokenizer, context - 1, remedy, environments, chat=chat)


def room(recipe: EvalRecipe, model: Model, tracker: Tracker | NullTracker) -> int:
    """Positions of the engine: as many as the benches want, or all the model has."""
    wanted = positions(recipe.benches, recipe.rollout)
    had = None if recipe.server.url is not None else context_length(model)
    if had is None or had >= wanted:
        return wanted
    tracker.event(
        "warning", f"the model has {had} positions: prompt and response are cut there, not at {wanted}"
    )
    return had


def rescored(recipe: EvalRecipe, out: Path, pool: Pool, tracker: Tracker | NullTracker) -> Iterator[Measured]:
    """The samples of earlier result files, judged by the verifiers of the recipe; nothing is generated."""
    for name, path in recipe.rescore.items():
        bench, earlier, timer = recipe.benches[name], read_result(Path(path)), Timer()
        found = [problem_of(name, stored) for stored in earlier["problems"]]
        share = list(enumerate(found))[distributed.rank() :: distributed.world_size()]
        stored = {n: completions(row) for n, row in enumerate(earlier["problems"])}
        replay, say = Replay(stored, [n for n, _ in share]), partial(tracker.event, "waiting")
        groups = judge(name, bench, replay, pool, share, timer=timer, say=say)
        rows = gathered(groups)
        for now, before in zip(rows, earlier["problems"], strict=True):
            now["index"] = before["index"]
            if "images" in before and distributed.rank() == 0:
                now["images"] = carried(before["images"], Path(path).parent / FOLDER, out / FOLDER)
        left_out = {"left_out": 0.0} | {
            key: earlier["summary"][key] for key in ("left_out", "no_gold") if key in earlier["summary"]
        }
        summary = with_selection(scored(bench, rows) | left_out, rows, recipe.select, bench)
        kept = {
            key: earlier[key]
            for key in ("model", "precision", "engine", "api", "step", "run", "environment")
            if key in earlier
        }
        yield Measured(
            name=name,
            result=Evaluation(summary=summary, rows=rows, experiences=earlier.get("experiences")),
            context=kept | {"rescored_from": path},
            timing=timer.take(),
        )


def open_eval_tracker(recipe: EvalRecipe, out: Path, terminal: TextIO) -> Tracker | NullTracker:
    if distributed.rank() != 0:
        return NullTracker()
    return Tracker(
        recipe.tracker,
        out,
        terminal=terminal,
        total_steps=0,
        run_name=recipe.name,
        recipe=asdict(recipe),
        kind="eval",
    )
