"""Tests of a programming problem, out of a gold answer. JSON in one of these forms:

    {"inputs": [...], "outputs": [...]}                  standard input and output (TACO, APPS, Eurus, ...)
    {"inputs": [...], "outputs": [...], "fn_name": "f"}  arguments and return value of a function
    [{"input", "output", "testtype"}, ...]               LiveCodeBench; `metadata.func_name` in `extra`
    {"test_list": ["assert ...", ...]}, or the list      MBPP; with `test_setup_code` or `test_imports`
    {"test": ..., "entry_point": ..., "prompt": ...}     HumanEval

LiveCodeBench's private tests may stand as they are published: base64 of zlib of a pickled string.
"""

from __future__ import annotations

import ast
import base64
import json
import pickletools
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

MAX_BYTES = 256 << 20
"""Of unpacked tests."""


class Malformed(ValueError):
    """The gold answer holds no tests; says why."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A run of the whole program."""

    stdin: bytes
    stdout: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of one function, or of a method of class Solution."""

    name: str
    arguments: list[Any]
    values: list[Any]
    """Any of these is right."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A test that is itself a program."""

    source: str


@dataclass(frozen=True, kw_only=True)
class Tests:
    cases: list[Script | Call | Check]
    setup: str = ""
    """Runs before a Check, beside it and out of the tested program's reach."""
    prefix: str = ""
    """Stands before the tested program."""
    prompt: str = ""
    """Stands before it in the place of `prefix` where the program continues it."""
    entry: str | None = field(default=None)
    """The function that a Check is about: `f`, or `Solution().f`."""

    def programs(self) -> list[str]:
        """The tests that are programs themselves, with their setup; none where no test is."""
        checks = [case.source for case in self.cases if isinstance(case, Check)]
        return [self.setup, *checks] if checks else []


OF_TEXT = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
AROUND_TEXT = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}
"""Instructions of a pickled string; it has no other."""


def unpack(text: str) -> str:
    """LiveCodeBench's private tests: JSON out of base64, zlib and a pickled string, without running it."""
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text, validate=True), MAX_BYTES)
        if inflate.unconsumed_tail:
            raise Malformed(f"packed tests are larger than {MAX_BYTES >> 20} MiB")
        found = list(pickletools.genops(data))
    except Malformed:
        raise
    except Exception as error:  # of any kind: the data is whatever a data set holds
        raise Malformed(f"it is neither JSON nor packed tests ({error})") from error
    strings = [argument for code, argument, _ in found if code.name in OF_TEXT]
    other = {code.name for code, _, _ in found} - OF_TEXT - AROUND_TEXT
    if other or len(strings) != 1:
        raise Malformed(f"packed tests hold no text but {', '.join(sorted(other)) or 'several'}")
    return str(strings[0])


def parse(answer: str, extra: dict[str, Any], max_tests: int | None = None) -> Tests:
    """The tests in a gold answer. Malformed where there are none."""
    if answer.lstrip().startswith(("assert", "import", "from", "def")):
        data: Any = [answer]
    else:
        data = _json(answer if answer.lstrip()[:1] in ("{", "[") else unpack(answer.strip()))
    if isinstance(data, list):
        data = _listed(data, extra)
    if not isinstance(data, dict):
        raise Malformed("tests are a JSON object or list")
    if "test_list" in data:
        tests = _asserts(data, extra)
    elif "test" in data:
        tests = _check(data)
    elif "inputs" in data and "outputs" in data:
        tests = Tests(cases=_pairs(data))
    else:
        raise Malformed("it has none of inputs and outputs, test_list, test")
    if not tests.cases:
        raise Malformed("it has no tests")
    return replace(tests, cases=spaced(tests.cases, max_tests))


