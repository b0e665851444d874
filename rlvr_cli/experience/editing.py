"""Rollouts -> an edited library: summaries, proposals of each group, one plan for all; docs/experience.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rlvr_cli.core.types import Group
from rlvr_cli.data.experiences import Library, listed
from rlvr_cli.experience import answers
from rlvr_cli.experience.calls import Call, Till
from rlvr_cli.experience.models import Model, text_of
from rlvr_cli.experience.operations import (
    Change,
    Experiences,
    Kind,
    Operation,
    merged,
    plain,
    settled,
    updated,
)
from rlvr_cli.experience.rollouts import name_of, teaches
from rlvr_cli.experience.wordings import Wordings
from rlvr_cli.rollout import Sampling
from rlvr_cli.rollout.engine import derived_seed
from rlvr_cli.schema import ExperienceRecipe, LibraryForm

T = TypeVar("T")
NOTHING = "(none yet)"
UNKNOWN = "(not known)"


@dataclass(slots=True, kw_only=True)
class Editing:
    """What the edits of all steps are made with."""

    recipe: ExperienceRecipe
    editor: Model
    till: Till
    wordings: Wordings
    given_up: dict[str, int]
    """Stage -> questions without a usable answer in this step; those that do not fit are counted apart."""

    def ask(self, stage: str, step: int, questions: dict[str, str], read: Callable[[str], T]) -> dict[str, T]:
        """What `read` makes of the answers, by the questions' names; those given up have none.

        An answer that cannot be read is told so, and the question asked again, `algorithm.attempts` times in
        all.
        """
        found: dict[str, T] = {}
        open_ = {name: [{"role": "user", "content": text}] for name, text in questions.items()}
        for attempt in range(self.recipe.algorithm.attempts):
            calls = {
                name: self._call(f"{step}/{stage}/{name}/{attempt}", said) for name, said in open_.items()
            }
            fitting = [call for call in calls.values() if call is not None]
            given = self.till.answers(self.editor, stage, fitting)
            for name, call in calls.items():
                if call is None:  # it does not get shorter
                    del open_[name]
                    self._give_up(f"{stage} (too long)", 1)
                    continue
                text = given[call.name].text
                try:
                    found[name] = read(text)
                    del open_[name]
                except answers.Malformed as fault:
                    more = {"role": "assistant", "content": answers.said(text) or "(empty)"}
                    again = self.wordings.filled("again", fault=str(fault))
                    open_[name] = [*open_[name], more, {"role": "user", "content": again}]
            if not open_:
                break
        if open_:
            self._give_up(stage, len(open_))
        return found

    def _give_up(self, stage: str, count: int) -> None:
        self.given_up[stage] = self.given_up.get(stage, 0) + count

    def _call(self, name: str, messages: list[dict[str, str]]) -> Call | None:
        editor = self.recipe.editor
        sampling = Sampling(
            temperature=editor.temperature, top_p=1.0, max_tokens=editor.max_tokens, logprobs=False
        )
        seed = derived_seed(f"{self.recipe.seed}:{name}") if self.recipe.rollout.seeded else None
        return self.editor.call(name, messages, sampling, seed)


def summaries(editing: Editing, step: int, kept: list[tuple[Group, list[int]]]) -> list[dict[int, str]]:
    """Of each group, sample -> what it did; those without a summary are no part of the comparison."""
    recipe = editing.recipe
    questions = {}
    for group, members in kept:
        for sample in members:
            response = group.completions[sample].text
            questions[f"{group.index}/{sample}"] = editing.wordings.filled(
                "summary",
                **about(recipe, group),
                response=response[-recipe.editor.max_chars :],
                grade=grade(recipe, group, sample),
            )
    found = editing.ask("summary", step, questions, answers.summary)
    return [
        {n: found[f"{group.index}/{n}"] for n in members if f"{group.index}/{n}" in found}
        for group, members in kept
    ]


def about(recipe: ExperienceRecipe, group: Group) -> dict[str, str]:
    """The problem, and its answer where the editor may see it."""
    problem = group.problem
    answer = " or ".join(problem.golds) if recipe.algorithm.ground_truth else ""
    return {"problem": text_of(problem.extra["prompt"]), "answer": answer or UNKNOWN}


def grade(recipe: ExperienceRecipe, group: Group, sample: int) -> str:
    """What the verifiers say of a rollout, in words."""
    score = group.scores[sample]
    if not recipe.algorithm.ground_truth:
        return f"agreement with the other attempts, from 0 to 1: {score:g}"
    right = {1.0: "right", 0.0: "wrong"}.get(group.correct[sample], "not judged")
    return f"{right}, score {score:g}"


def proposals(
    editing: Editing, step: int, library: Library, kept: list[tuple[Group, dict[int, str]]]
) -> list[Operation]:
    """What the groups propose, in their order."""
    recipe = editing.recipe
    comparing = [(g, told) for g, told in kept if teaches(g, list(told), recipe.algorithm.ground_truth)]
    critique = _merge_critiques if recipe.algorithm.form is LibraryForm.merge else _update_critiques
    return critique(editing, step, library, comparing)


def _attempts(recipe: ExperienceRecipe, group: Group, told: dict[int, str]) -> str:
    return "\n\n".join(
        f"Attempt {number} ({grade(recipe, group, sample)}):\n{text}"
        for number, (sample, text) in enumerate(told.items(), 1)
    )


def _questions(
    editing: Editing, prompt: str, library: Library, kept: list[tuple[Group, dict[int, str]]]
) -> dict[str, str]:
    recipe = editing.recipe
    return {
        str(group.index): editing.wordings.filled(
            prompt,
            **about(recipe, group),
            attempts=_attempts(recipe, group, told),
            experiences=listed(library.experiences) or NOTHING,
        )
        for group, told in kept
    }


Kept = list[tuple[Group, dict[int, str]]]


def _merge_critiques(editing: Editing, step: int, library: Library, kept: Kept) -> list[Operation]:
    algorithm = editing.recipe.algorithm

    def read(text: str) -> list[Operation]:
        allowed = (Kind.add, Kind.modify)
        return answers.merge_operations(text, allowed, algorithm.max_operations, algorithm.max_words)

    found = editing.ask("critique", step, _questions(editing, "merge_critique", library, kept), read)
    return _of_groups(kept, found)


def _update_critiques(editing: Editing, step: int, library: Library, kept: Kept) -> list[Operation]:
    """Insights of each group, then what they do to the library."""
    algorithm = editing.recipe.algorithm

    def insights(text: str) -> list[str]:
        return answers.insights(text, algorithm.max_operations, algorithm.max_words)

    def read(text: str) -> list[Operation]:
        return answers.update_operations(text, algorithm.max_words)

    found = editing.ask("insights", step, _questions(editing, "update_insights", library, kept), insights)
    questions = {
        name: editing.wordings.filled(
            "update_operations",
            experiences=listed(library.experiences) or NOTHING,
            insights="\n".join(f"{n}. {text}" for n, text in enumerate(texts, 1)),
        )
        for name, texts in found.items()
        if texts
    }
    wanted = editing.ask("operations", step, questions, read)
    # As many as there were insights: the rest is somebody else's idea of the library.
    return _of_groups(kept, {name: each[: len(found[name])] for name, each in wanted.items()})


def _of_groups(kept: Kept, found: dict[str, list[Operation]]) -> list[Operation]:
    """In the order of the groups, with the problem each comes from; what does nothing is left out."""
    return [
        replace(operation, problems=(name_of(group.problem),))
        for group, _ in kept
        for operation in found.get(str(group.index), [])
        if operation.kind is not Kind.none
    ]


def revised(
    editing: Editing, step: int, library: Library, proposed: list[Operation]
) -> tuple[Experiences, list[Change]] | None:
    """The library after one plan for all proposals; None where no plan could be used: it stays as it was."""
    if not proposed:
        return dict(library.experiences), []
    if editing.recipe.algorithm.form is LibraryForm.merge:
        return _merge_plan(editing, step, library, proposed)
    return _update_plan(editing, step, library, proposed)


def _planned(
    editing: Editing, step: int, prompt: str, values: dict[str, Any], read: Callable[[str], list[Operation]]
) -> list[Operation] | None:
    question = editing.wordings.filled(prompt, **values)
    return editing.ask("plan", step, {"all": question}, read).get("all")


def _merge_plan(
    editing: Editing, step: int, library: Library, proposed: list[Operation]
) -> tuple[Experiences, list[Change]] | None:
    """Adds become candidates; a modification of what is not there is left out, the others are shown."""
    algorithm = editing.recipe.algorithm
    adds = [each for each in proposed if each.kind is Kind.add]
    wishes = [each for each in proposed if each.kind is Kind.modify and each.ids[0] in library.experiences]
    if not adds and not wishes:
        return dict(library.experiences), []
    candidates, added = merged(library.experiences, adds, step)
    values = {
        "experiences": listed(candidates),
        "proposals": "\n".join(f"{each.ids[0]} -> {each.text}" for each in wishes) or NOTHING,
    }

    def read(text: str) -> list[Operation]:
        return answers.merge_operations(text, (Kind.modify, Kind.merge), None, algorithm.max_words)

    plan = _planned(editing, step, "merge_plan", values, read)
    if plan is None:
        return None
    of_wishes: dict[str, list[str]] = {}
    for each in wishes:
        of_wishes.setdefault(each.ids[0], []).extend(each.problems)
    plan = [replace(op, problems=tuple(p for key in op.ids for p in of_wishes.get(key, ()))) for op in plan]
    found, changes = merged(candidates, plan, step)
    return found, [*added, *changes]


def _update_plan(
    editing: Editing, step: int, library: Library, proposed: list[Operation]
) -> tuple[Experiences, list[Change]] | None:
    algorithm = editing.recipe.algorithm
    values = {
        "experiences": listed(library.experiences) or NOTHING,
        "proposals": "\n".join(
            " ".join([each.kind.value.upper(), *each.ids, *([each.text] if each.text else [])])
            for each in proposed
        ),
    }

    def read(text: str) -> list[Operation]:
        return answers.update_operations(text, algorithm.max_words)

    plan = _planned(editing, step, "update_plan", values, read)
    if plan is None:
        return None
    return updated(
        library.experiences,
        settled(replace(each, problems=origins(each, proposed)) for each in plan),
        step,
    )


def origins(operation: Operation, proposed: list[Operation]) -> tuple[str, ...]:
    """Problems of the proposals that an operation of the plan comes from: those of the same experience or
    the same words; a text that is new comes from all that proposed one."""
    same = [each for each in proposed if operation.ids and each.ids == operation.ids]
    same = same or [each for each in proposed if each.text and plain(each.text) == plain(operation.text)]
    same = same or [each for each in proposed if each.kind in (Kind.add, Kind.update)]
    return tuple(dict.fromkeys(problem for each in same for problem in each.problems))
