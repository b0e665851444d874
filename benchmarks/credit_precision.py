"""How precise a gradient a sampled token buys, where one token of a response decides: no model, seconds.

    python benchmarks/credit_precision.py

Responses have 57 tokens: 48 letters drawn evenly from 20, and a box whose content is right with the
probability p. The gradient of the expected reward by the policy's logits has one part that is not 0, at the
box; all else is noise, the letters' above all. A method's precision is (mean of its estimate along the
gradient)^2 / (variance of the whole estimate * tokens sampled), from its own advantages (rlvr_cli.algorithms)
on many prompts; the table has it relative to GRPO with groups of eight, with the box in the first, second or
last third. 2: as good a gradient for half of the tokens. Tokens that measure values are counted.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlvr_cli.algorithms import options
from rlvr_cli.algorithms.advantage import AdvantageInputs

LENGTH, BOX = 57, 9
"""Tokens of a response; of these in the box, the one that decides included."""
LETTER = 1 - 1 / 20
"""Expected squared length of the gradient of a letter's logprob by its logits."""
PLACES = {"first": 4, "second": 28, "last": 52}
"""Third of the response -> token that decides."""
THIRD = LENGTH // 3


def letters(decides: int) -> np.ndarray:
    """Which tokens of a response were free: bool [LENGTH]. The box stands around the one that decides."""
    free = np.ones(LENGTH, bool)
    begin = min(max(0, decides - 4), LENGTH - BOX)
    free[begin : begin + BOX] = False
    return free


def advantages(option: Any, rewards_PG: np.ndarray, own: np.ndarray, **more: Any) -> np.ndarray:
    """Of each token, 0 where it is not a sample's own: [P, G, LENGTH]; own: bool [G, LENGTH]."""
    prompts = len(rewards_PG)
    found = option(
        AdvantageInputs(
            rewards_PG=torch.from_numpy(rewards_PG),
            lengths_B=torch.from_numpy(own.sum(1)).repeat(prompts),
            places_N=torch.from_numpy(np.nonzero(own)[1]).repeat(prompts),
            **more,
        )
    )
    laid = np.zeros((prompts, *own.shape))
    laid[:, own] = found.view(prompts, -1).numpy()
    return laid


def precision(advantages_PGT: np.ndarray, right_PG: np.ndarray, p: float, decides: int, cost: float) -> float:
    scores_PG = np.where(right_PG > 0, 1 - p, -p)
    along_P = (advantages_PGT[:, :, decides] * scores_PG).sum(1)
    noise = LETTER * (advantages_PGT[:, :, letters(decides)] ** 2).sum((1, 2)).mean()
    return float(along_P.mean() ** 2 / ((along_P.var() + noise) * cost))


def of_group(rng: np.random.Generator, prompts: int, p: float, decides: int, *, size: int) -> float:
    right = (rng.random((prompts, size)) < p).astype(float)
    own = np.ones((size, LENGTH), bool)
    found = advantages(options("advantage")["group_centered"](), right, own)
    return precision(found, right, p, decides, size * LENGTH)


def of_tree(rng: np.random.Generator, prompts: int, p: float, decides: int, *, branching: list[int]) -> float:
    option = options("advantage")["tree"](branching=branching)
    option.resolve(LENGTH)
    last = len(branching) - 1
    level = min(decides // option.tokens, last)
    nodes, leaves = prod(branching[: level + 1]), option.leaves
    right = (rng.random((prompts, nodes)) < p).astype(float).repeat(leaves // nodes, 1)
    own = np.zeros((leaves, LENGTH), bool)
    for leaf in range(leaves):  # a segment is its first leaf's: all numbers behind it are 0
        first = next(d for d in range(last + 1) if leaf % prod(branching[d + 1 :]) == 0)
        own[leaf, first * option.tokens :] = True
    return precision(advantages(option, right, own), right, p, decides, own.sum())


def of_chain(
    rng: np.random.Generator, prompts: int, p: float, decides: int, *, size: int, interval: int, samples: int
) -> float:
    option = options("advantage")["segment"](interval=interval, samples=samples, whiten=False)
    uncertain = letters(decides)
    uncertain[decides] = True
    logprobs_N = torch.from_numpy(np.where(uncertain, -1.0, 0.0)).repeat(prompts * size)
    lengths_B = torch.full((prompts * size,), LENGTH)
    begins = option.boundaries(logprobs_N[:LENGTH], lengths_B[:1]).nonzero().flatten().tolist()
    right = (rng.random((prompts, size)) < p).astype(float)
    values = np.full((prompts, size, LENGTH), np.nan)
    cost = size * LENGTH
    for begin in begins:  # the prompt is one state for all of its responses
        measured = rng.binomial(samples, p, (prompts, size if begin else 1)) / samples
        values[:, :, begin] = measured if begin <= decides else right
        cost += (size if begin else 1) * samples * (LENGTH - begin)
    given = {"logprobs_N": logprobs_N, "state_values_N": torch.from_numpy(values.reshape(-1))}
    found = advantages(option, right, np.ones((size, LENGTH), bool), **given)
    return precision(found, right, p, decides, cost)


def rows() -> dict[str, Any]:
    """Label -> what estimates, with its settings."""
    trees = [[2, 2, 2], [2, 4, 1], [3, 3, 3], [6, 3, 2], [6, 6, 6]]
    chains = [(2, 20, 4), (8, 20, 4), (8, 20, 9), (8, 5, 9), (8, 100, 9)]
    made: dict[str, Any] = {"group of 8": (of_group, {"size": 8}), "group of 64": (of_group, {"size": 64})}
    made |= {f"tree {b}": (of_tree, {"branching": b}) for b in trees}
    return made | {
        f"chain, group {g}, interval {i}, {k} continuations": (
            of_chain,
            {"size": g, "interval": i, "samples": k},
        )
        for g, i, k in chains
    }


def measured(p: float, prompts: int) -> dict[str, list[float]]:
    """Label -> precision relative to a group of eight, by place."""
    return {
        label: [
            make(np.random.default_rng(0), prompts, p, decides, **settings)
            / of_group(np.random.default_rng(1), prompts, p, decides, size=8)
            for decides in PLACES.values()
        ]
        for label, (make, settings) in rows().items()
    }


def table(found: dict[str, list[float]]) -> Iterator[str]:
    yield f"| | {' | '.join(f'{place} third' for place in PLACES)} |"
    yield f"|---|{'---|' * len(PLACES)}"
    for label, values in found.items():
        yield f"| {label} | {' | '.join(f'{value:.2f}' for value in values)} |"


def main() -> None:
    made = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--p", type=float, default=0.25, help="how often the box is right")
    made.add_argument("--prompts", type=int, default=2000, help="simulated")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = made.parse_args()
    found = measured(given.p, given.prompts)
    print("\n".join(table(found)))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
