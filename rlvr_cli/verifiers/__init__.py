"""A verifier is one file `verifiers/<name>.py`: what it checks, its hyperparameters, its code.

The file holds a keyword-only dataclass, which is also the YAML schema of `conf/verifier/<name>.yaml`; in a
plugin (core/plugins.py) any file may have several:

    @dataclass(kw_only=True)
    class Match:
        name: str = "match"     # the file's name
        weight: float = 1.0     # share in the reward of a problem with several verifiers
        gate: bool = False      # multiplies their sum and adds nothing

        def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict: ...

`verify` is pure: the same arguments give the same verdict in any process and thread, and no model
text makes it raise. It runs in a worker of `pool.py`, where it may be slow, eat memory or hang.
A verifier may also have

    inline(response, answer, extra) -> Verdict | None   cheap verdict in the parent; None: ask a worker
    key(response, answer, extra) -> Hashable | None     what the verdict depends on, for the cache
    ready() -> None                                     UserError where this machine cannot run it; asked
                                                        once, before any worker starts
    warm() -> None                                      imports worth doing before the first verdict
    verify_group(responses, answer, extra) -> list[Verdict]   in the parent, all samples of a problem at once
    needs_s -> float                                    seconds its own deadlines take; verification.timeout_s
                                                        must be as long, or the pool's alarm comes first
    check_gold(answer, extra) -> str | None             why a gold answer cannot be used: such golds are left
                                                        out before anything is judged by them
    gold_note(answer) -> str | None                     what of a gold answer it does not compare
    reads: Reads                                        what it does with golds (several_golds.py); no_gold:
                                                        rows need no `answer`, and "" stands for it
    limits(config) -> Verification                      pool settings of its own: it gets workers to itself;
                                                        UserError where something it needs is missing
    waits: bool                                         with `limits`: its time is that of a server or a model
                                                        and no response's doing, so what is late or fails is
                                                        no verdict; else it is `refused` (worker.py)
    wait_s: float                                       with `waits`: how long the pool waits for a server
                                                        after `verify` has raised `answer.Unreachable`
    batch: int, verify_batch(items) -> list[Verdict]    with `limits`: several (response, answer, extra) at
                                                        a time, as many as wait, at most `batch`
    gold_responses(answer, extra) -> list[str]          responses that must score 1, for self-tests
    mutate(answer, extra) -> list[str]                  responses that must score 0: the gold answer
                                                        changed in value, never in spelling only

The last two come together (`rlvr verify --self-test`, `verification.self_test_floor`); they are asked
only about gold answers that `check_gold` accepts. Both may give a dict[str, list[str]] instead: class of
spelling or of mistake -> responses, told apart in the report. A verifier without `gate` never is one.

    wants_rows: bool                                    with `limits`: it is asked about whole groups and the
                                                        columns of rows as they are, by `items(...)`, and
                                                        says how it does so, by `describe(...)` (python.py)
    wants_progress: bool                                `extra` has the run's progress (core/progress.py): the
                                                        step its responses are for and how many there are;
                                                        nothing where they do not train, as in evaluations
    whole_groups: bool                                  with `limits`: `verify_together(responses, answer,
                                                        extra)` in a worker, all samples of a problem at once
                                                        (pairwise.py)
    survives: bool                                      with `limits`: a call without a verdict does not harm
                                                        the next, its worker is kept, and the death of one
                                                        is never a fault of the response (`crash`)
    own_alarms: bool                                    with `limits`: what it calls may use SIGALRM, so no
                                                        clock of the worker's runs, and the pool kills it
                                                        when it is late

    by_nature: str                                      what it pays for besides a right answer, for
                                                        `rlvr verify --hacks`; one without is to pay nothing
                                                        else

    of_sample(completion) -> Verdict                    in the parent, in the place of `verify`: what became
                                                        of an episode and not its text (environment.py)

    of_group(group, seed) -> list[Verdict]              in the parent, in the place of `verify_group` where
                                                        there is a run, whose seed this is: what depends on
                                                        the group's place in it and on no text (random.py)

    code_paths: ClassVar[tuple[str, ...]]               fields that hold a path of the user's code: looked for
                                                        beside the recipe, recorded with a run, never changed
                                                        within it

`answer` is one gold: of several the pool asks for a verdict by each, and any counts.
`extra` holds the other columns of the row, and under `prompt` the problem as the data set has it.
Verifiers import no torch; one with `limits` may, inside functions that only its worker calls.
"""

from __future__ import annotations

import pkgutil
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError


def _verifier(module_name: str) -> type | None:
    """The verifier class of a module of this package; None for helpers such as pool and extract."""
    module = import_module(f"{__name__}.{module_name}")
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and is_dataclass(value)
            and value.__module__ == module.__name__
            and getattr(value, "name", None) == module_name
            and hasattr(value, "verify")
        ):
            return value
    return None


def name_in_plugin(value: Any) -> str | None:
    """Of a dataclass with `verify`, the default of its `name`; None: it is no verifier.

    UserError for one that lacks what the reward of a problem is added up by.
    """
    if not isinstance(value, type) or not is_dataclass(value) or not hasattr(value, "verify"):
        return None
    defaults = {field.name: field.default for field in fields(value)}
    name = defaults.get("name")
    if not isinstance(name, str):
        return None
    if defaults.get("weight", MISSING) is MISSING:
        raise UserError(f"plugins: the verifier '{name}' has no weight; give it `weight: float = 1.0`")
    return name


def known() -> dict[str, type]:
    """Name -> class of all verifiers, of this package and of plugins, sorted by name."""
    return dict(sorted(plugins.collect("verifier", _own(), name_in_plugin).items()))


@cache
def _own() -> dict[str, type]:
    """Those of this package, looked through once."""
    own = {module.name: _verifier(module.name) for module in pkgutil.iter_modules(__path__)}
    return {name: value for name, value in own.items() if value is not None}


def names() -> list[str]:
    """Names of all verifiers, sorted."""
    return list(known())


def find(name: str) -> type:
    """The verifier class called `name`."""
    classes = known()
    if name in classes:
        return classes[name]
    near = get_close_matches(name, classes, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(f"there is no verifier '{name}': {hint}available: {', '.join(classes)}")
