"""What classes and their fields mean, from the docstrings behind them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
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
        text = inspect.getsource(sys.modules[cls.__module__])
    except (KeyError, OSError, TypeError):  # made by a program: there is no source to read
        return {}
    return _of_module(text).get(cls.__qualname__, {})


@cache
def _of_module(text: str) -> dict[str, dict[str, str]]:
    """Qualified name of a class -> its fields' docstrings, of a module's source: `inspect` parses all of it
    for each of its classes."""
    found: dict[str, dict[str, str]] = {}

    def look(node: ast.AST, prefix: str) -> None:
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.ClassDef):
                found.setdefault(f"{prefix}{each.name}", _fields(each))
                look(each, f"{prefix}{each.name}.")
            elif isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                look(each, f"{prefix}{each.name}.<locals>.")
            elif not isinstance(each, ast.expr):
                look(each, prefix)

    look(ast.parse(text), "")
    return found


def _fields(node: ast.ClassDef) -> dict[str, str]:
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
