"""Reward -> advantage edge by edge of a tree of responses (SPO-tree).

A group's samples are the leaves of its tree, in order: with `branching` [b0, b1, ...] leaf number
l = c0 * (b1 * b2 * ...) + c1 * (b2 * ...) + ... is the c0-th child of the root, its c1-th child, and so on.
A response that ends early stands at all leaves it might have had (`rollout/trees.py`). The option maps
AdvantageInputs (see `advantage.py`; it needs places_N) to advantages_N, in the dtype of the rewards.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs, centred, deviation
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import owners

if TYPE_CHECKING:
    from torch import Tensor


@option("advantage")
class Tree:
    """SPO-tree (2505.23564): an edge's advantage is what it adds to the expected reward.

        V(leaf) = its reward;   V(node) = mean of its children's V;   A(edge to n) = V(n) - V(parent of n)

    The group is a tree: each prompt begins branching[0] segments, each of them branching[1] further ones, and
    so on; a segment has `tokens` tokens, those of the last level run to their end. What ends early is a leaf.
    So values cost no samples of their own: every token that is sampled trains, or is part of an edge that
    adds nothing. V(parent) has n itself in it, as in the authors' code (whose name for it is rloo): (b - 1) /
    b of the leave-one-out advantage, so no bias but a factor for each level. Edges with A = 0 leave the loss
    and its normaliser. An edge trains once, however many leaves are below it; with a depth of 1 this is
    `group_centered`.

    Where the authors' code differs: edges wait in a buffer, up to 8 iterations old and 32 of a prompt in one
    iteration (here all train in their own step); two equal segments of one parent are grown separately (here
    once: both train, and what is below them trains once).
    """

    name: str = "tree"
    branching: list[int] = field(default_factory=lambda: [2, 2, 2])
    """Children of a node, level by level; batch.group_size is their product. The paper's: [6, 6, 6]."""
    tokens: int | None = None
    """Tokens of a segment, but for the last level's; null: rollout.max_tokens / levels."""
    normalise: bool = False
    """Divide by the standard deviation of the siblings' values (ddof 0)."""
    budget: int | None = None
    """Of a tree's tokens: a level that might pass it has fewer children to a node, down to 1. null: any."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False
    skips_zero: ClassVar[bool] = True
    """Tokens whose advantage is exactly 0 leave the loss and its normaliser."""

    def __post_init__(self) -> None:
        require(
            len(self.branching) >= 1, "advantage.branching", self.branching, "a list of at least one number"
        )
        require(min(self.branching) >= 1, "advantage.branching", self.branching, "numbers of at least 1")
        require(self.leaves >= 2, "advantage.branching", self.branching, "more than one leaf")
        for key in ("tokens", "budget"):
            value = getattr(self, key)
            require(value is None or value >= 1, f"advantage.{key}", value, "at least 1 or null")

    @property
    def leaves(self) -> int:
        return math.prod(self.branching)

    def resolve(self, max_tokens: int) -> None:
        """Fill in what is left null from rollout.max_tokens. Called once, before the first step."""
        self.tokens = self.tokens or max(1, max_tokens // len(self.branching))

    def most_tokens(self, max_tokens: int) -> int:
        """Of a tree whose every response is as long as may be, budget aside."""
        nodes = [math.prod(self.branching[: level + 1]) for level in range(len(self.branching))]
        return sum(count * self.limit(level, max_tokens) for level, count in enumerate(nodes))

    def limit(self, level: int, max_tokens: int) -> int:
        """Tokens that a segment of this level may have, of a response of `max_tokens`."""
        size = self._segment()
        return max_tokens - level * size if level == len(self.branching) - 1 else size

    def _segment(self) -> int:
        if self.tokens is None:
            raise ValueError("tree has no tokens: call resolve(max_tokens) first")
        return self.tokens

    def children(self, level: int, *, parents: int, sampled: int, limit: int) -> int:
        """Of each of a level's `parents`, in a tree with `sampled` tokens: branching[level], or less for the
        budget, a divisor of it, so that each child stands at as many leaves."""
        wanted = self.branching[level]
        if self.budget is None:
            return wanted
        fitting = [k for k in range(2, wanted + 1) if wanted % k == 0]
        return max((k for k in fitting if sampled + parents * k * limit <= self.budget), default=1)

    def values(self, rewards_PG: Tensor) -> list[Tensor]:
        """V of all nodes, level by level from the root: _P1, [P, b0], [P, b0 * b1], ...; NaN where no leaf
        has a verdict."""
        found = [rewards_PG.double()]
        for width in reversed(self.branching):
            below = found[0].reshape(-1, width)
            most = below.masked_fill(below.isnan(), -math.inf).amax(1, keepdim=True)
            # From the maximum, so that the mean of equal values is exactly that value.
            found.insert(0, (most + (below - most).nanmean(1, keepdim=True)).view(len(rewards_PG), -1))
        return found

    def paths(self, rewards_PG: Tensor) -> Tensor:
        """V of the nodes on the way to each leaf, root and leaf included: [P * G, levels + 1]."""
        return self._table(self.values(rewards_PG))

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        if inputs.places_N is None:
            raise ValueError("tree needs places_N")
        edges = []
        for width, values in zip(self.branching, self.values(inputs.rewards_PG)[1:], strict=True):
            siblings = values.reshape(-1, width)
            steps = centred(siblings)
            if self.normalise:
                steps = steps / (deviation(siblings, 0) + 1e-8)
            edges.append(steps.view_as(values))
        level_N = (inputs.places_N // self._segment()).clamp(max=len(self.branching) - 1)
        advantages_N = self._table(edges)[owners(inputs.lengths_B), level_N]
        return advantages_N.masked_fill(advantages_N.isnan(), 0).to(inputs.rewards_PG.dtype)

    def _table(self, levels: list[Tensor]) -> Tensor:
        """Values of the nodes of several levels, at each leaf: [P * G, levels]."""
        table = levels[0].new_zeros(len(levels[0]) * self.leaves, len(levels))
        for column, values in enumerate(levels):
            table[:, column] = values.repeat_interleave(self.leaves // values.shape[1], 1).flatten()
        return table
