"""Does training follow the basis of the weights? Updates of layers in another basis, against the original's:

    rlvr sft tiny_sft
    python benchmarks/rotated.py

The start model, and a copy that computes the same function with the attention of one layer in another basis
(`rlvr inspect rotate`: values and their output turned, heads in another order), are trained alike by RL as in
`tiny_dapo`, several seeds each. Compared is which entries have changed in bf16: Jaccard of two runs, over
what it is at random. Zhu et al. 2025 (arXiv 2511.08567) find that in edited layers the overlap with runs from
the original falls to that of chance, and that other layers keep theirs.

Two runs from the original are the control. bf16 is finer around small numbers, so that any two updates have
small entries in common, and none of it after a rotation, which makes others small. Two controls are of that:
random noise of the size of each matrix's change, added to both starts; and the Jaccard of changes that know
nothing of an entry but its size (in brackets: what is above 1 there is more than that).

Runs that are there are not made again. Writes a table (Markdown).
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from statistics import mean

import torch
from seeds import SAMPLED, finished, interval, parser, train_all
from torch import Tensor

from rlvr_cli.inspect.changed import changed_in_bf16, jaccard, jaccard_at_random
from rlvr_cli.inspect.folder import Folder, place

LAYER, EDITED = 1, ("q_proj", "k_proj", "v_proj", "o_proj")
RATE = "trainer.lr=3e-5"
"""Low enough for many entries to stay what they are in bf16: where all change, every overlap is chance's."""
LABELS: dict[str, list[str]] = {"original": [RATE], "rotated": [RATE]}
RECIPE = ("eval.at_start=false", "eval.at_end=false", "rollout=hf", "batch.prompts_per_step=8", *SAMPLED)
BINS = 256
"""Of entries by their size, equally many in each."""


@dataclass(frozen=True)
class Changed:
    """Entries of a matrix that are other numbers in bf16."""

    mask: Tensor
    by_size: Tensor
    """Share of the entries of about the same size that are."""

    @classmethod
    def of(cls, w0: Tensor, w1: Tensor) -> Changed:
        mask = changed_in_bf16(w0, w1)
        order = w0.float().abs().flatten().argsort()
        by_size = torch.empty(len(order))
        for part in order.chunk(BINS):
            by_size[part] = mask.flatten()[part].float().mean()
        return cls(mask, by_size.view(mask.shape))


Update = Mapping[str, Changed]
"""Of each matrix of a layer."""
Within = Callable[[int, str], bool]
GROUPS: dict[str, Within] = {
    f"attention of layer {LAYER}, edited": lambda layer, kind: layer == LAYER and kind in EDITED,
    f"feed-forward of layer {LAYER}": lambda layer, kind: layer == LAYER and kind not in EDITED,
    "attention of other layers": lambda layer, kind: layer != LAYER and kind in EDITED,
    "feed-forward of other layers": lambda layer, kind: layer != LAYER and kind not in EDITED,
}


def rotated(options: Namespace) -> Path:
    """The start model in another basis, made once."""
    folder = Path(options.out) / "start_rotated"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "rlvr_cli", "inspect", "rotate", str(options.model), str(folder)]
        subprocess.run([*command, "--layer", str(LAYER), "--edit", "both"], check=True)
    return folder


def matrices(start: Folder) -> Iterator[tuple[str, Tensor]]:
    for name, each in start.weights.items():
        if place(name)[0] is not None and len(each.shape) == 2:
            yield name, start.read(name)


def trained(start: Folder, final: Folder) -> Update:
    return {name: Changed.of(w0, final.read(name)) for name, w0 in matrices(start)}


def noisy(start: Folder, final: Folder, seed: int) -> Update:
    """Of noise whose norm is, matrix by matrix, that of training."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, w0 in matrices(start):
        noise = torch.randn(w0.shape, generator=generator)
        noise *= (final.read(name).float() - w0.float()).norm() / noise.norm()
        found[name] = Changed.of(w0, w0.float() + noise)
    return found


def overlap(first: Update, second: Update, within: Within) -> tuple[float, float]:
    """Jaccard over Jaccard at random, and over that of changes that follow sizes; means over the group."""
    ratios = []
    for name, one in first.items():
        layer, kind = place(name)
        if layer is None or not within(layer, kind):
            continue
        other = second[name]
        found = jaccard(
            *(float(torch.count_nonzero(x)) for x in (one.mask & other.mask, one.mask, other.mask))
        )
        random = jaccard_at_random(float(one.mask.float().mean()), float(other.mask.float().mean()))
        p, q = one.by_size, other.by_size
        ratios.append((found / random, found / jaccard(*(float(x.sum()) for x in (p * q, p, q)))))
    return mean(x for x, _ in ratios), mean(y for _, y in ratios)


def pairs(changed: Sequence[Update], turned: Sequence[Update]) -> dict[str, list[tuple[Update, Update]]]:
    """Of different seeds: no two runs share their samples, no two noises their numbers."""
    mixed = [(changed[a], turned[b]) for a, b in permutations(range(min(len(changed), len(turned))), 2)]
    return {
        "two originals": list(combinations(changed, 2)),
        "original and rotated": mixed,
        "two rotated": list(combinations(turned, 2)),
    }


def table(found: Mapping[str, Mapping[str, list[tuple[float, float]]]]) -> Iterator[str]:
    yield f"| Jaccard over chance | {' | '.join(found)} |"
    yield "|---" * (1 + len(found)) + "|"
    for group in GROUPS:
        shown = [[interval(x, 2) for x in zip(*each[group], strict=True)] for each in found.values()]
        yield f"| {group} | " + " | ".join(f"{over} ({sized})" for over, sized in shown) + " |"


def main() -> None:
    options = parser(__doc__, LABELS, model="runs/tiny_sft", out="runs/rotated", steps=10)
    options.set_defaults(seeds=3)
    given = options.parse_args()
    starts = {"original": Path(given.model), "rotated": rotated(given)}
    masks: dict[str, list[list[Update]]] = {"updates": [], "noise": []}
    for label, path in starts.items():
        wanted = Namespace(**{**vars(given), "only": [label], "model": path})
        train_all(wanted, "tiny_dapo", LABELS, RECIPE)
        start = Folder(str(path), label)
        finals = [Folder(str(run), label) for run in finished(given, label)]
        masks["updates"].append([trained(start, final) for final in finals])
        masks["noise"].append([noisy(start, final, seed) for seed, final in enumerate(finals)])
    for what, (changed, turned) in masks.items():
        shares = [
            float(torch.cat([x.mask.flatten() for x in each.values()]).float().mean())
            for each in changed + turned
        ]
        print(f"{what}: {mean(shares):.1%} of the entries are other numbers in bf16")
    found = {
        f"{what}, {name}": {
            group: [overlap(*pair, within) for pair in each] for group, within in GROUPS.items()
        }
        for what, (changed, turned) in masks.items()
        for name, each in pairs(changed, turned).items()
    }
    print("\n".join(table(found)))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
