"""Does an answer's likelihood follow what is worked out? A model that learns sums of three numbers modulo 7
by partial sums, and `rlvr inspect trajectories` on right traces, wrong ones and fillers:

    python benchmarks/partial_sums.py --plot docs/partial_sums.png

A model of 100,000 weights learns `3+5+6=`: its trace is `3+5=1,1+6=0`, with a full stop, which says nothing,
at some of three places. A third of its examples is cut after the first step and a third at a random token,
before ` \\boxed{0}`, so that it has been asked everywhere. A tenth of the problems is held out. Three traces
of each are scored token by token, as the command does (RaML, 2505.19815): the right one, one whose first
partial sum is wrong and goes on with it, and the right one with every full stop. Writes a table (Markdown) of
L, the answer's negative log-likelihood, and of δ, the effect of a token.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from algorithms import interval
from torch import Tensor

from rlvr_cli.data.synthetic import side
from rlvr_cli.engine.model import load_model, load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.inspect import answer_curve, course
from rlvr_cli.inspect.answer_curve import Ask
from rlvr_cli.schema import Model, Precision, TinyModel

MODULUS = 7
LEAD, CLOSE = " \\boxed{", "}"
FILLER = "."
SHAPE = TinyModel(hidden_size=64, layers=2, heads=4, kv_heads=2, max_positions=64)
FILLED = 0.3
"""Chance of each of its three places to have one in training."""
LARGER = 4.0
"""Factor on the start weights: with those of the built-in model copying and adding take several times as many
steps to begin."""
Triple = tuple[int, int, int]


def prompt_of(triple: Triple) -> str:
    return "{}+{}+{}=".format(*triple)


def answer_of(triple: Triple) -> str:
    return str(sum(triple) % MODULUS)


def trace(triple: Triple, fillers: Sequence[bool] = (False,) * 3, off: int = 0) -> str:
    """`3+5=1,1+6=0`; `off` is added to the first partial sum, and the second step goes on with it. Fillers
    stand before the first step, after it, and at the end."""
    a, b, c = triple
    partial = (a + b + off) % MODULUS
    before, between, last = (FILLER * each for each in fillers)
    return f"{before}{a}+{b}={partial}{between},{partial}+{c}={(partial + c) % MODULUS}{last}"


def problems(split: str) -> list[Triple]:
    every = product(range(MODULUS), repeat=3)
    return [each for each in every if side(prompt_of(each)) == split]


def examples(random: Random) -> Iterator[tuple[str, str]]:
    """(prompt, what is trained), without end."""
    known = problems("train")
    while True:
        triple = random.choice(known)
        said = trace(triple, [random.random() < FILLED for _ in range(3)])
        cut = random.choice((len(said), said.index(","), random.randrange(len(said) + 1)))
        said = said[:cut]
        yield prompt_of(triple), f"{said}{LEAD}{answer_of(triple)}{CLOSE}"


def batch(tokenizer: Any, made: Iterator[tuple[str, str]], size: int) -> tuple[Tensor, Tensor]:
    """int [B, T] each: tokens, and labels with -100 on prompts and padding."""
    tokens, labels = [], []
    for (prompt, said), _ in zip(made, range(size), strict=False):
        asked, wanted = tokenizer(prompt)["input_ids"], tokenizer(said)["input_ids"]
        tokens.append(torch.tensor(asked + wanted))
        labels.append(torch.tensor([-100] * len(asked) + wanted))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(tokens, batch_first=True), pad(labels, batch_first=True, padding_value=-100)


def learned(folder: Path, seed: int, steps: int, size: int = 64, rate: float = 4e-3) -> tuple[Any, Any]:
    """Model and tokenizer after so many steps; the rate falls to 0 in a straight line."""
    make_tiny(folder, SHAPE, seed)
    of = Model(path=str(folder), attention="sdpa")
    model, tokenizer = load_model(of, Precision.fp32), load_tokenizer(of)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(LARGER if weight.dim() == 2 else 1)
    made = examples(Random(seed))
    adam = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
    for _ in range(steps):
        tokens_BT, labels_BT = batch(tokenizer, made, size)
        model(input_ids=tokens_BT, labels=labels_BT, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        falling.step()
    return model.eval(), tokenizer


def losses(model: Any, tokenizer: Any, triple: Triple, said: str) -> list[float]:
    """L before the trace and after each of its tokens; a token is a character."""
    asked, tokens = (tokenizer(text)["input_ids"] for text in (prompt_of(triple), said))
    assert len(tokens) == len(said)
    lead, answer, close = (tokenizer(text)["input_ids"] for text in (LEAD, answer_of(triple), CLOSE))
    ends = list(range(len(asked), len(asked) + len(tokens) + 1))
    ask = Ask(lead=lead, answer=answer, close=close)
    return answer_curve.curve(model, asked + tokens, ends, ask, cached=True).losses


@dataclass(kw_only=True)
class Seen:
    """L of each held-out problem along three traces of it, token by token."""

    right: list[list[float]] = field(default_factory=list)
    wrong: list[list[float]] = field(default_factory=list)
    filled: list[list[float]] = field(default_factory=list)


def seen(model: Any, tokenizer: Any, random: Random) -> Seen:
    found = Seen()
    for triple in problems("eval"):
        off = random.randrange(1, MODULUS)
        found.right.append(losses(model, tokenizer, triple, trace(triple)))
        found.wrong.append(losses(model, tokenizer, triple, trace(triple, off=off)))
        found.filled.append(losses(model, tokenizer, triple, trace(triple, (True,) * 3)))
    return found


PARTIAL, LAST = trace((0, 0, 0)).index(",") - 1, len(trace((0, 0, 0))) - 1
"""Places of the partial sum and of the whole in a trace without fillers; L before one has its index."""


def fillers() -> list[int]:
    said = trace((0, 0, 0), (True,) * 3)
    return [place for place, piece in enumerate(said) if piece == FILLER]


def numbers(found: Seen) -> dict[str, float]:
    """Medians over problems, in nats."""

    def at(curves: list[list[float]], place: int) -> float:
        return median(each[place] for each in curves)

    def effects(curves: list[list[float]], place: int) -> float:
        sizes = (course.effect(each[place], each[place + 1]) for each in curves)
        return median(size for size in sizes if size is not None)

    out = {
        "before the partial sum": at(found.right, PARTIAL),
        "after it": at(found.right, PARTIAL + 1),
        "after the sum": at(found.right, LAST + 1),
        "after a wrong partial sum": at(found.wrong, PARTIAL + 1),
        "after its sum": at(found.wrong, LAST + 1),
        "δ of a partial sum": effects(found.right, PARTIAL),
    }
    places = ("before the first step", "after it", "at the end")
    return out | {
        f"δ of a filler {where}": effects(found.filled, place)
        for where, place in zip(places, fillers(), strict=True)
    }


def table(runs: Sequence[dict[str, float]]) -> Iterator[str]:
    yield "| | L, nats, or δ |"
    yield "|---|---|"
    for name in runs[0]:
        middle, half = interval([each[name] for each in runs])
        yield f"| {name} | {middle:.3f}" + (f" ± {half:.3f} |" if len(runs) > 1 else " |")


def plot(runs: Sequence[Seen], path: Path) -> None:
    """Mean of L over problems and seeds by token, of one trace as its labels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from rlvr_cli.tracking.plots import COLOURS, STYLE

    triple = (3, 5, 6)
    shown = {
        "right": (trace(triple), [each.right for each in runs]),
        "wrong first step": (trace(triple, off=1), [each.wrong for each in runs]),
        "right, with full stops": (trace(triple, (True,) * 3), [each.filled for each in runs]),
    }
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained", sharey=True)
        for at, colour, (title, (said, curves)) in zip(axes, COLOURS, shown.items(), strict=False):
            for each in curves:
                at.plot([mean(x) for x in zip(*each, strict=True)], color=colour, alpha=0.5, linewidth=1.2)
            at.set_xticks(range(len(said) + 1), ["", *said])
            at.set_title(f"{title}: {prompt_of(triple)}")
            at.set_xlabel("after this token")
        axes[0].set_ylabel("L of the right answer, nats")
        figure.savefig(path, dpi=110)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--plot", type=Path, help="write the curves there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    runs = []
    for seed in range(options.seeds):
        with TemporaryDirectory() as folder:
            runs.append(seen(*learned(Path(folder) / "model", seed, options.steps), Random(seed)))
    found = [numbers(each) for each in runs]
    print("\n".join(table(found)))
    if options.plot:
        plot(runs, options.plot)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
