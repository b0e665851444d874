"""Who learns fastest per sampled token, by the length of a chain and the place of its one decision: minutes.

    python benchmarks/credit_learning.py

The policy is a network of 3,000 weights, shared by all places of a response, that says one of 30 tokens at
each of them, from the prompt (four different digits) and the place. Right is who says the largest digit at
the place that decides; what stands anywhere else is worth nothing and stays free. At the start any of the
four digits is said there (0.25 right), and letters elsewhere. It is no language model: a run takes a second
for each 100 tokens of length, how often it is right is computed, not sampled, and every label has its own
best learning rate of `RATES`, by the mean of a run whose seed is not reported. Advantages and segments are
those of rlvr_cli.algorithms; tokens that measure values count.

Writes tables (Markdown) over seeds: how often right, mean over the budget, and the tokens until it is 0.6
relative to those that GRPO with groups of eight takes.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from algorithms import interval
from torch import Tensor
from torch.nn import functional as F

from rlvr_cli.algorithms import options
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.tracking.plots import COLOURS, STYLE

LETTERS, DIGITS, SHOWN = 20, 10, 4
WIDTH, WAVES = 32, 6
PRETRAINED = 30
"""Places of a response that each step of the start looks at."""
PLACES = {"first": 0.2, "middle": 0.5, "last": 0.85}
"""Third of the response -> how far in it the token stands that decides."""
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
A_STEP = 64
"""Whole responses whose tokens an update samples."""
GOAL = 0.6
RHO = 0.9
"""Tokens more probable than that do not train in SPO."""
SWEPT = 100
"""The seed on which learning rates are chosen."""


class Policies:
    """Several runs' policies side by side: [R, P, DIGITS] prompts -> logits [R, P, length, LETTERS + DIGITS].

    A place is waves of its number, and whether it decides, as the box around it tells a language model.
    """

    def __init__(self, length: int, decides: int, seeds: Sequence[int]) -> None:
        angles = torch.arange(length)[:, None] / length * torch.pi * 2.0 ** torch.arange(WAVES)
        here = F.one_hot(torch.tensor(decides), length).float()[:, None]
        self.places = torch.cat([angles.sin(), angles.cos(), here], 1)
        sizes = ((DIGITS, WIDTH), (2 * WAVES + 1, WIDTH), (WIDTH, WIDTH), (WIDTH, LETTERS + DIGITS))
        random = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights = [
            torch.stack([(torch.rand(size, generator=each) * 2 - 1) / size[0] ** 0.5 for each in random])
            for size in sizes
        ] + [torch.zeros(len(seeds), 1, size[1]) for size in sizes[1:]]
        self.means = [torch.zeros_like(w) for w in self.weights]
        self.squares = [torch.zeros_like(w) for w in self.weights]
        self.updates = 0
        for weight in self.weights:
            weight.requires_grad_()

    def __call__(self, shown_RPD: Tensor, which: slice | Tensor = slice(None)) -> Tensor:
        prompt, place, second, said, *biases = self.weights
        places = self.places[which]
        first = (shown_RPD @ prompt)[:, :, None] + (places @ place + biases[0])[:, None]
        hidden = torch.tanh(torch.tanh(first.flatten(1, 2)) @ second + biases[1])
        logits: Tensor = hidden @ said + biases[2]
        return logits.view(*shown_RPD.shape[:2], len(places), -1)

    def update(self, loss_R: Tensor, rates_R: Tensor) -> None:
        """A step of Adam for each run by itself, gradients clipped to a norm of 1."""
        gradients = torch.autograd.grad(loss_R.sum(), self.weights)
        norm_R = sum(g.square().sum((1, 2)) for g in gradients).sqrt()  # type: ignore[union-attr]
        scale = (1 / norm_R.clamp(min=1))[:, None, None]
        self.updates += 1
        a, b = 1 - 0.9**self.updates, 1 - 0.999**self.updates
        with torch.no_grad():
            for w, g, m, v in zip(self.weights, gradients, self.means, self.squares, strict=True):
                m.lerp_(g * scale, 0.1)
                v.lerp_((g * scale).square(), 0.001)
                w -= rates_R[:, None, None] * (m / a) / ((v / b).sqrt() + 1e-8)


def prompts(runs: int, count: int, random: torch.Generator) -> Tensor:
    """Which digits each prompt shows: [R, P, DIGITS]."""
    order = torch.rand(runs, count, DIGITS, generator=random).argsort(2)
    return (order.argsort(2) < SHOWN).float()


def largest(shown_RPD: Tensor) -> Tensor:
    """The token that is right: [R, P]."""
    return LETTERS + (shown_RPD * torch.arange(1, DIGITS + 1)).argmax(2)


@cache
def start(length: int, decides: int, seeds: tuple[int, ...]) -> list[Tensor]:
    """Weights of policies that say any digit of the prompt where they decide, and any letter elsewhere."""
    policies, random = Policies(length, decides, seeds), torch.Generator().manual_seed(seeds[0])
    for _ in range(200):
        shown = prompts(len(seeds), 32, random)
        which = torch.randint(length, (PRETRAINED,), generator=random).tolist()
        wanted = torch.zeros(len(seeds), 32, PRETRAINED + 1, LETTERS + DIGITS)
        wanted[..., :LETTERS] = 1 / LETTERS
        here = torch.tensor([place == decides for place in [*which, decides]])
        wanted[:, :, here, :LETTERS] = 0
        wanted[:, :, here, LETTERS:] = shown[:, :, None] / SHOWN
        said = policies(shown, torch.tensor([*which, decides])).log_softmax(-1)
        each = -(said * wanted).sum(3)
        # The one place that decides would take long to be learned among so many.
        policies.update(
            each[:, :, :-1].mean((1, 2)) + each[:, :, -1].mean(1), torch.full((len(seeds),), 1e-2)
        )
    return [weight.detach() for weight in policies.weights]


class Sampled:
    """What a policy says to some prompts."""

    def __init__(self, logits_PTV: Tensor, right_P: Tensor, decides: int, random: torch.Generator) -> None:
        self.logprobs_PTV = logits_PTV.detach().log_softmax(-1)
        self.right_P, self.decides, self.random = right_P, decides, random
        self.length = logits_PTV.shape[1]

    def draw(self, samples: int) -> Tensor:
        """[P, samples, length]"""
        flat = self.logprobs_PTV.exp().flatten(0, 1)
        drawn = torch.multinomial(flat, samples, replacement=True, generator=self.random)
        return drawn.view(len(self.right_P), self.length, samples).transpose(1, 2)

    def rewards(self, tokens_PGT: Tensor) -> Tensor:
        return (tokens_PGT[:, :, self.decides] == self.right_P[:, None]).double()

    def logprobs(self, tokens_PGT: Tensor) -> Tensor:
        return self.logprobs_PTV.gather(2, tokens_PGT.transpose(1, 2)).transpose(1, 2)


Made = tuple[Tensor, Tensor, Tensor, float]
"""Tokens, advantages, which of them train ([P, G, length] each), and the tokens sampled."""


def group(sampled: Sampled, *, size: int) -> Made:
    tokens = sampled.draw(size)
    lengths = torch.full((tokens.shape[0] * size,), sampled.length)
    given = AdvantageInputs(rewards_PG=sampled.rewards(tokens), lengths_B=lengths)
    advantages = options("advantage")["group_zscore"]()(given).view(tokens.shape)
    return tokens, advantages, torch.ones_like(tokens).bool(), tokens.numel()


def tree(sampled: Sampled, *, branching: list[int]) -> Made:
    option = options("advantage")["tree"](branching=branching)
    option.resolve(sampled.length)
    leaves, levels = option.leaves, len(branching)
    level_T = (torch.arange(sampled.length) // option.tokens).clamp(max=levels - 1)
    tokens, own = sampled.draw(leaves), torch.zeros(leaves, sampled.length, dtype=torch.bool)
    for level in range(levels):  # leaves of one node share its tokens, which train with the first of them
        below, at = prod(branching[level + 1 :]), level_T == level
        first = torch.arange(leaves) // below * below
        tokens[:, :, at] = tokens[:, first][:, :, at]
        own[::below] |= at
    own_PGT = own.expand(tokens.shape)
    inputs = AdvantageInputs(
        rewards_PG=sampled.rewards(tokens),
        lengths_B=own.sum(1).repeat(len(tokens)),
        places_N=own_PGT.nonzero()[:, 2],
    )
    advantages = torch.zeros(tokens.shape, dtype=torch.double)
    advantages[own_PGT] = option(inputs)
    uncertain = sampled.logprobs(tokens) < math.log(RHO)
    return tokens, advantages, own_PGT & uncertain & (advantages != 0), float(own_PGT.sum())


def chain(sampled: Sampled, *, size: int, segments: int, samples: int) -> Made:
    """`segments`: the interval is as many tokens as make so many of them."""
    option = options("advantage")["segment"](
        interval=-(-sampled.length // segments), samples=samples, rho=RHO
    )
    tokens = sampled.draw(size)
    prompts, length = len(tokens), sampled.length
    logprobs_N = sampled.logprobs(tokens).flatten()
    lengths_B = torch.full((prompts * size,), length)
    begins = option.boundaries(logprobs_N, lengths_B).view(tokens.shape)
    rewards_PG = sampled.rewards(tokens)
    right_P = sampled.logprobs_PTV[:, sampled.decides].gather(1, sampled.right_P[:, None])[:, 0].exp()
    # Of the continuations from a state before the decision all that matters is how many are right.
    chance = right_P.double()[:, None, None].expand(tokens.shape)
    found = torch.binomial(torch.full_like(chance, samples), chance, generator=sampled.random) / samples
    found[:, :, 0] = found[:, :1, 0]  # the prompt itself is one state
    places = torch.arange(length)
    values = torch.where(places > sampled.decides, rewards_PG[:, :, None], found)
    inputs = AdvantageInputs(
        rewards_PG=rewards_PG,
        lengths_B=lengths_B,
        logprobs_N=logprobs_N,
        state_values_N=values.masked_fill(~begins, torch.nan).flatten(),
    )
    advantages = option(inputs).view(tokens.shape)
    once = begins.clone()
    once[:, :, 0] = False
    measuring = samples * float((once * (length - places)).sum() + begins[:, :, 0].any(1).sum() * length)
    return tokens, advantages, option.decides(logprobs_N).view(tokens.shape), tokens.numel() + measuring


LABELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "grpo, group 8": (group, {"size": 8}),
    "grpo, group 32": (group, {"size": 32}),
    "spo_tree [2, 2, 2]": (tree, {"branching": [2, 2, 2]}),
    "spo_tree [3, 3, 3]": (tree, {"branching": [3, 3, 3]}),
    "spo_tree [2, 4, 1]": (tree, {"branching": [2, 4, 1]}),
    "spo, 2 segments, group 8, 4 continuations": (chain, {"size": 8, "segments": 2, "samples": 4}),
    "spo, 2 segments, group 2, 4 continuations": (chain, {"size": 2, "segments": 2, "samples": 4}),
    "spo, 10 segments, group 2, 4 continuations": (chain, {"size": 2, "segments": 10, "samples": 4}),
}


def each_costs(label: str) -> float:
    """Tokens of one prompt by the length of a response."""
    make, settings = LABELS[label]
    if make is group:
        return float(settings["size"])
    if make is tree:
        b = settings["branching"]
        return sum(prod(b[: level + 1]) for level in range(len(b))) / len(b)
    size, segments, samples = settings["size"], settings["segments"], settings["samples"]
    return float(size + samples * (1 + size * (segments - 1) / 2))


Course = list[tuple[float, float]]
"""(Tokens sampled so far, in whole responses; how often right), before each update and after the last."""


Course = list[tuple[float, float]]
"""(Tokens sampled so far, in whole responses; how often right), before each update and after the last."""


def runs(
    label: str, length: int, place: str, rates: Sequence[float], seeds: Sequence[int], responses: int
) -> list[Course]:
    """One run for each rate and seed; they share nothing but the order of random numbers."""
    decides, count = int(PLACES[place] * length), max(1, round(A_STEP / each_costs(label)))
    policies, random = Policies(length, decides, seeds), torch.Generator().manual_seed(seeds[0])
    for weight, known in zip(policies.weights, start(length, decides, tuple(seeds)), strict=True):
        weight.data.copy_(known)
    held = prompts(1, 256, torch.Generator().manual_seed(10_000)).expand(len(seeds), -1, -1)
    make, settings = LABELS[label]
    spent_R, courses = torch.zeros(len(seeds)), [[] for _ in seeds]  # type: ignore[var-annotated]
    while True:
        with torch.no_grad():
            said = policies(held, slice(decides, decides + 1))[:, :, 0].softmax(-1)
            right_R = said.gather(2, largest(held)[..., None]).mean((1, 2))
        for course, spent, right in zip(courses, spent_R.tolist(), right_R.tolist(), strict=True):
            course.append((spent / length, right))
        if spent_R.min() >= responses * length:
            return courses
        shown = prompts(len(seeds), count, random)
        logits = policies(shown)
        sides = [  # advantages are whitened within a run
            make(Sampled(of_run, right_P, decides, random), **settings)
            for of_run, right_P in zip(logits, largest(shown), strict=True)
        ]
        tokens, advantages, trains = (torch.stack([side[i] for side in sides]) for i in range(3))
        picked = logits.log_softmax(-1).gather(3, tokens.transpose(2, 3)).transpose(2, 3)
        each = picked * advantages.float() * trains
        policies.update(-each.sum((1, 2, 3)) / trains.sum((1, 2, 3)).clamp(min=1), torch.tensor(rates))
        spent_R += torch.tensor([side[3] for side in sides])


def until(course: Course) -> float:
    """Responses' worth of tokens until the goal; infinity where it is not reached."""
    return next((spent for spent, right in course if right >= GOAL), float("inf"))


