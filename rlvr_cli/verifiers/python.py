"""A reward function of the user's, from a file or module, called as the framework it is written for calls it.

The trainer imports nothing of it: a process of its own finds out how it is called (inspect_code.py), and
workers of its own call it. What an exception, a hang or the death of a worker costs is that call's verdict.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import origins
from rlvr_cli.core.types import Group, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.several_golds import Golds, Reads
from rlvr_cli.verifiers.user_code import inspect_code
from rlvr_cli.verifiers.user_code.case import KEY, Case, Surroundings, case_of, single
from rlvr_cli.verifiers.user_code.conventions import Convention
from rlvr_cli.verifiers.user_code.function import UserFunction
from rlvr_cli.verifiers.user_code.printed import keep_prints

NEVER = 1 << 60
"""Verdicts after which a worker is replaced: what the user's code has loaded stays."""
AT_ONCE = 32
"""Calls of an async function, where `concurrency` is null."""
MARGIN_S = 5.0
"""Before a worker with calls that have each a limit of their own is killed."""


T = TypeVar("T")


class Arrays(Enum):
    lists = "lists"
    numpy = "numpy"
    """Of `ground_truth` and the columns, lists as arrays and numbers as numpy's."""


@dataclass(kw_only=True)
class Python:
    reads = Reads.no_gold
    name: str = "python"
    weight: float = 1.0
    gate: bool = False
    """Its value multiplies the others' sum and adds nothing; it must lie in [0, 1]."""
    path: str | None = None
    """File with the function: beside the recipe, or in the working directory."""
    module: str | None = None
    """Or the module that holds it, by its dotted name: installed, or in the working directory."""
    function: str = "compute_score"
    """What it is called there; a class is made with `kwargs` and its objects are called."""
    convention: Convention = Convention.auto
    """How it is called; auto: known by the names of its parameters."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments; they come before those of the same name that the convention has."""
    key: str | None = None
    """What the reward is called in a dict that is returned; null: as the convention has it."""
    correct_at: float = 0.5
    """Value from which a response counts as correct; of what is returned beside it for that (`acc`), where
    there is such a thing."""
    arrays: Arrays = Arrays.lists
    """numpy: for functions that expect what pandas reads from parquet files."""
    prefill: bool = False
    """A `<think>` that the prompt ends in is put in front of the response."""
    concurrency: int | None = None
    """Calls at once; null: verification.workers, and of an async function 32."""
    timeout_s: float | None = None
    """Seconds of a call by the clock; null: verification.timeout_s."""
    code_paths: ClassVar[tuple[str, ...]] = ("path",)
    waits: ClassVar[bool] = True
    survives: ClassVar[bool] = True
    own_alarms: ClassVar[bool] = True
    wants_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.path is None) == (self.module is None):
            raise ValueError("path is the file with the function, module its module: set one of the two")
        if not all(part.isidentifier() for part in self.function.split(".")):
            raise ValueError(f"function is '{self.function}'; it must be a name, as in the file")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; it must be at least 1")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"timeout_s is {self.timeout_s}; it must be above 0")
        self.found: inspect_code.Found | None = None
        self.prints: str | None = None
        """File for what the function prints; None: it is lost."""
        self.folders: list[str] = []
        """Where what the file imports is found."""
        self._limit_s = 0.0

    @property
    def shown(self) -> str:
        """`my_reward.py compute_score`"""
        return f"{Path(self.path).name if self.path is not None else self.module} {self.function}"

    @property
    def together(self) -> bool:
        """One call judges all responses to a problem; known once somebody has looked."""
        return self._looked().spec.together

    @property
    def batch(self) -> int:
        """Items a worker takes at a time."""
        found = self._looked()
        return self._at_once(AT_ONCE) if _calls_overlap(found) else 1

    def limits(self, config: Verification) -> Verification:
        self._limit_s = config.timeout_s if self.timeout_s is None else self.timeout_s
        self.folders = _folders(self.path)
        if self.found is None:
            self.found = inspect_code.look(self, config.start_s)
        overlap = _calls_overlap(self.found)
        return replace(
            config,
            workers=1 if overlap else self._at_once(config.workers),
            timeout_s=self._limit_s + (MARGIN_S if overlap else 0.0),
            recycle_after=NEVER,
        )

    def describe(self, case: Case | None, seconds: float) -> list[str]:
        """How the function is called, and the first call, for the user. UserError where the row lacks a
        column that it asks for."""
        found = self._looked()
        how = "all responses to a problem at once" if found.spec.together else "one response at a time"
        how += ", async" if found.asynchronous else ""
        known = f"known by {found.seen}" if self.convention is Convention.auto else "as the recipe says"
        place = f"{self.path or self.module}" + (f":{found.line}" if found.line else "")
        lines = [f"{self.function} ({place}) is called as {found.convention.value} ({known}), {how}"]
        if case is not None:
            call, missing = inspect_code.first_call(self, found.text, case, seconds)
            if missing:
                raise UserError(
                    f"python: {self.shown} asks for '{missing[0]}', and the rows have no such column; they "
                    f"have {', '.join(case.row)}; give it a default, or set kwargs.{missing[0]}"
                )
            lines.append(f"first call: {call}")
        return lines

    def items(
        self,
        responses: list[str],
        answer: Golds,
        extra: dict[str, Any],
        group: Group | None,
        around: Surroundings,
    ) -> list[tuple[str | list[str], str, dict[str, Any]]]:
        """What a worker is asked: one item for all responses, or one for each."""
        case = self.case(responses, answer, extra, group, around)
        if self.together:
            return [(responses, case.answer, {KEY: case})]
        return [
            (response, case.answer, {KEY: single(case, number)}) for number, response in enumerate(responses)
        ]

    def case(
        self,
        responses: list[str],
        answer: Golds,
        extra: dict[str, Any],
        group: Group | None,
        around: Surroundings,
    ) -> Case:
        gold = answer if isinstance(answer, str) else next(iter(answer), "")
        return case_of(responses, gold, extra, group, around, self._looked().spec)

    # What follows runs in a worker.

    def warm(self) -> None:
        keep_prints(self.prints)
        self._function = UserFunction(self, self._looked().text)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        if self._function.asynchronous:
            return self.verify_batch([(response, answer, extra)])[0]
        return _without_alarms(lambda: self._function.one(extra[KEY]))

    def verify_batch(self, items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
        cases = [extra[KEY] for _, _, extra in items]
        return _without_alarms(lambda: self._function.many(cases, self._limit_s))

    def verify_together(self, responses: list[str], answer: str, extra: dict[str, Any]) -> list[Verdict]:
        return _without_alarms(lambda: self._function.group(extra[KEY]))

    def _at_once(self, otherwise: int) -> int:
        return otherwise if self.concurrency is None else self.concurrency

    def _looked(self) -> inspect_code.Found:
        assert self.found is not None, "limits() looks at the function first"
        return self.found


def _folders(path: str | None) -> list[str]:
    """The file's own, and of a copy that a run has made (core/recorded_code.py) that of the original; of a
    module the working directory."""
    if path is None:
        return [str(Path.cwd())]
    return [str(each.parent) for each in origins(Path(path))]


def _calls_overlap(found: inspect_code.Found) -> bool:
    """In one worker; each then has a limit of its own."""
    return found.asynchronous and not found.spec.together


def _without_alarms(call: Callable[[], T]) -> T:
    """What `call` returns. An alarm that it has set and left behind does not ring in the next one."""
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
