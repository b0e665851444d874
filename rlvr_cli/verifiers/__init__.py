"""A verifier is one file `verifiers/<name>.py`: what it checks, its hyperparameters, its code.

The file holds a keyword-only dataclass, which is also the YAML schema of `conf/verifier/<name>.yaml`:

    @dataclass(kw_only=True)
    class Match:
        name: str = "match"     # the file's name
        weight: float = 1.0     # share in the reward of a problem with several verifiers

        def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict: ...

`verify` is pure: the same arguments give the same verdict in any process and thread, and no model
text makes it raise. It runs in a worker of `pool.py`, where it may be slow, eat memory or hang.
A verifier may also have

    inline(response, answer, extra) -> Verdict | None   cheap verdict in the parent; None: ask a worker
    key(response, answer, extra) -> Hashable | None     what the verdict depends on, for the cache
    warm() -> None                                      imports worth doing before the first verdict
    check_gold(answer, extra) -> str | None             why a gold answer cannot be used

Verifiers import no torch.
"""

from __future__ import annotations

import pkgutil
from dataclasses import is_dataclass
from difflib import get_close_matches
from importlib import import_module

from rlvr_cli.errors import UserError


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


def names() -> list[str]:
    """Names of all verifiers, sorted."""
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(name for name in modules if _verifier(name) is not None)


def find(name: str) -> type:
    """The verifier class called `name`."""
    known = names()
    if name in known:
        found = _verifier(name)
        assert found is not None
        return found
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(f"there is no verifier '{name}': {hint}available: {', '.join(known)}")
