"""A user's function in the process that calls it."""

from __future__ import annotations

import asyncio
import inspect
import reprlib
import sys
import traceback
from dataclasses import replace
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.user_code import results
from rlvr_cli.verifiers.user_code.arguments import Call, call_of
from rlvr_cli.verifiers.user_code.case import Case, as_numpy, with_prefill
from rlvr_cli.verifiers.user_code.conventions import SPECS, Convention
from rlvr_cli.verifiers.user_code.load import Unusable, instance_of, last_line, load
from rlvr_cli.verifiers.user_code.recognise import is_async, recognise, signature_of

MOST_TRACEBACKS = 5
"""Different errors whose traceback a worker writes down."""


class UserFunction:
    """`settings`: the `Python` verifier. Unusable where it cannot be called."""

    def __init__(self, settings: Any, text: bytes) -> None:
        name, kwargs = settings.function, dict(settings.kwargs)
        module, found = load(settings.path, text, settings.module, name, settings.folders)
        if isinstance(found, type):
            found, kwargs = instance_of(found, kwargs), {}
            if not callable(found):
                raise Unusable(f"{name} is a class without __call__")
        convention, self.seen = settings.convention, "convention"
        if convention is Convention.auto:
            convention, self.seen = recognise(found, name, module, settings.path is not None)
        self.convention, self.spec = convention, SPECS[convention]
        self.function, self.kwargs, self.name = found, kwargs, name
        self.asynchronous = is_async(found)
        self.signature = signature_of(found)
        self._settings = settings
        self._seen_errors: set[str] = set()
        self._check()

    def _check(self) -> None:
        if unknown := [
            key for key in self.kwargs if key not in self.signature.names and not self.signature.open
        ]:
            raise Unusable(f"{self.name} has no parameter '{unknown[0]}' (kwargs.{unknown[0]})")
        try:
            call = self._call(Case(responses=[""], answer="-", gold="-"))
        except Exception as error:
            raise Unusable(
                f"{self.name}: no arguments of {self.convention.value}: {last_line(error)}"
            ) from error
        missing = self._missing(call)
        if missing and not self.spec.columns:
            raise Unusable(
                f"{self.name} asks for '{missing[0]}', which {self.convention.value} does not give; set "
                f"kwargs.{missing[0]}, or another convention"
            )
        surplus = len(call.args) - self.signature.positional
        if surplus > 0 and not _takes_any(self.function):
            raise Unusable(
                f"{self.name} takes {self.signature.positional} arguments, and {self.convention.value} gives "
                f"{len(call.args)}"
            )

    def _missing(self, call: Call) -> list[str]:
        """Parameters without a default that a call leaves open."""
        by_name = [
            name for name in self.signature.required if name not in self.signature.names[: len(call.args)]
        ]
        return [name for name in by_name if name not in call.names]

    def missing_columns(self, case: Case) -> list[str]:
        """Parameters for which the row has no column."""
        return self._missing(self._call(case))

    def _call(self, case: Case) -> Call:
        """A call as it is made: `kwargs` come first, and nothing is handed over that it has no name for."""
        settings = self._settings
        case = replace(case)
        if settings.prefill:
            case = with_prefill(case)
        if settings.arrays.value == "numpy":
            case = replace(case, gold=as_numpy(case.gold), row=as_numpy(case.row))
        call = call_of(self.convention, case, settings.key)
        if not self.signature.open:
            call.names = {name: value for name, value in call.names.items() if name in self.signature.names}
        if self.convention in POSITIONS_CUT and not _takes_any(self.function):
            call.args = call.args[: self.signature.positional]
        call.names |= self.kwargs
        return call

    def render(self, case: Case) -> str:
        """The call as one could write it, long values shortened."""
        call, short = self._call(case), reprlib.Repr()
        short.maxstring, short.maxother = 60, 240
        short.maxdict, short.maxlist, short.maxlevel = 6, 2, 3
        named = (
            f"{name}={'<function>' if callable(value) else short.repr(value)}"
            for name, value in call.names.items()
        )
        return f"{self.name}({', '.join([*map(short.repr, call.args), *named])})"

    def one(self, case: Case) -> Verdict:
        """The verdict on the first response of a case."""
        try:
            _, result = self._called(case)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            return self._failed(error)
        return self._read(result)

    def _called(self, case: Case) -> tuple[Call, Any]:
        """A call, and what it returns in the end."""
        call = self._call(case)
        result = self.function(*call.args, **call.names)
        return call, asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    def many(self, cases: list[Case], timeout_s: float) -> list[Verdict]:
        """The verdicts on the first response of each, of calls that go on at the same time."""

        async def each(case: Case) -> Verdict:
            try:
                call = self._call(case)
                return self._read(await asyncio.wait_for(self.function(*call.args, **call.names), timeout_s))
            except TimeoutError:
                return Verdict(score=0.0, reason=Reason.timeout, detail=f"no answer within {timeout_s:g} s")
            except MemoryError:
                raise
            except (Exception, SystemExit) as error:
                return self._failed(error)

        async def all_of_them() -> list[Verdict]:
            return list(await asyncio.gather(*map(each, cases)))

        return asyncio.run(all_of_them())

    def group(self, case: Case) -> list[Verdict]:
        """The verdicts on all responses of a case, by one call."""
        count = len(case.responses)
        try:
            call, result = self._called(case)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            return [self._failed(error) for _ in range(count)]
        settings = self._settings
        found = results.verdicts_of(
            result, count, self.convention, self.spec, settings.correct_at, settings.key
        )
        return [_with_logged(verdict, number, call) for number, verdict in enumerate(found)]

    def _read(self, result: Any) -> Verdict:
        settings = self._settings
        try:
            return results.verdict_of(result, self.convention, self.spec, settings.correct_at, settings.key)
        except results.NoNumber as error:
            return results.crash(str(error))

    def _failed(self, error: BaseException) -> Verdict:
        """A crash; the traceback of each error once, in the log."""
        line = last_line(error)
        if line not in self._seen_errors and len(self._seen_errors) < MOST_TRACEBACKS:
            self._seen_errors.add(line)
            own = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
            text = f"{self.name}: an exception, and no verdict:\n" + "".join(traceback.format_exception(own))
            print(text, end="", file=sys.stderr, flush=True)
        return results.crash(line)


POSITIONS_CUT = (Convention.rlvr, Convention.rlvr_group, Convention.verl_prime, Convention.openrlhf)
"""Conventions whose last arguments may be left out by a function that has no use for them."""


def _takes_any(function: Any) -> bool:
    """It has *args."""
    parameters = inspect.signature(function).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)


async def _awaited(result: Any) -> Any:
    return await result


def _with_logged(verdict: Verdict, number: int, call: Call) -> Verdict:
    """What TRL's callbacks were told, beside the verdict."""
    if not verdict.scored:
        return verdict
    more: dict[str, float | str] = dict(verdict.more)
    more |= {name: sum(values) / len(values) for name, values in call.logged.items() if values}
    more |= {
        name: str(values[number])[: results.MOST_CHARS]
        for name, values in call.columns.items()
        if number < len(values)
    }
    return replace(verdict, more=more)
