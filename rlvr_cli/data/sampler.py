"""Which item comes next: a function of seed and position, so that resuming repeats and skips nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Generic, TypeVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.difficulty import Pace

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
    to within one or two items per source. Where a source has a pace, that decides at each turn of an
    item whether it is taken in this epoch.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[T]],
        weights: Mapping[str, float],
        seed: int,
        paces: Mapping[str, Pace] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """`labels`: source -> identity of what its items are judged by, where that is not their own."""
        for name, found in items.items():
            if not found:
                raise UserError(f"data.{name} has nothing to draw from")
        self.items = dict(items)
        self.seed = seed
        self.paces = dict(paces or {})
        self.labels = dict(labels or {})
        self.drawn = dict.fromkeys(items, 0)
        self.turns = dict.fromkeys(items, 0)
        """Turns that items of each source have had, taken or not; without a pace the items drawn."""
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
        return {name: self.turns[name] / len(found) for name, found in self.items.items()}

    def take(self, n: int) -> list[tuple[int, T]]:
        """The next n items with their running index."""
        start = self.position
        return [(index, self._next(index)) for index in range(start, start + n)]

    def state(self) -> dict[str, Any]:
        found = {"drawn": dict(self.drawn), "base": dict(self._base), "identity": self._identity()}
        if self.paces:
            found["turns"] = dict(self.turns)
            found["paces"] = {name: pace.state() for name, pace in self.paces.items()}
        return found

    def load(self, state: Mapping[str, Any], adopt: bool = False) -> None:
        """Continue where `state` was taken, given the same data and mix.

        With `adopt` also given others: a source that has not changed goes on where it was, others begin.
        """
        if adopt and state["identity"] != self._identity():
            kept = self._unchanged(state["identity"])
            self.drawn = {name: state["drawn"][name] if name in kept else 0 for name in self.items}
            self._base = dict(self.drawn)
            self._load_paces(state, kept)
            return
        if state["identity"] != self._identity():
            raise UserError(
                f"the data changed since the checkpoint: it had {state['identity']}, now it is "
                f"{self._identity()}; resume with the same data and seed, or start a new run"
            )
        self.drawn, self._base = dict(state["drawn"]), dict(state["base"])
        self._load_paces(state, set(self.items))

    def skip(self, later: Mapping[str, Any]) -> None:
        """Pass over what had been drawn when `later` was taken; its mix need not be the present one."""
        same = later["identity"] == self._identity()
        self.drawn = dict(later["drawn"])
        self._base = dict(later["base"]) if same else dict(self.drawn)
        self._load_paces(later, set(self.items))

    def _unchanged(self, before: Mapping[str, Any]) -> set[str]:
        """Sources whose items and pace are those of an earlier identity."""
        now = self._identity()
        if before["seed"] != self.seed:
            return set()

        def same(kind: str, name: str) -> bool:
            return bool(before.get(kind, {}).get(name) == now.get(kind, {}).get(name))

        return {
            name for name in self.items if all(same(kind, name) for kind in ("sizes", "difficulty", "labels"))
        }

    def _load_paces(self, state: Mapping[str, Any], kept: set[str]) -> None:
        """The turns, and what the run has learned of the problems, of the sources in `kept`; others begin."""
        turns = state.get("turns", state["drawn"])
        self.turns = {name: turns[name] if name in kept else 0 for name in self.items}
        for name, pace in self.paces.items():
            pace.load(state["paces"][name] if name in kept else {})

    def _identity(self) -> dict[str, Any]:
        """What positions refer to; after a change they would point at other items."""
        sizes = {name: len(found) for name, found in self.items.items()}
        found: dict[str, Any] = {"seed": self.seed, "sizes": sizes, "shares": dict(self.share)}
        if self.paces:
            found["difficulty"] = {name: pace.identity for name, pace in self.paces.items()}
        if self.labels:
            found["labels"] = dict(self.labels)
        return found

    def _next(self, index: int) -> T:
        place = index + 1 - sum(self._base.values())  # in this mix
        drawn = {name: self.drawn[name] - self._base[name] for name in self.share}
        name = max(self.share, key=lambda name: place * self.share[name] - drawn[name])
        found, pace = self.items[name], self.paces.get(name)
        self.drawn[name] += 1
        while True:
            epoch, row = divmod(self.turns[name], len(found))
            self.turns[name] += 1
            if self._orders.get(name, (-1,))[0] != epoch:
                self._orders[name] = (epoch, order(len(found), self.seed, epoch, name))
            at = self._orders[name][1][row]
            if pace is None or pace.takes(epoch, at):
                return self._item(found[at], epoch)

    def _item(self, found: T, epoch: int) -> T:
        """What a draw gives of an item, whose turn this is in an epoch."""
        return found
