"""Which item comes next: a function of seed and position, so that resuming repeats and skips nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Generic, TypeVar

from rlvr_cli.core.errors import UserError

T = TypeVar("T")


def order(n: int, seed: int, epoch: int, name: str = "") -> list[int]:
    """A permutation of range(n). Python's Random, because numpy's streams change between versions."""
    indices = list(range(n))
    Random(f"{seed}/{name}/{epoch}").shuffle(indices)
    return indices


class Sampler(Generic[T]):
    """Endless draws from several sources, mixed by weight.

    Each source is a new permutation every epoch: within an epoch nothing comes twice. The next draw
    goes to the source furthest behind its share, so any stretch of draws holds each source's share
    to within one or two items per source.
    """

    def __init__(self, items: Mapping[str, Sequence[T]], weights: Mapping[str, float], seed: int) -> None:
        for name, found in items.items():
            if not found:
                raise UserError(f"data.{name} has nothing to draw from")
        self.items = dict(items)
        self.seed = seed
        self.drawn = dict.fromkeys(items, 0)
        self.share: dict[str, float] = {}
        self._base = dict(self.drawn)
        self._orders: dict[str, tuple[int, list[int]]] = {}
        self.mix(weights)

    def mix(self, weights: Mapping[str, float]) -> None:
        """Draw by these weights from now on. Each source goes on where it was in its order."""
        for name in self.items:
            if weights[name] < 0:
                raise UserError(f"data.{name}.weight is {weights[name]}; it must not be negative")
        total = sum(weights[name] for name in self.items)
        if total <= 0:
            raise UserError("the weights of all data sources are 0; set one above 0")
        share = {name: weights[name] / total for name in self.items}
        if share != self.share:
            # Shares count from here: a new source need not catch up with what others had before it.
            self.share, self._base = share, dict(self.drawn)

    @property
    def position(self) -> int:
        """Items drawn so far: the index of the next one."""
        return sum(self.drawn.values())

    @property
    def epochs(self) -> dict[str, float]:
        """Passes made over each source."""
        return {name: self.drawn[name] / len(found) for name, found in self.items.items()}

    def take(self, n: int) -> list[tuple[int, T]]:
        """The next n items with their running index."""
        start = self.position
        return [(index, self._next(index)) for index in range(start, start + n)]

    def state(self) -> dict[str, Any]:
        return {"drawn": dict(self.drawn), "base": dict(self._base), "identity": self._identity()}

    def load(self, state: Mapping[str, Any], adopt: bool = False) -> None:
        """Continue where `state` was taken, given the same data and mix.

        With `adopt` also given others: a source that has not changed goes on where it was, others begin.
        """
        if adopt and state["identity"] != self._identity():
            seed, sizes = state["identity"]["seed"], state["identity"]["sizes"]
            kept = {name for name, found in self.items.items() if sizes.get(name) == len(found)}
            kept = kept if seed == self.seed else set()
            self.drawn = {name: state["drawn"][name] if name in kept else 0 for name in self.items}
            self._base = dict(self.drawn)
            return
        if state["identity"] != self._identity():
            raise UserError(
                f"the data changed since the checkpoint: it had {state['identity']}, now it is "
                f"{self._identity()}; resume with the same data and seed, or start a new run"
            )
        self.drawn, self._base = dict(state["drawn"]), dict(state["base"])

    def skip(self, later: Mapping[str, Any]) -> None:
        """Pass over what had been drawn when `later` was taken; its mix need not be the present one."""
        same = later["identity"] == self._identity()
        self.drawn = dict(later["drawn"])
        self._base = dict(later["base"]) if same else dict(self.drawn)

    def _identity(self) -> dict[str, Any]:
        """What positions refer to; after a change they would point at other items."""
        sizes = {name: len(found) for name, found in self.items.items()}
        return {"seed": self.seed, "sizes": sizes, "shares": dict(self.share)}

    def _next(self, index: int) -> T:
        place = index + 1 - sum(self._base.values())  # in this mix
        drawn = {name: self.drawn[name] - self._base[name] for name in self.share}
        name = max(self.share, key=lambda name: place * self.share[name] - drawn[name])
        found = self.items[name]
        epoch, row = divmod(self.drawn[name], len(found))
        self.drawn[name] += 1
        if self._orders.get(name, (-1,))[0] != epoch:
            self._orders[name] = (epoch, order(len(found), self.seed, epoch, name))
        return found[self._orders[name][1][row]]
