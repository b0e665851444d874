"""Does training follow the basis of the weights? Updates of layers in another basis, against the original's:

    rlvr sft tiny_sft
    python benchmarks/rotated.py

The start model, and a copy that computes the same function with the attention of one layer in another basis
(`rlvr inspect rotate`: values and their output turned, heads in another order), are trained alike by RL as in
`tiny_dapo`, several seeds each. Compared is which entries have changed in bf16: Jaccard of two runs, over
what it is at random. Zhu et al. 2025 (arXiv 2511.08567) find that in edited layers the overlap with runs from
the original falls to that of chance, and that other layers keep theirs.

Two runs from the original are the control. bf16 is finer around small numbers, and numbers near the middle of
two of its neighbours round to another one sooner, so that any two updates have entries in common; none of it
is left after a rotation. The other control is therefore each run's own update with its entries shuffled in
each matrix and signs drawn: changes of the same sizes that know nothing of where they are.

Runs that are there are not made again. Writes a table (Markdown).
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
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
Update = Mapping[str, Tensor]
"""Matrix of a layer -> its entries that are other numbers in bf16."""
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
    return {name: changed_in_bf16(w0, final.read(name)) for name, w0 in matrices(start)}


def shuffled(start: Folder, final: Folder, seed: int) -> Update:
    """Of the same update with its entries anywhere in their matrix, of either sign."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, w0 in matrices(start):
        update = (final.read(name).float() - w0.float()).flatten()
        signs = torch.randint(2, update.shape, generator=generator) * 2 - 1
        moved = update[torch.randperm(len(update), generator=generator)] * signs
        found[name] = changed_in_bf16(w0, w0.float() + moved.view(w0.shape))
    return found


def overlap(first: Update, second: Update, within: Within) -> float:
    """Jaccard over Jaccard at random, mean over the group's matrices."""
    ratios = []
    for name, one in first.items():
        layer, kind = place(name)
        if layer is None or not within(layer, kind):
            continue
        other = second[name]
        found = jaccard(*(float(torch.count_nonzero(each)) for each in (one & other, one, other)))
        ratios.append(found / jaccard_at_random(float(one.float().mean()), float(other.float().mean())))
    return mean(ratios)


def pairs(changed: Sequence[Update], turned: Sequence[Update]) -> dict[str, list[tuple[Update, Update]]]:
    """Of different seeds: no two runs share their samples, no two shuffles their numbers."""
    mixed = [(changed[a], turned[b]) for a, b in permutations(range(min(len(changed), len(turned))), 2)]
    return {
        "two originals": list(combinations(changed, 2)),
        "original and rotated": mixed,
        "two rotated": list(combinations(turned, 2)),
    }


def table(found: Mapping[str, Mapping[str, list[float]]]) -> Iterator[str]:
    yield f"| Jaccard over chance | {' | '.join(found)} |"
    yield "|---" * (1 + len(found)) + "|"
    for group in GROUPS:
        yield f"| {group} | " + " | ".join(interval(each[group]) for each in found.values()) + " |"


def main() -> None:
    options = parser(__doc__, LABELS, model="runs/tiny_sft", out="runs/rotated", steps=10)
    options.set_defaults(seeds=3)
    given = options.parse_args()
    starts = {"original": Path(given.model), "rotated": rotated(given)}
    masks: dict[str, list[list[Update]]] = {"updates": [], "shuffled": []}
    for label, path in starts.items():
        wanted = Namespace(**{**vars(given), "only": [label], "model": path})
        train_all(wanted, "tiny_dapo", LABELS, RECIPE)
        start = Folder(str(path), label)
        finals = [Folder(str(run), label) for run in finished(given, label)]
        masks["updates"].append([trained(start, final) for final in finals])
        masks["shuffled"].append([shuffled(start, final, seed) for seed, final in enumerate(finals)])
    for what, (changed, turned) in masks.items():
        shares = [
            float(torch.cat([x.flatten() for x in each.values()]).float().mean()) for each in changed + turned
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
