"""The page of `rlvr inspect weights`: heat maps by layer and kind, and every number. One file, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.inspect import heat_map, weights_table
from rlvr_cli.inspect.measured import Measured, Weight, relative
from rlvr_cli.inspect.spectra import Directions, Options
from rlvr_cli.tracking.report.page import HERE

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
Number = Callable[[Weight, int], float]


def of_directions(number: Callable[[Directions], float]) -> Number:
    return lambda weight, model: number(weight.directions[model]) if weight.directions else math.nan


ENTRIES: dict[str, tuple[Number, str]] = {
    "sparsity in bf16": (lambda weight, model: weight.sparsity(model), ".1%"),
    "relative change": (lambda weight, model: relative([weight], model), ".2e"),
    "rows: dispersion of changed entries (1: at random)": (
        lambda weight, model: weight.entries.models[model].rows,
        ".1f",
    ),
    "columns: dispersion of changed entries (1: at random)": (
        lambda weight, model: weight.entries.models[model].columns,
        ".1f",
    ),
}
DIRECTIONS: dict[str, tuple[Number, str]] = {
    "spectral drift": (of_directions(lambda each: each.drift), ".1e"),
    "largest angle of the left directions, degrees": (of_directions(lambda each: each.left_max), ".2f"),
    "largest angle of the right directions, degrees": (of_directions(lambda each: each.right_max), ".2f"),
}
MASKS: dict[str, tuple[Number, str]] = {
    "changed entries in the principal mask": (of_directions(lambda each: each.principal), ".1%"),
    "changed entries in the mask of small ones": (of_directions(lambda each: each.low), ".1%"),
}


def write(measured: Measured, path: Path) -> None:
    """UserError where it cannot be written."""
    try:
        write_atomically(path, build(measured))
    except OSError as error:
        raise UserError(f"-o {path} cannot be written: {error.strerror}") from None


def build(measured: Measured) -> str:
    """The HTML. Names of folders and weights are somebody else's text, and escaped."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    title = f"weights: {Path(measured.base).name} and {len(measured.models)} of its models"
    body = [
        "<section><h2>Overview</h2>",
        f"<pre>{html.escape(chr(10).join(weights_table.lines(measured)))}</pre></section>",
    ]
    for model, name in enumerate(measured.models):
        body.append(f"<section><h2>{html.escape(name)} against {html.escape(measured.base)}</h2>")
        body += maps(measured, model)
        body.append("</section>")
    body.append("<section><h2>Every weight</h2>")
    for model, name in enumerate(measured.models):
        body.append(f"<details><summary>{html.escape(name)}</summary><div class='scroll'>")
        body += _rows(measured, model)
        body.append("</div></details>")
    body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<style>{style}</style><title>{html.escape(title)}</title></head>\n"
        f"<body><header><h1>{html.escape(title)}</h1></header><main>{''.join(body)}</main></body></html>\n"
    )


def maps(measured: Measured, model: int) -> Iterator[str]:
    """A heat map for each number that some weight of a layer has."""
    looked = measured.options
    for title, (number, form) in ENTRIES.items():
        yield from _map(measured, model, title, number, form, None)
    if looked is None:
        return
    for title, (number, form) in DIRECTIONS.items():
        yield from _map(measured, model, title, number, form, None)
    for title, (number, form) in MASKS.items():
        yield from _map(measured, model, _masked(title, looked), number, form, looked.share)


def _masked(title: str, looked: Options) -> str:
    return f"{title} (at random {looked.share:.0%})"


def _map(
    measured: Measured, model: int, title: str, number: Number, form: str, middle: float | None
) -> Iterator[str]:
    weights = [weight for weight in measured.weights if weight.counted]
    sums: dict[tuple[str, int], list[float]] = {}
    for weight in weights:
        if weight.layer is not None and math.isfinite(value := number(weight, model)):
            sums.setdefault((weight.kind, weight.layer), []).append(value)
    if not sums:
        return
    made = heat_map.Map(
        title=title,
        kinds=list(dict.fromkeys(weight.kind for weight in weights)),
        layers=sorted({weight.layer for weight in weights if weight.layer is not None}),
        values={place: sum(values) / len(values) for place, values in sums.items()},
        form=form,
        middle=middle,
    )
    yield f"<h3>{html.escape(title)}</h3><div class='scroll'>{heat_map.svg(made)}</div>"


def _rows(measured: Measured, model: int) -> Iterator[str]:
    numbers = ENTRIES | (DIRECTIONS | MASKS if measured.options is not None else {})
    heads = "".join(f"<th>{html.escape(title)}</th>" for title in ("weight", "shape", *numbers))
    yield f"<table><thead><tr>{heads}</tr></thead><tbody>"
    for weight in measured.weights:
        cells = [f"<td>{html.escape(weight.name)}</td><td>{' x '.join(map(str, weight.shape))}</td>"]
        for number, form in numbers.values():
            value = number(weight, model)
            cells.append(f'<td class="n">{format(value, form) if math.isfinite(value) else "-"}</td>')
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table>"
