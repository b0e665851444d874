"""What the courses of many samples have in common: numbers, the lines that are printed, a picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from rlvr_cli.core.files import write_atomically
from rlvr_cli.inspect import course, summaries
from rlvr_cli.inspect.columns import table
from rlvr_cli.inspect.trajectories import SHARES, Traced, Traces
from rlvr_cli.tracking.journal import jsonable, to_line
from rlvr_cli.tracking.plots import COLOURS, STYLE

STEPS = 20
"""Parts of the thinking for which a mean curve has points."""
KINDS = {"right": True, "wrong": False}
TURN = 0.05
"""Least change of the likelihood that is printed as a turn."""
LINES = 12
"""Single responses in the picture, and turns that are printed at most."""


def summary(found: Traces) -> dict[str, Any]:
    """All numbers over samples."""
    traced, kinds = found.traced, {name: _of(found.traced, value) for name, value in KINDS.items()}
    sure = [
        place / each.thought
        for each in traced
        if (place := course.settled(each.course)) is not None and each.thought
    ]
    saved = [
        1 - place / each.thought
        for each in traced
        if (place := course.enough(each.course)) is not None and each.thought
    ]
    return {
        "about": found.source.about,
        "model": found.model,
        "every": found.settings.every,
        "ask": found.settings.lead,
        "samples": len(traced),
        "right": sum(each.sample.correct is True for each in traced),
        "curves": {name: _mean_curve(some) for name, some in {"all": traced, **kinds}.items() if some},
        "cut": {name: _cut(some) for name, some in {"all": traced, **kinds}.items() if some},
        "sure": {"samples": len(sure), "median_share": median(sure) if sure else None},
        "enough": {"samples": len(saved), "mean_saved": fmean(saved) if saved else None},
        "effects": {
            word: asdict(each)
            for word, each in course.effects((t.course for t in traced), found.settings.every).items()
        },
        **_summaries(found),
        "told": found.told,
    }


def as_json(numbers: dict[str, Any]) -> dict[str, Any]:
    """Plain values; what is not finite is null."""
    return dict(jsonable(numbers))


def write(found: Traces, numbers: dict[str, Any]) -> list[Path]:
    """Curves as JSON lines (the first has the numbers over all), and the picture; their paths."""
    stem = found.source.place
    rows = [{"summary": numbers}, *(each.row(found.settings) for each in found.traced)]
    files = [stem.with_name(f"{stem.name}.jsonl"), stem.with_name(f"{stem.name}.png")]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    write_atomically(files[0], "".join(to_line(row) for row in rows))
    write_atomically(files[1], picture(found, numbers))
    return files


def _of(traced: Sequence[Traced], correct: bool) -> list[Traced]:
    return [each for each in traced if each.sample.correct is correct]


def _mean_curve(traced: Sequence[Traced]) -> list[float]:
    """Mean likelihood at 0, 1/STEPS, ..., 1 of the thinking, linear between places."""
    grid = np.linspace(0, 1, STEPS + 1)
    each = [
        np.interp(grid, np.array(t.course.places) / max(1, t.thought), t.course.confidences) for t in traced
    ]
    return [round(float(x), 5) for x in np.mean(each, axis=0)]


def _cut(traced: Sequence[Traced]) -> dict[str, dict[str, float]]:
    """Share of the thinking that is seen -> mean likelihood of the answer, and how many greedy answers are
    right."""
    found = {}
    for share in SHARES:
        at = [each.course.at(round(share * each.thought)) for each in traced]
        likely = [each.course.confidences[n] for each, n in zip(traced, at, strict=True)]
        right = [each.course.right[n] for each, n in zip(traced, at, strict=True)]
        found[f"{share:g}"] = {"likelihood": fmean(likely), "greedy_right": fmean(right)}
    return found


def _summaries(found: Traces) -> dict[str, Any]:
    """What summaries of the thinking are worth, of samples that have any; nothing where none were wanted."""
    if (wanted := found.settings.summaries) is None:
        return {}
    of = {"all": found.traced, **{name: _of(found.traced, value) for name, value in KINDS.items()}}
    each = {
        name: summaries.numbers([(t.summaries, t.thought) for t in some], wanted.count)
        for name, some in of.items()
    }
    return {
        "summaries": {name: numbers for name, numbers in each.items() if numbers is not None},
        "summary_model": found.settings.summary_model or found.model,
    }


def lines(found: Traces, numbers: dict[str, Any]) -> Iterator[str]:
    """What is printed."""
    yield f"{numbers['about']}, {numbers['right']} of them right; {found.model} is asked for the gold answer"
    yield from found.told
    yield ""
    cut = numbers["cut"]
    yield from table(
        ("thinking seen", *(f"{share:.0%}" for share in SHARES)),
        [
            *(
                (f"likelihood, {name} samples", *(f"{cut[name][f'{s:g}']['likelihood']:.3f}" for s in SHARES))
                for name in cut
            ),
            *(
                (
                    f"cut here: right, {name} samples",
                    *(f"{cut[name][f'{s:g}']['greedy_right']:.1%}" for s in SHARES),
                )
                for name in cut
            ),
        ],
    )
    yield ""
    every = f"every {found.settings.every} tokens" if found.settings.every > 1 else "every token"
    yield from table(
        ("word", "count", "effect", "median", "change of L"),
        [
            (
                every if word == "all" else word,
                str(each["count"]),
                f"{each['mean']:.2f}",
                f"{each['median']:.2f}",
                f"{each['change']:+.3f}",
            )
            for word, each in numbers["effects"].items()
        ],
    )
    yield ""
    yield from _sentences(found, numbers)
    if numbers.get("summaries"):
        yield ""
        yield from _of_summaries(numbers)


def _of_summaries(numbers: dict[str, Any]) -> Iterator[str]:
    """The answer after a summary, between no thinking and all of it."""
    rows: list[tuple[str, ...]] = []
    told = numbers["summaries"]
    count = told["all"]["count"]
    for name, each in told.items():
        none, whole = numbers["cut"][name]["0"], numbers["cut"][name]["1"]
        likely = (f"{none['likelihood']:.3f}", f"{each['likelihood']:.3f}", "", f"{whole['likelihood']:.3f}")
        rows.append((f"likelihood, {name} samples", *likely))
        right = (none["greedy_right"], each["greedy_right"], each["any_right"], whole["greedy_right"])
        rows.append((f"right, {name} samples", *(f"{share:.1%}" for share in right)))
    yield from table(("in its place", "nothing", "a summary", f"any of {count}", "the thinking"), rows)
    each = told["all"]
    yield (
        f"summaries by {numbers['summary_model']}: in the median {each['median_length']:.0%} of the "
        f"thinking's tokens; {each['finished']:.0%} ended by themselves, {each['names']:.0%} name the gold "
        "answer"
    )


def _sentences(found: Traces, numbers: dict[str, Any]) -> Iterator[str]:
    sure, enough, samples = numbers["sure"], numbers["enough"], numbers["samples"]
    at = f", in the median from {sure['median_share']:.0%} of the thinking on" if sure["samples"] else ""
    yield f"likelier than a half at the end: {sure['samples']} of {samples} samples{at}"
    less = f"; {enough['mean_saved']:.0%} of their thinking comes after it" if enough["samples"] else ""
    yield f"greedily right from some place on: {enough['samples']} of {samples} samples{less}"
    turns = [(turning, each) for each in found.traced if (turning := course.turn(each.course)) is not None]
    turns = [(turning, each) for turning, each in turns if abs(turning[2]) >= TURN]
    largest = sorted(turns, key=lambda pair: -abs(pair[0][2]))[:LINES]
    if largest:
        yield "largest turns:"
    for (before, after, change), each in largest:
        key, text = each.sample.key, "".join(each.pieces[before:after])
        where = f"prompt {key['index']}, sample {key['sample']}, tokens {before}-{after}"
        yield f"  {change:+.2f}  {where}: {text!r}"


def picture(found: Traces, numbers: dict[str, Any]) -> bytes:
    """PNG: mean likelihood of right and wrong samples over the thinking, and single responses by token."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    colours = {"right": COLOURS[2], "wrong": COLOURS[1], "all": COLOURS[0]}
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        means, single = figure.subplots(1, 2)
        grid = np.linspace(0, 100, STEPS + 1)
        for name, curve in numbers["curves"].items():
            means.plot(grid, curve, color=colours[name], label=f"{name} samples")
        some = found.traced[:: max(1, len(found.traced) // LINES)][:LINES]
        for each in some:
            named = next((name for name, value in KINDS.items() if value is each.sample.correct), None)
            colour = colours[named] if named else COLOURS[6]
            single.plot(each.course.places, each.course.confidences, color=colour, linewidth=0.9, alpha=0.8)
        means.set(title="likelihood of the gold answer", xlabel="% of the thinking seen", ylim=(-0.02, 1.02))
        means.legend(loc="upper left")
        single.set(title=f"{len(some)} responses", xlabel="tokens of the response seen", ylim=(-0.02, 1.02))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
