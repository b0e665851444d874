"""Numbers, series and foreign text as they fit on a terminal."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def printable(text: str) -> str:
    """`text` without control characters: a model's output must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def number(value: float) -> str:
    """About three digits, at most seven characters for anything a metric is."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if size < 0.001:
        return f"{value:.1e}"
    return f"{value:,.{3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0}f}"


def sparkline(values: list[float], width: int) -> str:
    """The values, averaged into at most `width` buckets, as bars between their least and largest."""
    finite = [value for value in values if math.isfinite(value)]
    count = min(width, len(finite))
    if count < 2:
        return ""
    edges = [index * len(finite) // count for index in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    flat = span <= 1e-6 * max(abs(mean) for mean in means)  # rounding in the averages is no movement
    return "".join("▁▂▃▄▅▆▇█"[0 if flat else round(7 * (mean - low) / span)] for mean in means)


def excerpt(text: str, width: int, lines: int, console: Console) -> list[Text]:
    """`text` in at most `lines` lines, cut in its middle: problems and answers stand at the ends."""
    from rich.text import Text

    text = printable(text.strip())
    size = lines * width
    if len(text) > 2 * size:  # wrapping all of a long response would take longer than the step
        text = f"{text[:size]} … {text[-size:]}"
    wrapped = list(Text(text).wrap(console, width))
    if len(wrapped) <= lines:
        return wrapped
    if lines == 1:
        return wrapped[-1:]
    head = (lines - 1) // 2
    return [*wrapped[:head], Text("…", "dim"), *wrapped[head + 1 - lines :]]