def spaced(cases: list[Any], most: int | None) -> list[Any]:
    """At most so many of them: the first, the last and some between (later ones are harder)."""
    if most is None or len(cases) <= most:
        return cases
    if most == 1:
        return cases[-1:]
    return [cases[i * (len(cases) - 1) // (most - 1)] for i in range(most)]


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not valid JSON ({error})") from error


def _whole(digits: str) -> int:
    """Python refuses to read more than 4,300 digits as a number; a gold answer is no attack."""
    return int(digits) if len(digits) < 4300 else int(Decimal(digits))


def _listed(data: list[Any], extra: dict[str, Any]) -> dict[str, Any]:
    """A list of asserts, or LiveCodeBench's list, its public tests first."""
    if all(isinstance(item, str) for item in data):
        return {"test_list": data}
    public = extra.get("public_test_cases")
    if isinstance(public, str) and public.lstrip().startswith("["):
        data = [item for item in _json(public) if item not in data] + data
    metadata = extra.get("metadata") or {}
    metadata = _json(metadata) if isinstance(metadata, str) else metadata
    if not isinstance(metadata, dict):
        raise Malformed("metadata is no object")
    try:
        made = {"inputs": [t["input"] for t in data], "outputs": [t["output"] for t in data]}
    except (TypeError, KeyError):
        raise Malformed("a list of tests holds asserts, or objects with input and output") from None
    if name := metadata.get("func_name"):
        made["fn_name"] = name
    return made


def _asserts(data: dict[str, Any], extra: dict[str, Any]) -> Tests:
    setup = data.get("test_setup_code") or extra.get("test_setup_code") or ""
    imports = data.get("test_imports") or extra.get("test_imports") or []
    if not isinstance(setup, str) or not all(isinstance(t, str) for t in [*imports, *data["test_list"]]):
        raise Malformed("test_list, test_imports and test_setup_code hold text")
    setup = "\n".join([*imports, setup])
    return Tests(cases=[Check(source=text) for text in data["test_list"]], setup=setup, prefix=setup + "\n")


def _check(data: dict[str, Any]) -> Tests:
    test, entry, prompt = data["test"], data.get("entry_point"), data.get("prompt") or ""
    if not all(isinstance(text, str) for text in (test, entry, prompt)):
        raise Malformed("test and entry_point (and prompt) must be text")
    source = f"{test}\ncheck({entry})\n"
    whole = closed(prompt)
    return Tests(cases=[Check(source=source)], setup=whole, prefix=whole, prompt=prompt, entry=entry)


def closed(prompt: str) -> str:
    """A prompt as a program of its own: where it ends in the head of a function, with a body for it.

    Nothing where it is no Python, as a question in words.
    """
    last = prompt.rstrip().rpartition("\n")[2]
    indent = " " * (len(last) - len(last.lstrip()) + 4)
    for source in (prompt, f"{prompt.rstrip()}\n{indent}pass\n"):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            ast.parse(source)
            return source
    return ""


def _pairs(data: dict[str, Any]) -> list[Script | Call | Check]:
    inputs, outputs, name = data["inputs"], data["outputs"], data.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise Malformed("inputs and outputs must be lists of one length")
    if name:
        return [_call(str(name), i, o) for i, o in zip(inputs, outputs, strict=True)]
    return [
        Script(stdin=_text(i).encode(errors="replace"), stdout=_text(o))
        for i, o in zip(inputs, outputs, strict=True)
    ]


def _text(value: Any) -> str:
    """Standard input or output; some sets hold it as a list of lines."""
    if isinstance(value, list):
        return "\n".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _call(name: str, given: Any, expected: Any) -> Call:
    """Arguments as a list, or as lines of JSON (LiveCodeBench). APPS wraps the value in a list, or not."""
    lines = isinstance(given, str)
    arguments = [_json(line) for line in given.strip().split("\n")] if lines else given
    if not isinstance(arguments, list):
        raise Malformed("the input of a function is a list of arguments, or a line of JSON for each")
    values = [expected]
    if not lines:
        arguments = [_numbered(argument) for argument in arguments]
    if isinstance(expected, str):
        with suppress(Malformed):
            values.append(_json(expected))
        if lines:  # it is JSON there, and nothing else
            values = values[-1:]
    elif not lines and isinstance(expected, list) and len(expected) == 1:
        values.append(expected[0])
    return Call(name=name, arguments=arguments, values=values)


def _numbered(argument: Any) -> Any:
    """JSON makes text of a dict's keys; where all are whole numbers they become so again (APPS, verl)."""
    if isinstance(argument, dict) and all(key.removeprefix("-").isdecimal() for key in argument):
        return {int(key): value for key, value in argument.items()}
    return argument
