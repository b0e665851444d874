"""A profile on the terminal: how hard the problems are, and what a band of pass rates would save."""

from __future__ import annotations

from collections import Counter

from rlvr_cli.data.profiles import Row
from rlvr_cli.schema import ProfileRecipe
from rlvr_cli.schema.score_names import powers

BANDS = ((0.05, 0.95), (0.1, 0.9), (0.2, 0.8))
ENOUGH = 0.05
"""Share of the sampled tokens that is worth a band, and by which a narrower one has to save more."""
PRIOR = 0.5
"""Of right and of wrong samples before any: a problem solved 0 of 16 times is not one that never is."""
BAR = 30


def lines_of(rows: list[Row], recipe: ProfileRecipe) -> dict[str, str]:
    """What -> what was found, in the order of interest."""
    judged = [row for row in rows if row["judged"]]
    lines = {"profiled": f"{len(rows)} problems x {recipe.k} samples"}
    if len(judged) < len(rows):
        lines["without a verdict"] = f"{len(rows) - len(judged)} problems, which are in no number below"
    if judged:
        lines |= {f"pass rate {name}": bar(count, len(judged)) for name, count in histogram(judged).items()}
        tried = [j for j in powers(recipe.k) if any(row.get(f"pass@{j}") is not None for row in judged)]
        lines["pass@k"] = ", ".join(f"@{j} {_mean(judged, f'pass@{j}'):.1%}" for j in tried)
        sources = dict.fromkeys(row["source"] for row in judged)
        for name in sources if len(sources) > 1 else ():
            lines[f"data.{name}"] = _source([row for row in judged if row["source"] == name])
    if labels := [row for row in rows if row.get("label") is not None]:
        right = sum(row["label_right"] for row in labels) / len(labels)
        lines["majority labels"] = f"{len(labels)} problems have one, {right:.1%} of them right"
    reasons = Counter[str]()
    for row in rows:
        reasons.update(row["reasons"])
    total = sum(reasons.values())
    lines["verdicts"] = ", ".join(f"{name} {count / total:.1%}" for name, count in reasons.most_common())
    cut = sum(row["truncated"] for row in rows) / len(rows)
    lines["a response"] = (
        f"{sum(row['tokens'] for row in rows) / len(rows):.0f} tokens, {cut:.1%} cut at the limit"
    )
    return lines | (advice(judged, recipe) if judged else {})


def _mean(rows: list[Row], name: str) -> float:
    found = [row[name] for row in rows if row.get(name) is not None]
    return sum(found) / len(found)


def _source(rows: list[Row]) -> str:
    never, always = (
        sum(row["correct"] == at(row) for row in rows) for at in (lambda r: 0, lambda r: r["judged"])
    )
    return (
        f"{len(rows)} problems, pass rate {_mean(rows, 'pass@1'):.1%}; "
        f"never solved {never / len(rows):.1%}, always {always / len(rows):.1%}"
    )


def rate(row: Row) -> float:
    return float(row["correct"] / row["judged"])


def histogram(rows: list[Row]) -> dict[str, int]:
    """Problems by pass rate: never, in fifths, always solved."""
    names = ["0 (never)", "to 0.2", "to 0.4", "to 0.6", "to 0.8", "below 1", "1 (always)"]
    places = [
        0 if row["correct"] == 0 else 6 if row["correct"] == row["judged"] else 1 + _fifth(row)
        for row in rows
    ]
    return {name: places.count(place) for place, name in enumerate(names)}


def _fifth(row: Row) -> int:
    """0 to 4, upper ends included; in whole numbers, as 3/5 is not 0.6 in binary."""
    return int((5 * row["correct"] - 1) // row["judged"])


def bar(count: int, total: int) -> str:
    return f"{count:>6}  {count / total:>6.1%}  {'█' * round(BAR * count / total)}".rstrip()


def signal(row: Row, group_size: int) -> float:
    """Chance that a group has right and wrong samples, over what the pass rate may be after these counts
    (Beta with PRIOR before them). 1 where all have the same correctness, and scores differ all the same."""
    right, wrong = row["correct"], row["judged"] - row["correct"]
    if row["score_varies"] and not (right and wrong):
        return 1.0
    return 1 - _all_of(right, wrong, group_size) - _all_of(wrong, right, group_size)


def _all_of(these: float, others: float, size: int) -> float:
    """E[p^size] for p ~ Beta(these + PRIOR, others + PRIOR)."""
    chance = 1.0
    for n in range(size):
        chance *= (these + PRIOR + n) / (these + others + 2 * PRIOR + n)
    return chance


def cost(rows: list[Row], group_size: int) -> float:
    """Sampled tokens for each group with a signal, where all problems come equally often."""
    return group_size * sum(row["tokens"] for row in rows) / sum(signal(row, group_size) for row in rows)


def savings(rows: list[Row], recipe: ProfileRecipe) -> dict[tuple[float, float], tuple[int, float]]:
    """Band -> (problems it keeps, share of the tokens per group with a signal that it saves).

    Without bands that keep fewer problems than a step takes.
    """
    whole = cost(rows, recipe.group_size)
    found = {}
    for low, high in BANDS:
        kept = [row for row in rows if low <= rate(row) <= high]
        if len(kept) >= recipe.prompts_per_step:
            found[low, high] = len(kept), 1 - cost(kept, recipe.group_size) / whole
    return found


def advice(rows: list[Row], recipe: ProfileRecipe) -> dict[str, str]:
    """What bands cost, and the widest of those that save about as much as any."""
    size = recipe.group_size
    lines = {"all problems": f"a group of {size} with a signal costs {cost(rows, size):,.0f} sampled tokens"}
    found = savings(rows, recipe)
    for (low, high), (count, saved) in found.items():
        lines[f"band [{low:g}, {high:g}]"] = f"keeps {count} ({count / len(rows):.0%}), tokens {-saved:+.0%}"
    partly = sum(row["score_varies"] and row["correct"] in (0, row["judged"]) for row in rows)
    if partly:
        lines["partial credit"] = (
            f"{partly} problems are never or always solved and their scores differ: a band leaves them out"
        )
    best = max((saved for _, saved in found.values()), default=0.0)
    if best < ENOUGH:
        few = f"no band keeps the {recipe.prompts_per_step} problems of one step"
        return lines | {"advice": "no band: the best saves little" if found else few}
    (low, high), (_, saved) = next(item for item in found.items() if item[1][1] >= best - ENOUGH)
    return lines | {
        "advice": f"data.<source>.difficulty={{file: {recipe.file}, band: [{low:g}, {high:g}]}} saves about "
        f"{saved:.0%} of the sampled tokens for each group with a signal"
    }
