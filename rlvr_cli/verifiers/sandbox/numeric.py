"""What EvalPlus's tests use of numpy, for boxes without it. Standard library only: used in the box.

Their `assertion` compares floats by `np.allclose`, after asking whether a value is an array. Values that
cross to a test are builtin (values.py), so none ever is. Whatever else a test wants of numpy ends it
without a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from types import ModuleType
from typing import Any


class ndarray:
    """Nothing is one."""


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """|a - b| <= atol + rtol |b| for each pair of numbers; lists of different shape are not close."""
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        listed = isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b)
        return listed and all(allclose(x, y, rtol, atol, equal_nan) for x, y in zip(a, b, strict=True))
    if equal_nan and a != a and b != b:
        return True
    return bool(a == b or (abs(b) < inf and abs(a - b) <= atol + rtol * abs(b)))


def numpy(missing: Callable[[str], BaseException]) -> ModuleType:
    """The module; any other name raises what `missing` makes of it."""
    made = ModuleType("numpy")
    vars(made).update(ndarray=ndarray, float32=ndarray, float64=ndarray, allclose=allclose)
    vars(made).update(nan=nan, inf=inf)

    def other(name: str) -> Any:
        if name.startswith("__"):  # the import machinery asks for some
            raise AttributeError(name)
        raise missing(f"numpy.{name} is not there")

    vars(made)["__getattr__"] = other
    return made
