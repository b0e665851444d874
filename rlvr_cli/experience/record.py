"""What a run says of itself: history in the library, metrics, rollouts, events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from rlvr_cli.core import distributed
from rlvr_cli.data.experiences import Library
from rlvr_cli.experience.calls import Ledger, Stopped
from rlvr_cli.experience.operations import Change
from rlvr_cli.experience.rollouts import name_of
from rlvr_cli.experience.start import Models
from rlvr_cli.experience.step import Step
from rlvr_cli.schema import ExperienceRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.journal import read_metrics
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.tracking.records import RolloutRecords


def open_tracker(recipe: ExperienceRecipe, out: Path, terminal: TextIO) -> Tracker | NullTracker:
    if distributed.rank() != 0:
        return NullTracker()
    return Tracker(
        recipe.tracker,
        out,
        terminal=terminal,
        total_steps=recipe.algorithm.steps,
        run_name=recipe.name,
        recipe=asdict(recipe),
        kind="experience",
    )


class Record:
    """Of a run that may have been there before: steps that are recorded are recorded once."""

    def __init__(
        self, recipe: ExperienceRecipe, out: Path, tracker: Tracker | NullTracker, ledger: Ledger
    ) -> None:
        self.recipe, self.out, self.tracker, self.ledger = recipe, out, tracker, ledger
        self._timer = Timer(on_phase=tracker.phase)
        self._known = {int(row["step"]) for row in read_metrics(out)}
        self._rollouts = RolloutRecords(out / "rollouts", 0)
        self._answered = 0
        if ledger.rows:
            tracker.event(
                "resume",
                f"{ledger.calls:,} calls ({ledger.tokens:,} tokens) are answered already: {ledger.path}",
            )

    def made(self, models: Models) -> dict[str, Any]:
        """What the library says of how it was learned."""
        algorithm = self.recipe.algorithm
        self.tracker.header(
            {
                "model": self.recipe.model.path,
                "editor": "the model itself" if models.editor is models.policy else models.editor.name,
                "form": algorithm.form.value,
                "library": str(self.out / "experiences.json"),
            }
        )
        return {
            "form": algorithm.form.value,
            "ground_truth": algorithm.ground_truth,
            "model": self.recipe.server.model or self.recipe.model.path,
            "editor": self.recipe.editor.model or self.recipe.server.model or self.recipe.model.path,
            "data": {name: source.path for name, source in self.recipe.data.items()},
            "problems_per_step": self.recipe.batch.prompts_per_step,
            "rollouts_per_problem": self.recipe.batch.group_size,
            "seed": self.recipe.seed,
        }

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """What a step costs is counted from here."""
        self._answered = self.ledger.fresh
        with self._timer("edit"):
            yield

    def done(self, step: Step, library: Library) -> None:
        """The step's entry in the history; its metrics and rollouts, if they are not recorded yet."""
        entry = entry_of(step, library)
        library.history.append(entry)
        timing = self._timer.take()
        new = self.ledger.fresh > self._answered
        if step.number in self._known and not new:
            return
        if step.number in self._known:  # asked anew: what came after it is another course of things
            self.tracker.resume_at(step.number - 1)
            self._known = {number for number in self._known if number < step.number}
        self._say(step, entry)
        if self.recipe.tracker.rollouts:
            kept = {id(group) for group in step.kept}
            self._rollouts.write(
                step.number,
                step.groups,
                [group.scores for group in step.groups],
                None,
                [id(group) in kept for group in step.groups],
                [step.number - 1] * len(step.groups),
            )
        self.tracker.step(step.number, self._metrics(step, library, entry) | timing)

    def _metrics(self, step: Step, library: Library, entry: dict[str, Any]) -> dict[str, float]:
        samples = [each for group in step.groups for each in group.completions]
        return {
            **({"reward/correct_fraction": entry["correct"]} if entry["correct"] is not None else {}),
            **({"reward/mean": entry["reward"]} if entry["reward"] is not None else {}),
            "response_length/mean": sum(each.length for each in samples) / max(len(samples), 1),
            "experience/kept": float(len(step.kept)),
            "experience/proposed": float(step.proposed),
            "experience/operations": float(len(step.changes)),
            "experience/size": float(len(library.experiences)),
            "experience/given_up": float(sum(step.given_up.values())),
            "experience/calls": float(self.ledger.calls),
            "experience/tokens": float(self.ledger.tokens),
        }

    def _say(self, step: Step, entry: dict[str, Any]) -> None:
        if step.too_long:
            self.tracker.event(
                "warning",
                f"step {step.number}: with the library before them {len(step.too_long)} prompts are longer "
                "than rollout.max_prompt_tokens and left out",
            )
        for stage, count in step.given_up.items():
            self.tracker.event("warning", f"step {step.number}: {count} of {stage} without a usable answer")
        if step.unchanged is not None:
            self.tracker.event(
                "warning", f"step {step.number}: the library stays as it was: {step.unchanged}"
            )
        for change in entry["operations"]:
            if change["id"] is None and change["operation"] != "delete":
                continue  # a candidate that the plan has merged
            ids = f" {', '.join(change['ids'])}" if change["ids"] else ""
            text = f": {change['text']}" if change["text"] else ""
            self.tracker.event("experience", f"{change['operation']}{ids}{text}", at=step.number, **change)

    def stopped(self, why: Stopped) -> None:
        """Said where a budget or a signal ends the run, with how to go on."""
        spent = f"{self.ledger.calls:,} calls and {self.ledger.tokens:,} tokens so far"
        how = "start the same command again to go on"
        if "budget" in str(why):
            how = "raise it and start the same command again: no call is repeated"
        self.tracker.event("stopped", f"{why}; {spent}; {how}")
        self.tracker.close("interrupted")

    def finished(self, library: Library) -> None:
        path = self.out / "experiences.json"
        self.tracker.event(
            "finished",
            f"{len(library.experiences)} experiences in {path}; {self.ledger.calls:,} calls, "
            f"{self.ledger.tokens:,} tokens; measure it: rlvr eval --experiences {path}",
        )


def entry_of(step: Step, library: Library) -> dict[str, Any]:
    """A step in the library's history; nothing in it depends on the clock or on what was paid before."""
    correct = [value for group in step.groups for value in group.correct if value == value]
    rewards = [value for group in step.groups for value in group.scores if value == value]
    return {
        "step": step.number,
        "problems": [name_of(group.problem) for group in step.groups],
        "rollouts": sum(len(group.completions) for group in step.groups),
        "correct": round(sum(correct) / len(correct), 6) if correct else None,
        "reward": round(sum(rewards) / len(rewards), 6) if rewards else None,
        "kept": [name_of(group.problem) for group in step.kept],
        "too_long": step.too_long,
        "proposed": step.proposed,
        "given_up": step.given_up,
        "unchanged": step.unchanged,
        "operations": [operation_of(change, step.names, library) for change in step.changes],
        "experiences": {key: each.text for key, each in library.experiences.items()},
    }


def operation_of(change: Change, names: dict[str, str], library: Library) -> dict[str, Any]:
    """`ids` as they were while the library was edited, `id` as it is called after the step (None: gone).
    `problems`: those it comes from; of a merge, those of all that it merged."""
    operation = change.operation
    name = names.get(change.id) if change.id is not None else None
    problems = library.experiences[name].problems if name is not None else operation.problems
    return {
        "operation": operation.kind.value,
        "ids": list(operation.ids),
        "id": name,
        "text": operation.text,
        "problems": list(problems),
    }
