"""One-token verification in small: what votes and early ends gain and save, over several seeds.

    python benchmarks/otv.py --seeds 3

Each seed is a chain of its own: `tiny_progression_sft` learns a rule, and to err in one digit of
twenty-five; its samples of train problems are recorded; `tiny_otv` learns from their outcomes which end
right; held-out problems are sampled k times: to the end, with every rule replayed on the same samples, and
once more with `--prune` really ending them early; then half as often. The control learns from shuffled
outcomes.

Errors are also planted: `tiny_otv` learns once more, from a right and a wrong answer to each of 2,000 other
problems, written by the rule and not by the model, and tells those of a tenth of them apart.

A run that is there is not made again. Writes two tables (Markdown).
"""

from __future__ import annotations

import json
import os
import random
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import started
from seeds import interval

from rlvr_cli.data.progression import continued, progression
from rlvr_cli.tracking.results import WAYS

BENCH = "benches.progression"
RULES = ("select.every=4", "select.ema=0", "select.min_tokens=8", "select.below=0.3", "select.above=0.8")
PLANTED, TERMS, ERRORS = 2000, 16, 4
"""Problems with planted errors, digits of an answer, and percent of them at which one is made."""
Summary = dict[str, float]


def rlvr(*arguments: str) -> None:
    done = started.rlvr([*arguments, "tracker.wandb=disabled"])
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")


def evaluated(out: Path, model: Path, *more: str) -> dict[str, Any]:
    """The result of the bench, sampled where it is not there."""
    file = out / "progression.json"
    if not file.is_file():
        rlvr("eval", "--model", str(model), "--bench", "progression", "rollout=hf", f"out={out}", *more)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def trained(verb: str, recipe: str, out: Path, seed: int, *more: str) -> Path:
    if not (out / "final").is_dir():
        rlvr(verb, recipe, f"out={out}", f"seed={seed}", "trainer.ranks=1", *more)
    return out


def shuffled(rows: Path, to: Path, seed: int) -> Path:
    """The same samples, their outcomes dealt anew."""
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    outcomes = [row["correct"] for row in found]
    random.Random(seed).shuffle(outcomes)
    to.parent.mkdir(parents=True, exist_ok=True)
    mixed = (row | {"correct": ok} for row, ok in zip(found, outcomes, strict=True))
    to.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    return to


def planted(to: Path, seed: int) -> Path:
    """A right and a wrong answer to each of `PLANTED` problems, in rows as samples are recorded."""
    rng, to = random.Random(f"planted {seed}"), to / "rows.jsonl"
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w") as rows:
        for _ in range(PLANTED):
            prompt, answer, _ = progression(rng, TERMS, 0)
            start, wanted = [int(digit) for digit in prompt[-3:-1]], {True, False}
            while wanted:
                digits = continued(rng, start, TERMS, ERRORS)
                if (right := digits.endswith(answer)) in wanted:
                    wanted.remove(right)
                    row = {
                        "prompt": prompt,
                        "response": f"{digits} \\boxed{{{digits[-2:]}}}",
                        "correct": right,
                    }
                    rows.write(json.dumps(row) + "\n")
    return to


def told_apart(verifier: Path) -> float:
    """AUROC of the held-out rows of a verifier's own data, at their ends."""
    found: float = json.loads((verifier / "final" / "one_token.json").read_text())["measured"]["auroc"]
    return found


def one_seed(folder: Path, seed: int, k: int, prune: str) -> tuple[Summary, Summary, Summary, Summary, float]:
    """Summaries of full sampling, of samples really ended early, of the control and of half as many samples;
    the AUROC of planted errors."""
    model = trained("sft", "tiny_progression_sft", folder / "sft", seed)
    rows = planted(folder / "planted_rows", seed)
    apart = trained(
        "otv", "tiny_otv", folder / "planted", seed, f"model.path={model}", f"data.train.path={rows}"
    )
    train = (f"{BENCH}.source.split=train", f"{BENCH}.source.options.size=512", "samples=jsonl", "-k", "8")
    evaluated(folder / "samples", model, *train)
    rows = folder / "samples" / "progression.samples.jsonl"
    verifiers = {
        "otv": trained(
            "otv", "tiny_otv", folder / "otv", seed, f"model.path={model}", f"data.train.path={rows}"
        )
    }
    mixed = shuffled(rows, folder / "control_samples" / "rows.jsonl", seed)
    control = (f"model.path={model}", f"data.train.path={mixed}")
    verifiers["control"] = trained("otv", "tiny_otv", folder / "control", seed, *control)
    asked = ("-k", str(k), "--select", "otv", *RULES)
    full, other = (
        evaluated(folder / f"full_{name}", model, *asked, f"select.verifier={verifier}")["summary"]
        for name, verifier in verifiers.items()
    )
    ended = (f"select.prune={prune}", f"select.full={folder / 'full_otv' / 'progression.json'}")
    early = evaluated(
        folder / f"early_{prune}", model, *asked, f"select.verifier={verifiers['otv']}", *ended
    )["summary"]
    few = ("-k", str(k // 2), *asked[2:], f"select.verifier={verifiers['otv']}")
    fewer = evaluated(folder / "fewer", model, *few)["summary"]
    return full, early, other, fewer, told_apart(apart)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/otv"), help="where the runs go")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-k", type=int, default=8, help="samples of each held-out problem")
    parser.add_argument("--prune", default="halving", choices=("halving", "threshold", "winner"))
    started.add(parser)
    options = parser.parse_args()
    started.prepare(len(os.sched_getaffinity(0)), options.fork)  # models so small gain nothing by threads
    out, k = options.out, options.k
    found = [one_seed(out / f"seed{seed}", seed, k, options.prune) for seed in range(options.seeds)]
    full, early, control, fewer, areas = (list(each) for each in zip(*found, strict=True))
    print("| answer by | right | tokens saved | right, control |\n|---|---|---|---|")
    for way in WAYS:
        saved = [each[f"{way}_saved"] for each in full] if f"{way}_saved" in full[0] else []
        right, other = (interval([each[f"{way}@{k}"] for each in side]) for side in (full, control))
        print(f"| {way}@{k} | {right} | {interval(saved) if saved else '0'} | {other} |")
    name = f"{options.prune}@{k}"
    right, saved = interval([e[name] for e in early]), interval([e[f"{options.prune}_saved"] for e in early])
    print(f"| {name}, really ended | {right} | {saved} | |")
    for way in ("maj", "weighted", "threshold"):
        right = interval([each[f"{way}@{k // 2}"] for each in fewer])
        kept = [
            few.get(f"{way}_tokens", few["tokens"]) / all_["tokens"]
            for few, all_ in zip(fewer, full, strict=True)
        ]
        print(f"| {way}@{k // 2} | {right} | {interval([1 - share for share in kept])} | |")
    print("\n| | AUROC | one sample right |\n|---|---|---|")
    for title, side in (("one-token verifier", full), ("shuffled outcomes", control)):
        area, right = (interval([each[key] for each in side]) for key in ("auroc", f"avg@{k}"))
        print(f"| {title} | {area} | {right} |")
    print(f"| planted errors | {interval(areas)} | 0.500 |")


if __name__ == "__main__":
    main()
