"""Training all weights, adapters, or some entries of the weights, in RL and in SFT:

    rlvr sft tiny_sft
    python benchmarks/adapters.py

All runs start from `runs/tiny_sft` and learn two-digit sums for the same number of steps: RL as in
`tiny_dapo`, SFT on worked solutions as in `tiny_sft`. LoRA and DoRA have ten times the rate of training all
weights; rsLoRA and PiSSA the best of three in SFT (seed 0: `--seeds 1 --out OTHER trainer.lr=RATE`). Each
final model is measured on sums that no training has seen, and compared with the start: how far the linear
layers' weights have moved, and which share of the squared change lies on principal entries of the start
(those of `PRINCIPAL`, half of all: .5 is what a change at random entries has).

A run that is there is not made again: an interrupted benchmark goes on, and `--seeds` can be raised. Writes a
table (Markdown) for each kind of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

import torch
from safetensors.torch import load_file
from seeds import SAMPLED, Measured, all_measured, interval, measure, only, parser, show, train_all
from torch import Tensor

from rlvr_cli.core.weight_masks import principal_mask

RANK = 8
PRINCIPAL = (16, 0.5)
"""Singular values and share of `model.mask.rank` and `share`, in the masks and in what is measured."""
MASKED = f"model.mask.rank={PRINCIPAL[0]} model.mask.share={PRINCIPAL[1]}".split()
ADAPTED = (f"model.lora.rank={RANK}", f"model.lora.alpha={2 * RANK}")
ARMS: dict[str, list[str]] = {
    "full": [],
    "lora": [*ADAPTED],
    "rslora": [*ADAPTED, "model.lora.rank_stabilised=true"],
    "pissa": [*ADAPTED, "model.lora.init=pissa"],
    "dora": [*ADAPTED, "model.lora.dora=true"],
    "principal": ["model.mask.kind=principal", *MASKED],
    "low_magnitude": ["model.mask.kind=low_magnitude", MASKED[1]],
    "off_principal": ["model.mask.kind=off_principal", *MASKED],
    "random": ["model.mask.kind=random", MASKED[1]],
    "random_off_principal": ["model.mask.kind=random_off_principal", *MASKED],
}
"""What trains -> its settings."""
RATE = 2e-4
"""Of training all weights, and of masks."""
RATES = {"lora": 2e-3, "rslora": 1e-3, "pissa": 4e-4, "dora": 2e-3}
QUIET_RL = ("eval.at_start=false", "eval.at_end=false", "rollout=hf", *SAMPLED)
QUIET_SFT = ("eval.every=null", "eval.stop_at=null", "trainer.warmup_steps=0")
KINDS = {
    "rl": ("tiny_dapo", *QUIET_RL),
    "sft": ("tiny_sft", *QUIET_SFT),
}
"""Recipe and settings of all its runs."""


def labels_of(kind: str) -> dict[str, list[str]]:
    """Label -> settings. Under masks embedding, norms and output layer are frozen, as under adapters."""
    found = {}
    for arm, settings in ARMS.items():
        frozen = ["model.mask.train_others=false"] if any("mask" in each for each in settings) else []
        found[f"{kind}, {arm}"] = [*settings, *frozen, f"trainer.lr={RATES.get(arm, RATE):g}"]
    return found


def weights_of(model: Path) -> dict[str, Tensor]:
    folder = model / "final" if (model / "final").is_dir() else model
    return load_file(folder / "model.safetensors")


def moved(start: Mapping[str, Tensor], masks: Mapping[str, Tensor], model: Path) -> Measured:
    """Size of the layers' change over that of their weights, and its part on principal entries."""
    end = weights_of(model)
    changes = {name: (end[name].double() - start[name].double()).square() for name in masks}
    whole = sum(float(change.sum()) for change in changes.values())
    principal = sum(float(changes[name][mask].sum()) for name, mask in masks.items())
    size = sum(float(start[name].double().square().sum()) for name in masks)
    return {"moved": (whole / size) ** 0.5, "principal": principal / whole if whole else float("nan")}


def table(start: Measured, results: Mapping[str, Sequence[Measured]]) -> Iterator[str]:
    yield "| | seeds | right | least | change, % | on principal entries |"
    yield "|---|---|---|---|---|---|"
    yield f"| start | | {start['right']:.3f} | | | |"
    for label, found in results.items():
        right = [each["right"] for each in found]
        change = mean(each["moved"] for each in found)
        yield (
            f"| {label} | {len(found)} | {interval(right)} | {min(right):.3f} | {100 * change:.2f} "
            f"| {interval([each['principal'] for each in found])} |"
        )


def main() -> None:
    by_kind = {kind: labels_of(kind) for kind in KINDS}
    labels = {label: settings for each in by_kind.values() for label, settings in each.items()}
    options = parser(__doc__, labels, model="runs/tiny_sft", out="runs/adapters", steps=40).parse_args()
    model = Path(options.model)
    start = measure(model, Path(options.out) / "start_eval")
    for kind, (recipe, *more) in KINDS.items():
        train_all(only(options, by_kind[kind]), recipe, labels, more)
    before = weights_of(model)
    layers = [name for name, weight in before.items() if weight.dim() == 2 and ".layers." in name]
    with torch.no_grad():
        masks = {name: principal_mask(before[name], *PRINCIPAL) for name in layers}
    results = all_measured(options, lambda _, run: moved(before, masks, run))
    show(options, table(start, results), {"start": start, **results})


if __name__ == "__main__":
    main()
