"""Small questions about the syntax tree of a Python script."""

from __future__ import annotations

import ast


def called(node: ast.AST) -> str:
    """The last part of the name of what is called."""
    target = node.func if isinstance(node, ast.Call) else None
    return (
        target.id
        if isinstance(target, ast.Name)
        else target.attr
        if isinstance(target, ast.Attribute)
        else ""
    )


def none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def uses(node: ast.expr, name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(node))


def guarded(node: ast.stmt) -> bool:
    """Whether importing the file leaves it alone."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return True
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
