"""What training needs to know of samples that are the leaves of trees (rollout/trees.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.types import Completion, Elsewhere, Group, Problem, elsewhere


def row_of(completion: Completion, problem: Problem) -> tuple[np.ndarray, Any, np.ndarray]:
    """Prompt, tokens and mask of the tokens that train, as the model has to see a sequence.

    Of a leaf without what stands behind its own tokens; of one without tokens of its own next to nothing.
    """
    prompt, mask = completion.after(problem), completion.mask()
    if not completion.path:
        return prompt, completion.tokens, mask
    if not mask.any():
        return prompt[:1], np.zeros(0, np.int32), mask[:0]
    end = int(np.flatnonzero(mask)[-1]) + 1
    tokens = completion.tokens
    return prompt, elsewhere(end) if isinstance(tokens, Elsewhere) else tokens[:end], mask[:end]


def places(groups: list[Group]) -> Tensor | None:
    """Where in its response each token that trains stands: int64 _N. None without trees."""
    completions = [c for g in groups for c in g.completions]
    if not any(c.path for c in completions):
        return None
    return torch.from_numpy(np.concatenate([np.flatnonzero(c.mask()) for c in completions]))


def note_values(groups: list[Group], advantage: Any) -> None:
    """Write the values of the nodes on the way to each leaf into its group, where there are trees."""
    for group in groups if hasattr(advantage, "paths") else ():
        group.path_values = advantage.paths(_rewards(group)).tolist()


def tree_metrics(sampled: list[Group], kept: list[Group], advantage: Any) -> dict[str, float]:
    """How the trees of a step grew, and which of their edges train; nothing without trees."""
    if not hasattr(advantage, "paths"):
        return {}
    leaves = [c for g in sampled for c in g.completions]
    edges = [step for g in kept for step in _edges(g, advantage)]
    return {
        "tree/leaves": len({(i, c.path) for i, g in enumerate(sampled) for c in g.completions})
        / len(sampled),
        "tree/tokens": sum(c.length for c in leaves) / len(sampled),
        "tree/trained_edges": sum(step != 0 for step in edges) / len(edges) if edges else float("nan"),
    }


def _edges(group: Group, advantage: Any) -> list[float]:
    """What each edge of a tree adds to the value, level by level, those that were sampled once each."""
    values = advantage.paths(_rewards(group)).tolist()
    found: dict[tuple[int, ...], float] = {}
    for completion, way in zip(group.completions, values, strict=True):
        for depth in range(1, len(completion.path) + 1):
            found[completion.path[:depth]] = way[depth] - way[depth - 1]
    return list(found.values())


def _rewards(group: Group) -> Tensor:
    """As an option takes those of one prompt: [1, G]."""
    return torch.tensor([group.rewards], dtype=torch.float64)
