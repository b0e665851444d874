"""What classes and their fields mean, from the docstrings behind them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any


@cache
def meanings(cls: type) -> dict[str, str]:
    """Field -> its docstring on one line, of a dataclass and of those it derives from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base) and isinstance(base, type):
            found |= _own(base)
    return found


def _own(cls: type) -> dict[str, str]:
    try:
        [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):  # made by a program: there is no source to read
        return {}
    assert isinstance(node, ast.ClassDef)
    return {
        field.target.id: one_line(text.value.value)
        for field, text in pairwise(node.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def summary(cls: Any) -> str:
    """First paragraph of a class's or function's docstring on one line; none of what dataclass makes up."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    if text.startswith(f"{cls.__name__}("):
        return ""
    return one_line(text.split("\n\n")[0])


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends one, without it."""
    return re.split(r"(?<=[\w)\]`'\"])\.(?:\s|$)", text, maxsplit=1)[0].rstrip(".:;,")


def one_line(text: str) -> str:
    return " ".join(text.split())
