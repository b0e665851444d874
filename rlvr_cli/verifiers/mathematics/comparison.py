"""How values are compared: the rule of each pair, and of each pair of items within, is looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.verifiers.mathematics.rules import Later, Rules, Unknown
from rlvr_cli.verifiers.mathematics.values import Value

MAX_ITEMS = 60
"""Longer lists are compared in the order given only."""


@dataclass(frozen=True, slots=True)
class Comparison:
    rules: Rules
    table: Mapping[tuple[type, type], Rule]
    deep: bool
    """Whether it may take longer than comparing fractions and text; else Later."""

    def equal(self, said: Value, meant: Value) -> bool:
        """Later, Unknown, and Rejected for what is too large to compute."""
        rule = self.table.get((type(said), type(meant)))
        return rule is not None and rule(self, said, meant)

    def each(self, said: Sequence[Value], meant: Sequence[Value]) -> bool:
        """Item by item. One pair that differs decides, whatever else is not known."""
        if len(said) != len(meant):
            return False
        undecided: Exception | None = None
        for one, other in zip(said, meant, strict=True):
            try:
                if not self.equal(one, other):
                    return False
            except (Later, Unknown) as error:
                undecided = error
        if undecided is not None:
            raise undecided
        return True

    def any_order(self, said: Sequence[Value], meant: Sequence[Value]) -> bool:
        if len(said) != len(meant):
            return False
        if said == meant:
            return True
        if len(said) > MAX_ITEMS:
            return self.each(said, meant)
        left = list(meant)
        undecided: Exception | None = None
        for one in said:
            try:
                same = next((other for other in left if self.equal(one, other)), None)
            except (Later, Unknown) as error:
                undecided = error
                continue
            if same is None:
                return False
            left.remove(same)
        if undecided is not None:
            raise undecided
        return True


Rule = Callable[[Comparison, Any, Any], bool]