def curve(course: Course, responses: int) -> list[float]:
    """How often right, on 41 points of the budget."""
    grid = np.linspace(0, responses, 41)
    found: list[float] = np.interp(grid, *zip(*course, strict=True)).tolist()
    return found


def measured(label: str, length: int, place: str, seeds: int, responses: int) -> dict[str, Any]:
    swept = runs(label, length, place, RATES, [SWEPT] * len(RATES), responses)
    rate = RATES[int(np.argmax([mean(curve(course, responses)) for course in swept]))]
    courses = runs(label, length, place, [rate] * seeds, range(seeds), responses)
    return {
        "rate": rate,
        "curves": [curve(course, responses) for course in courses],
        "until": [until(course) for course in courses],
    }


Found = dict[str, dict[str, dict[str, Any]]]
"""Label -> place -> what is measured."""


def table(found: Found, length: int) -> Iterator[str]:
    columns = (f"{place} third, mean (rate) | until {GOAL}" for place in PLACES)
    yield f"| {length} tokens | {' | '.join(columns)} |"
    yield f"|---|{'---|---|' * len(PLACES)}"
    against = next(iter(found.values()))
    for label, places in found.items():
        cells = []
        for place, each in places.items():
            right, half = interval([mean(course) for course in each["curves"]])
            took = mean(each["until"]), mean(against[place]["until"])
            shown = f"{took[0] / took[1]:.2f}" if np.isfinite(took).all() else ""
            cells.append(f"{right:.3f} ± {half:.3f} ({each['rate']:g}) | {shown}")
        yield f"| {label} | {' | '.join(cells)} |"


