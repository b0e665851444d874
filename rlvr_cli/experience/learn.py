"""`rlvr experience`: the method on one page. Weights stay as they are; what is learned is a file of texts.

Every answer of a model is in `calls.jsonl` before it is used, and nothing else is remembered: a run that goes
on does the same again from there, and asks only what has no answer yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.stop_signals import taken
from rlvr_cli.data.experiences import Library, write_library
from rlvr_cli.engine import process_group
from rlvr_cli.evaluation.evaluate import roomy
from rlvr_cli.experience.calls import Ledger, Stopped, Till
from rlvr_cli.experience.editing import Editing, proposals, revised, summaries
from rlvr_cli.experience.operations import renumbered
from rlvr_cli.experience.problems import course
from rlvr_cli.experience.record import Record, open_tracker
from rlvr_cli.experience.rollouts import Drawn, asked, comparable, judged, sampled, teaches
from rlvr_cli.experience.start import Models, start_models
from rlvr_cli.experience.step import Step
from rlvr_cli.experience.wordings import Wordings
from rlvr_cli.sampling.user_functions import print_into
from rlvr_cli.schema import ExperienceRecipe
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.pool import Pool

LIBRARY = "experiences.json"


def learn(recipe: ExperienceRecipe, terminal: TextIO) -> bool:
    """Learn the recipe's library; False where a budget or a signal has stopped it. UserError for what a start
    would refuse, and for a server that is gone: what it has answered is kept."""
    if recipe.server.url is None:
        process_group.initialise()
    out, signals = Path(recipe.out), Signals()
    print_into(recipe.verifiers, out, "rank0")
    verification = roomy(recipe.verification, list(recipe.verifiers.values()))
    with (
        open_tracker(recipe, out, terminal) as tracker,
        Pool(recipe.verifiers, verification) as pool,
        signals.noted(),
    ):
        return learned(recipe, tracker, pool, signals.seen)


def learned(
    recipe: ExperienceRecipe, tracker: Tracker | NullTracker, pool: Pool, stop: Callable[[], bool]
) -> bool:
    """As `learn`, with what it has opened. `stop` is asked before each call."""
    out, algorithm = Path(recipe.out), recipe.algorithm
    shared = {
        "agent_objective": algorithm.agent_objective,
        "learning_objective": algorithm.learning_objective,
        "max_operations": str(algorithm.max_operations),
        "max_words": str(algorithm.max_words),
    }
    wordings, ledger = Wordings(algorithm.prompts, shared), open_ledger(out)
    till = Till(
        ledger=ledger,
        call_budget=algorithm.call_budget,
        token_budget=algorithm.token_budget,
        stop=stop,
        advance=lambda stage, done, total: tracker.progress(stage)(done, total),
    )
    record = Record(recipe, out, tracker, ledger)
    try:
        with start_models(recipe, out, tracker, pool) as models:
            drawn = course(recipe, models.tokenizer, tracker)
            library = all_steps(recipe, models, pool, till, wordings, drawn, record)
    except Stopped as stopped:
        record.stopped(stopped)
        return False
    finally:
        ledger.close()
    record.finished(library)
    return True


def all_steps(
    recipe: ExperienceRecipe,
    models: Models,
    pool: Pool,
    till: Till,
    wordings: Wordings,
    drawn: Iterator[Drawn],
    record: Record,
) -> Library:
    """The library after the last step; each step's is written as it is done. Raises Stopped."""
    library = Library(wording=wordings.text("problem"), made=record.made(models))
    write_library(record.out / LIBRARY, library)
    for number in range(1, recipe.algorithm.steps + 1):
        with record.step(number):
            library, step = one_step(recipe, models, pool, till, wordings, library, number, next(drawn))
            record.done(step, library)
            write_library(record.out / "steps" / f"step_{number}.json", library)
            write_library(record.out / LIBRARY, library)
    return library


def one_step(
    recipe: ExperienceRecipe,
    models: Models,
    pool: Pool,
    till: Till,
    wordings: Wordings,
    library: Library,
    number: int,
    drawn: Drawn,
) -> tuple[Library, Step]:
    """Rollouts, verdicts, filter, summaries, proposals, plan. The library is a new object."""
    algorithm, say = recipe.algorithm, partial(models.tracker.event, "waiting")
    questions, too_long = asked(recipe, models.policy, library, number, drawn)
    groups = judged(recipe, pool, till.ledger, number, sampled(till, models.policy, questions), say)
    pairs = [(group, comparable(group)) for group in groups]
    kept = [pair for pair in pairs if teaches(*pair, algorithm.ground_truth)]
    editing = Editing(recipe=recipe, editor=models.editor, till=till, wordings=wordings, given_up={})
    told = summaries(editing, number, kept)
    described = [(group, texts) for (group, _), texts in zip(kept, told, strict=True)]
    proposed = proposals(editing, number, library, described)
    edited = revised(editing, number, library, proposed)
    step = Step(number=number, groups=groups, kept=[group for group, _ in kept], too_long=too_long)
    step.proposed, step.given_up = len(proposed), editing.given_up
    if edited is None:
        step.unchanged = f"no plan of {algorithm.attempts} could be used"
        return library_of(library, library.experiences), step
    found, step.changes = edited
    experiences, step.names = renumbered(found)
    return library_of(library, experiences), step


def library_of(before: Library, experiences: Any) -> Library:
    """With the history so far, to which the record adds."""
    return Library(
        wording=before.wording, made=before.made, experiences=experiences, history=list(before.history)
    )


def open_ledger(out: Path) -> Ledger:
    path = out / "calls.jsonl"
    try:
        return Ledger(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend it, or set out= to a new folder") from error


class Signals:
    """SIGINT and SIGTERM: the first lets what is under way end, the second ends at once."""

    def __init__(self) -> None:
        self._seen = False

    def seen(self) -> bool:
        return self._seen

    @contextmanager
    def noted(self) -> Iterator[None]:
        def handler(number: int, frame: FrameType | None) -> None:
            if self._seen:
                raise KeyboardInterrupt
            self._seen = True

        with taken(handler):
            yield
