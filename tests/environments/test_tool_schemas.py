"""Schemas of functions: transformers' form, and one line for what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest

from rlvr_cli.environments.tool_use.arguments import complaint
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.environments.tool_use.functions import load_functions
from rlvr_cli.environments.tool_use.signature import schema_of
from rlvr_cli.verifiers.user_code.load import Unusable


def basic(a: str, b: int, c: float, d: bool) -> str:
    """Take the basic types.

    Args:
        a: A text.
        b: A number.
        c: Another one.
        d: A truth value.

    Returns:
        Something.
    """
    return a


def defaults(a: int = 3, *, b: str = "x") -> None:
    """Have defaults.

    Two paragraphs of it.

    Args:
        a: One that goes on
            in a second line.

        b: After an empty line.
    """


def lists(
    rows: list[int], bare: list, deep: list[list[str]], table: dict[str, float], any_: dict
) -> list[str]:
    """Take containers.

    Args:
        rows: Numbers.
        bare: Anything.
        deep: Texts.
        table: By name.
        any_: By anything.
    """
    return []


def optional(a: Optional[int], b: str | None = None, c: Optional[list[str]] = None) -> int | None:  # noqa: UP045
    """Take nothing, too.

    Args:
        a: Perhaps.
        b: Perhaps.
        c: Perhaps.
    """
    return a


def unions(a: Union[int, str], b: int | float | None, c: list[int] | str) -> Union[int, str]:  # noqa: UP007
    """Take several types.

    Args:
        a: Either.
        b: Either, or nothing.
        c: Lists, too.
    """
    return a


def literals(a: Literal["x", "y"], b: Literal[1, 2] = 1, c: Literal["x", 1, None] = None) -> bool:
    """Take what is listed.

    Args:
        a: A text.
        b: A number.
        c: Anything.
    """
    return True


def choices(drink: str, size: int = 1) -> str:
    """Choose.

    Args:
        drink: What to drink (choices: ["tea", " coffee"])
        size: How much (choices: [1, 2, 3])
    """
    return drink


def anything(a: Any, b: tuple, c: tuple[int, str], d: Path) -> Any:
    """Take anything.

    Args:
        a: Anything.
        b: A tuple.
        c: A pair.
        d: A class.
    """
    return a


def nothing() -> str:
    """Take nothing."""
    return ""


def raises_too(a: int) -> int:
    """Raise.

    Args:
        a: A number.

    Returns:
        The number, which
        takes two lines.

    Raises:
        ValueError: always.
    """
    return a


async def waits(seconds: float) -> str:
    """Wait.

    Args:
        seconds: How long.
    """
    return ""


class Holder:
    def method(self, a: int) -> int:
        """Be bound.

        Args:
            a: A number.
        """
        return a


FUNCTIONS = [
    basic,
    defaults,
    lists,
    optional,
    unions,
    literals,
    choices,
    anything,
    nothing,
    raises_too,
    waits,
]
FUNCTIONS += [Holder().method, Holder.method]


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_as_transformers_has_it(function: Callable[..., Any]) -> None:
    from transformers.utils import get_json_schema

    assert schema_of(function) == get_json_schema(function)


def hintless(a) -> None:  # type: ignore[no-untyped-def]
    """Have no hint.

    Args:
        a: Something.
    """


def undescribed(a: int) -> None:
    """Describe nothing."""


def silent(a: int) -> None: ...


def bad_choices(a: str) -> None:
    """Choose.

    Args:
        a: One (choices: tea, coffee)
    """


def starred(*rows: int) -> None:
    """Take many.

    Args:
        rows: Numbers.
    """


def lonely(a: tuple[int]) -> None:
    """Take a tuple of one.

    Args:
        a: It.
    """


REFUSED = [
    (hintless, "argument 'a' has no type hint"),
    (undescribed, "argument 'a' has no line under 'Args:'"),
    (silent, "has no docstring, which tells the policy what it does"),
    (bad_choices, "argument 'a': choices is no JSON list: tea, coffee"),
    (starred, "'rows' has no name of its own, as every argument must"),
    (lonely, r"argument 'a': a tuple has two elements or more; use list\[...\]"),
]


@pytest.mark.parametrize(("function", "said"), REFUSED)
def test_what_is_missing_is_told_with_file_and_line(function: Callable[..., Any], said: str) -> None:
    line = function.__code__.co_firstlineno
    with pytest.raises(Unusable, match=rf"^test_tool_schemas.py line {line}, {function.__name__}:? {said}"):
        schema_of(function)


def test_a_line_that_looks_like_an_argument_is_none() -> None:
    def noted(a: int) -> None:
        """Note.

        Args:
            a (int): A number.
                note: this is no argument.
        """

    described = schema_of(noted)["function"]["parameters"]["properties"]["a"]["description"]
    assert described == "A number. note: this is no argument."


FITS = [
    (basic, {"a": "x", "b": 1, "c": 2, "d": True}, None),
    (basic, {"a": "x", "b": 1, "c": 2}, "'d' is a required property"),
    (basic, {"a": 1, "b": 1, "c": 2, "d": True}, "a: 1 is not of type 'string'"),
    (basic, {"a": "x", "b": True, "c": 2, "d": True}, "b: True is not of type 'integer'"),
    (nothing, {"x": 1}, "Additional properties are not allowed ('x' was unexpected)"),
    (optional, {"a": None}, None),
    (optional, {"a": 1, "c": ["x", 2]}, "c: ['x', 2] is not valid under any of the given schemas"),
    (literals, {"a": "z"}, "a: 'z' is not one of ['x', 'y']"),
    (choices, {"drink": "wine"}, "drink: 'wine' is not one of ['tea', 'coffee']"),
    (lists, {"rows": [1, "2"], "bare": [], "deep": [], "table": {}, "any_": {}},
     "rows: 1: '2' is not of type 'integer'"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "said"), FITS)
def test_arguments_are_checked(
    function: Callable[..., Any], arguments: dict[str, Any], said: str | None
) -> None:
    assert complaint(schema_of(function)["function"]["parameters"], arguments) == said


ENTRIES = [
    ("tools.py", Entry(path="tools.py")),
    ("a/b.py:search", Entry(path="a/b.py", function="search")),
    ("/x/b.py:Class.method", Entry(path="/x/b.py", function="Class.method")),
    ("my.module:search", Entry(module="my.module", function="search")),
]


@pytest.mark.parametrize(("text", "entry"), ENTRIES)
def test_names_of_functions(text: str, entry: Entry) -> None:
    assert Entry.parse(text) == entry
    assert entry.text == text


@pytest.mark.parametrize("text", ["", ":f", "tools.py:", "tools.py:a b", "my.module", "a/b:f", "1:f"])
def test_what_names_no_function(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|names no function|is a module; say which"):
        Entry.parse(text)


def loaded(folder: Path, text: str, entry: str = "mine.py") -> list[str]:
    (folder / "mine.py").write_text(text)
    found = load_functions([f"{folder}/{entry}"], 1.0)
    return [str(each.schema["function"]["name"]) for each in found]


ADD = 'def {name}(a: int) -> int:\n    """Add.\n\n    Args:\n        a: A number.\n    """\n    return a\n'


def test_public_functions_of_a_file(tmp_path: Path) -> None:
    text = "from os.path import join\n" + "".join(ADD.format(name=n) for n in ("one", "_two", "three"))
    assert loaded(tmp_path, text) == ["one", "three"]
    assert loaded(tmp_path, text, "mine.py:_two") == ["_two"]


BROKEN = [
    (
        "import nowhere_at_all\n",
        "mine.py",
        "mine.py line 1: ModuleNotFoundError: No module named 'nowhere_at_all'",
    ),
    ("x = 1\n\n1/0\n", "mine.py", "mine.py line 3: ZeroDivisionError: division by zero"),
    ("def f(:\n", "mine.py", "mine.py line 1: SyntaxError: invalid syntax"),
    ("import sys\nsys.exit(3)\n", "mine.py", "mine.py line 2: SystemExit: 3"),
    ("x = 1\n", "mine.py", "mine.py has no public function"),
    (ADD.format(name="one"), "mine.py:two", "mine.py two: there is no 'two'; it has: one"),
    ("x = 1\n", "mine.py:x", "mine.py x: 'x' is no function"),
    ("def f(a):\n    'Add.'\n", "mine.py", "mine.py line 1, f: argument 'a' has no type hint"),
]


@pytest.mark.parametrize(("text", "entry", "said"), BROKEN)
def test_a_file_that_cannot_be_used_says_so_in_a_line(
    tmp_path: Path, text: str, entry: str, said: str
) -> None:
    with pytest.raises(Unusable) as error:
        loaded(tmp_path, text, entry)
    assert str(error.value) == said