def plot(found: Found, length: int, responses: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    grid = np.linspace(0, responses, 41)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, len(PLACES), figsize=(4.2 * len(PLACES), 4), sharey=True)
        for at, place in zip(axes, PLACES, strict=True):
            for number, (label, places) in enumerate(found.items()):
                round_, colour = divmod(number, len(COLOURS))
                line = {"color": COLOURS[colour], "linestyle": ("-", "--")[round_ % 2], "linewidth": 1.6}
                at.plot(grid, np.mean(places[place]["curves"], 0), label=label, **line)
            at.set_title(f"the {place} third decides, of {length} tokens")
            at.set_xlabel("tokens sampled, in whole responses")
        axes[0].set_ylabel("right")
        axes[0].legend(fontsize=7, loc="lower right")
        figure.tight_layout()
        figure.savefig(path, dpi=110)


def main() -> None:
    made = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--lengths", type=int, nargs="+", default=[50, 500], help="of a response")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--responses", type=int, default=4000, help="whose tokens a run may sample")
    made.add_argument("--only", nargs="+", choices=LABELS, default=list(LABELS), metavar="LABEL")
    made.add_argument("--plot", type=Path, metavar="FILE", help="curves of the last length")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = made.parse_args()
    torch.set_num_threads(1)
    everything = {}
    for length in given.lengths:
        found = {
            label: {place: measured(label, length, place, given.seeds, given.responses) for place in PLACES}
            for label in given.only
        }
        print("\n".join(table(found, length)), flush=True)
        everything[f"{length}"] = found
        if given.json:
            given.json.write_text(json.dumps(everything, indent=1))
        if given.plot:
            plot(found, length, given.responses, given.plot)


if __name__ == "__main__":
    main()
