"""`rlvr profile`: how often a model solves each problem of a recipe's data, to choose what to train on.

A problem is written down as soon as its verdicts are in, so that a kill loses only those under way; the same
command goes on. Samples are those of training: same prompts, engine settings and verifiers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli import __version__
from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.model_paths import BUILT_IN
from rlvr_cli.core.types import Group, Problem, Verdict
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.profiles import VERSION, Profile, Row, key_of, read_profile, write_profile
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sources import held_out
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.evaluation.evaluate import open_eval_tracker
from rlvr_cli.evaluation.profile_rows import row_of
from rlvr_cli.evaluation.profile_table import lines_of
from rlvr_cli.evaluation.stored_samples import Partial, fingerprint, weights_of
from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.sampling.collect import gates_of, request_seed, score
from rlvr_cli.sampling.start_model import local_model, start_engine, start_server
from rlvr_cli.schema import Model, ProfileRecipe, Unscored
from rlvr_cli.tracking import Tracker, versions
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import fault_of
from rlvr_cli.vision.refusals import refuse_unseen

PARTS = "rows"
"""Beginning of the names of the files that hold finished problems until all are."""
UNMEASURED = ("limit", "weight", "difficulty", "labels")
"""Keys of a source that choose problems and change nothing about one."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """A problem as it is sampled."""

    key: str
    problem: Problem

    @property
    def mark(self) -> tuple[str, str]:
        return self.problem.source, self.key


def profile(recipe: ProfileRecipe, terminal: TextIO) -> None:
    """Measure what is missing in `recipe.file`, write it and show it; every rank calls it.

    UserError where the file there is the profile of something else.
    """
    assert recipe.out is not None
    process_group.initialise()
    out, target = Path(recipe.out), Path(recipe.file)
    with open_eval_tracker(recipe, out, terminal) as tracker:
        model = local_model(recipe.model, out, recipe.seed)
        tokenizer = load_tokenizer(model)
        refuse_unseen(recipe, tokenizer)
        asked = questions(recipe, tokenizer, tracker)
        head = head_of(recipe, model)
        stored = Partial(out, PARTS, head["fingerprint"], distributed.rank())
        first = distributed.rank() == 0
        known = distributed.gather(found(target, head, stored) if first else [])[0]
        done = {(row["source"], row["key"]) for row in known}
        missing = [each for each in asked if each.mark not in done]
        tracker.header({"model": recipe.model.path, "profile": str(target)})
        if len(missing) < len(asked):
            tracker.event(
                "profile", f"{len(asked) - len(missing)} of {len(asked)} problems are there already"
            )
        if missing:
            sample(recipe, model, tokenizer, missing, stored, tracker)
        stored.close()
        distributed.barrier()
        if first:
            rows = ordered([*known, *stored.rows()], asked)
            write_profile(target, Profile(head, rows))
            of_these = {each.mark for each in asked}
            shown = [row for row in rows if (row["source"], row["key"]) in of_these]
            tracker.table(f"difficulty for {recipe.model.path}", lines_of(shown, recipe))
        tracker.close("checked")
        distributed.barrier()


def questions(recipe: ProfileRecipe, tokenizer: Any, tracker: Tracker | NullTracker) -> list[Asked]:
    """The problems of every source as training would ask them, each text of a source once."""
    check_room(recipe)
    asked: dict[tuple[str, str], Asked] = {}
    apart = held_out(recipe.data.values(), recipe.seed, PROBLEMS)  # what is never trained on
    for name, source in recipe.data.items():
        limit, ask = recipe.rollout.max_prompt_tokens, partial(fault_of, recipe.verifiers)
        made, report = problems(name, source, tokenizer, limit, recipe.seed, ask=ask, apart=apart)
        tracker.event("data", str(report))
        for problem in made:
            each = Asked(key=key_of(problem), problem=problem)
            asked.setdefault(each.mark, each)
    return list(asked.values())


def check_room(recipe: ProfileRecipe) -> None:
    wanted = recipe.rollout.max_prompt_tokens + recipe.rollout.max_tokens
    context = None if recipe.server.url is not None else context_length(recipe.model)
    if context is not None and wanted > context:
        raise UserError(
            f"rollout.max_prompt_tokens and max_tokens add up to {wanted}, more than the {context} positions "
            f"of '{recipe.model.path}'; lower one"
        )


def head_of(recipe: ProfileRecipe, model: Model) -> dict[str, Any]:
    """What the file says of how it was made; `fingerprint` is of all that a row depends on."""
    rollout = recipe.rollout
    assert recipe.precision is not None
    name = recipe.server.model or recipe.model.path  # not the address: a server started anew has another one
    engine = rollout.engine.value if recipe.server.url is None else f"server of {name}"
    measured = {
        "model": recipe.model.path,
        "weights": None if recipe.model.path in BUILT_IN else fingerprint(weights_of(model.path)),
        "k": recipe.k,
        "seed": recipe.seed,
        "sampling": {
            "temperature": rollout.temperature,
            "top_p": rollout.top_p,
            "max_tokens": rollout.max_tokens,
            "stop": list(rollout.stop),
            "precision": recipe.precision.value,
            "engine": engine,
        },
        "data": {
            name: {key: x for key, x in _plain(source).items() if key not in UNMEASURED}
            for name, source in recipe.data.items()
        },
        "verifiers": {name: _plain(verifier) for name, verifier in recipe.verifiers.items()},
    }
    return {
        "profile": VERSION,
        **measured,
        "recipe": fingerprint(_plain(recipe)),
        "fingerprint": fingerprint(measured, _plain(recipe.model)),
        "versions": {"rlvr": __version__} | versions(),
    }


def _plain(section: Any) -> dict[str, Any]:
    """A section as JSON holds it."""
    text = json.dumps(asdict(section), default=lambda value: str(getattr(value, "value", value)))
    return dict(from_json(text))


def found(target: Path, head: dict[str, Any], stored: Partial) -> list[Row]:
    """Rows that need not be measured: of the file, and of a start that was killed."""
    rows = stored.rows()
    if target.exists():
        before = read_profile(target)
        if before.head.get("fingerprint") != head["fingerprint"]:
            differing = [key for key in head if key not in ("recipe", "versions", "fingerprint")]
            differing = [key for key in differing if before.head.get(key) != head[key]]
            raise UserError(
                f"{target} is a profile of something else: {', '.join(differing) or 'model'} differ "
                f"(its model is {before.head.get('model')}); name another file with -o, or remove it"
            )
        rows = [*before.rows, *rows]
    if others := stored.others():
        raise UserError(
            f"{stored.folder} holds {others} finished problems that were sampled otherwise (weights, k, "
            "seed, sampling, data, verifiers): take the old settings, name another file with -o, or remove it"
        )
    return rows


def ordered(rows: list[Row], asked: list[Asked]) -> list[Row]:
    """Each problem once: those asked in their order, then others of an earlier start."""
    by_mark = {(row["source"], row["key"]): row for row in rows}
    marks = dict.fromkeys([*(each.mark for each in asked), *by_mark])
    return [by_mark[mark] for mark in marks if mark in by_mark]


def sample(
    recipe: ProfileRecipe,
    model: Model,
    tokenizer: Any,
    missing: list[Asked],
    stored: Partial,
    tracker: Tracker | NullTracker,
) -> None:
    """Measure this rank's share of the problems and keep each as it is done."""
    positions = recipe.rollout.max_prompt_tokens + recipe.rollout.max_tokens
    assert recipe.precision is not None
    engine: Engine
    if recipe.server.url is not None:
        engine = start_server(recipe.server, model, tokenizer)
    else:
        assert recipe.out is not None
        more = Path(recipe.out), tracker.event
        engine = start_engine(
            recipe.rollout, model, tokenizer, recipe.seed, recipe.precision, positions, *more
        )
    number, engines = engine.share
    share = missing[number::engines]
    advance = tracker.progress("profile")
    with Pool(recipe.verifiers, recipe.verification) as pool:
        for count, group in enumerate(judged(recipe, engine, pool, share, tracker.event), 1):
            stored.append(row_of(group, share[group.index].key))
            advance(count, len(share))
    engine.close()


