"""Trees of responses: prompts grown level by level, each segment sampled once (SPO-tree, 2505.23564).

`Trees` stands in an engine's place: asked for the samples of a prompt it grows a tree, and answers with its
leaves. All trees grow at once, each level of a tree when the one above it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Protocol

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import Engine, Request, Sampling, derived_seed, never


class Shape(Protocol):
    """How a tree is to grow; `algorithms.advantage_tree.Tree` is one."""

    branching: list[int]

    def limit(self, level: int, max_tokens: int) -> int:
        """Tokens that a segment of this level may have."""

    def children(self, level: int, *, parents: int, sampled: int, limit: int) -> int:
        """Of each of a level's `parents`, in a tree of `sampled` tokens: a divisor of branching[level]."""


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A segment, and what was sampled on from its end."""

    path: tuple[int, ...]
    """Which child each node on the way to it is, its own number last; empty: the root, without tokens."""
    end: int = 0
    """Response tokens up to its end."""
    segment: Completion | None = None
    children: list[Node] = field(default_factory=list)
    same: Node | None = None
    """An earlier sibling with the same tokens: that one is grown, and stands for both."""

    @property
    def grows(self) -> bool:
        return self.same is None and (self.segment is None or not self.segment.finished)


@dataclass(slots=True, kw_only=True)
class Growing:
    """A prompt's tree as far as it is."""

    request: Request
    max_tokens: int
    root: Node = field(default_factory=lambda: Node(path=()))
    level: int = 0
    """That is being sampled."""
    parents: dict[int, list[Node]] = field(default_factory=dict)
    """Of what is still to come, by the engine's key: the way from the root."""
    sampled: int = 0


class Trees:
    """The engine, where a request's samples are the leaves of one tree: the product of `shape.branching`."""

    def __init__(self, engine: Engine, shape: Shape) -> None:
        self._engine, self._shape = engine, shape

    @property
    def leader(self) -> bool:
        return self._engine.leader

    def agreed(self, answer: bool) -> bool:
        return self._engine.agreed(answer)

    def generate(
        self, requests: list[Request], sampling: Sampling, enough: Callable[[], bool] = never
    ) -> Iterator[tuple[int, list[Completion]]]:
        assert enough is never, "trees are grown to their ends"
        trees = [Growing(request=r, max_tokens=r.limit(sampling)) for r in requests]
        of_key: dict[int, Growing] = {}
        waiting: list[Request] = []
        for tree in trees:
            waiting += self._next(tree, [[tree.root]], of_key)

        def more(idle: bool) -> list[Request]:
            asked, waiting[:] = list(waiting), []
            return asked

        for key, found in self._engine.generate(more(False), sampling, more=more):
            tree = of_key[key]
            self._add(tree, tree.parents.pop(key), found)
            if tree.parents:
                continue
            tree.level += 1
            ends = list(_growing(tree.root, [])) if tree.level < len(self._shape.branching) else []
            if ends:
                waiting += self._next(tree, ends, of_key)
            else:
                yield tree.request.key, self.leaves(tree)

    def _next(self, tree: Growing, ends: list[list[Node]], of_key: dict[int, Growing]) -> list[Request]:
        """Requests for the next level, of each node that grows; `ends`: the ways to them."""
        limit = self._shape.limit(tree.level, tree.max_tokens)
        samples = self._shape.children(tree.level, parents=len(ends), sampled=tree.sampled, limit=limit)
        asked = []
        for way in ends:
            key = len(of_key)
            of_key[key], tree.parents[key] = tree, way
            asked.append(
                Request(
                    key=key,
                    tokens=[*tree.request.tokens, *_tokens(way).tolist()],
                    samples=samples,
                    seed=_seed(tree.request.seed, way[-1].path),
                    max_tokens=limit,
                )
            )
        return asked

    def _add(self, tree: Growing, way: list[Node], found: list[Completion]) -> None:
        """The children of the last node of `way`; of equal ones the first grows."""
        parent = way[-1]
        first: dict[bytes, Node] = {}
        for number, segment in enumerate(found):
            node = Node(path=(*parent.path, number), end=parent.end + len(segment.tokens), segment=segment)
            if not segment.finished:
                node.same = first.setdefault(segment.tokens.tobytes(), node)
                node.same = None if node.same is node else node.same
            parent.children.append(node)
            tree.sampled += len(segment.tokens)

    def leaves(self, tree: Growing) -> list[Completion]:
        """One completion for each leaf there might be, in order.

        A segment belongs to the first leaf below it; what ended early, or had fewer children, is there as
        often as it has to be, without tokens of its own.
        """
        return self._below([tree.root], 0)

    def _below(self, way: list[Node], begin: int | None) -> list[Completion]:
        """The leaves below the last node of `way`; the first has the tokens from `begin` on (None: none)."""
        node, depth = way[-1], len(way) - 1
        if not node.children:
            leaf = self._completion(way, begin)
            rest = prod(self._shape.branching[depth:]) - 1
            return [leaf, *([_without(leaf)] * rest)]
        times = self._shape.branching[depth] // len(node.children)
        found = []
        for number, child in enumerate(node.children):
            start = begin if number == 0 else node.end if begin is not None else None
            if child.same is None:
                block = self._below([*way, child], start)
            else:
                block = self._below([*way, child.same], None)
                if start is not None:  # it was sampled too, though what follows it was not
                    block[0] = replace(block[0], sampled=_span(len(block[0].tokens), start, child.end))
            found += block + [_without(leaf) for leaf in block] * (times - 1)
        return found

    def _completion(self, way: list[Node], begin: int | None) -> Completion:
        tokens = _tokens(way)
        segments = [node.segment for node in way if node.segment is not None]
        length = len(tokens)
        return Completion(
            tokens=tokens,
            logprobs=np.concatenate([s.logprobs for s in segments]),
            text=self._engine.text(tokens.tolist()),
            finished=segments[-1].finished,
            sampled=_span(length, length if begin is None else begin, length),
            path=way[-1].path,
        )


def _growing(node: Node, above: Sequence[Node]) -> Iterator[list[Node]]:
    """Ways to the nodes without children that are to be grown, in order."""
    way = [*above, node]
    if not node.children:
        if node.grows:
            yield way
        return
    for child in node.children:
        yield from _growing(child, way)


def _tokens(way: Sequence[Node]) -> np.ndarray:
    """Response tokens up to the end of a way."""
    parts = [node.segment.tokens for node in way if node.segment is not None]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _seed(seed: int | None, path: tuple[int, ...]) -> int | None:
    """The root's children are drawn as any group's samples are; a node's from a seed of its place."""
    return seed if seed is None or not path else derived_seed(f"{seed}:{path}")


def _span(length: int, begin: int, end: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[begin:end] = True
    return mask


def _without(leaf: Completion) -> Completion:
    """The same leaf at another place, which trains nothing."""
    return replace(leaf, sampled=np.zeros(len(leaf.tokens), bool))