def judged(
    recipe: ProfileRecipe, engine: Engine, pool: Pool, share: list[Asked], event: Callable[[str, str], None]
) -> Iterator[Group]:
    """Groups with their verdicts as they are done; `index` is the place in `share`."""
    seeded = recipe.rollout.seeded
    requests = [
        Request(
            key=place,
            tokens=each.problem.tokens,
            samples=recipe.k,
            # Of the problem, not of its place: the same whatever `--limit` and other sources are.
            seed=request_seed(recipe.seed, int(each.key, 16)) if seeded else None,
        )
        for place, each in enumerate(share)
    ]
    sampling = Sampling.of(recipe.rollout, logprobs=False)
    waiting: list[tuple[Group, dict[str, list[Future[Verdict]]]]] = []
    for place, completions in engine.generate(requests, sampling):
        heart.beat()
        if not engine.leader:
            continue
        problem = share[place].problem
        texts = [completion.text for completion in completions]
        futures = {
            name: pool.submit_group(name, texts, problem.golds, problem.extra) for name in problem.verifiers
        }
        waiting.append((Group(problem=problem, index=place, completions=completions), futures))
        still = []
        for pair in waiting:
            if all(future.done() for each in pair[1].values() for future in each):
                yield scored(recipe, pool, *pair, event)
            else:
                still.append(pair)
        waiting = still
    for pair in waiting:
        yield scored(recipe, pool, *pair, event)


def scored(
    recipe: ProfileRecipe,
    pool: Pool,
    group: Group,
    futures: dict[str, list[Future[Verdict]]],
    event: Callable[[str, str], None],
) -> Group:
    """The group with its verdicts, waited for where they are not in yet."""
    say = partial(event, "waiting")
    group.verdicts = [
        {name: result(each[n], pool, say) for name, each in futures.items()}
        for n in range(len(group.completions))
    ]
    weights = {name: verifier.weight for name, verifier in recipe.verifiers.items()}
    score(group, weights, Unscored.drop, gates_of(recipe.verifiers))  # counted, whatever training does
    return group
