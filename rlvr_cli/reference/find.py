"""Which keys a user's word means, and what is near to one that means none."""

from __future__ import annotations

import difflib
import re
from functools import cache

from rlvr_cli.core.errors import UserError
from rlvr_cli.reference.keys import NAMED, Key, all_keys, picked
from rlvr_cli.reference.pages import Metric, metrics


def expanded(given: str) -> str:
    """A key as it stands in a recipe: without marks and value of an override, and with dots.

    `+verifiers.x.weight=2`, `algorithm/kl=loss`; `verifier=math.weight` and `environment=guess.most`, as
    lists of keys write them.
    """
    word = given.strip().lstrip("+~")
    if found := re.fullmatch(r"(verifier|environment)=(\w+)\.([\w.]+)", word):
        return f"{found[1]}s.{found[2]}.{found[3]}"
    if re.match(r"algorithm[./]\w+=", word):
        return word.replace("/", ".", 1)
    word = word.partition("=")[0]
    return word.replace("/", ".") if word.startswith("algorithm/") else word


def find(word: str) -> list[Key]:
    """The keys of that path, of all kinds of recipe, options, verifiers and environments that have it."""
    of, path = "", word
    if found := re.fullmatch(r"algorithm\.(\w+)=(\w+)\.(\w+)", word):
        of, path = f"{found[1]}={found[2]}", f"algorithm.{found[1]}.{found[3]}"
    if found := re.fullmatch(r"(?:eval\.)?benches\.[^.]+\.(verifier|environment)\.([\w.]+)", word):
        path = f"{found[1]}s.{NAMED}.{found[2]}"
    if found := re.fullmatch(r"stages\.[^.]+\.shaping\.(\w+)", word):
        path = f"algorithm.shaping.{found[1]}"
    mine = path.split(".")
    keys = [key for theirs, key in _parted() if _fits(mine, theirs) and of in ("", key.of)]
    if found := re.fullmatch(r"(verifiers|environments)\.([^.]+)\.([\w.]+)", path):
        own = [key for key in keys if key.of == found[2]]
        if not own and found[2] in picked()[found[1]] and keys:
            having = ", ".join(dict.fromkeys(key.of for key in keys))
            raise UserError(f"explain: {found[2]} has no '{found[3]}'; these have: {having}")
        return own or keys
    if not keys and re.fullmatch(r"algorithm\.\w+", path):
        return [key for key in all_keys() if key.path.startswith(f"{path}.")][:1]
    return keys


@cache
def _parted() -> list[tuple[list[str], Key]]:
    return [(key.path.split("."), key) for key in all_keys()]


def _fits(mine: list[str], theirs: list[str]) -> bool:
    if len(mine) == len(theirs):
        return all(a == b or (b == NAMED and a) for a, b in zip(mine, theirs, strict=True))
    # `data.train` is an entry of the section `data`
    return len(mine) == len(theirs) + 1 and mine[:-1] == theirs and _holds_named(".".join(theirs))


@cache
def _holds_named(path: str) -> bool:
    return any(key.path.startswith(f"{path}.{NAMED}.") for key in all_keys())


def metric_named(word: str) -> Metric | None:
    """The metric of that name, as a page or as a run writes it; also without `eval/<bench>/`."""
    exact = [metric for metric in metrics() if metric.name in (word, f"eval/<bench>/{word}")]
    return next(iter(exact or [metric for metric in metrics() if metric.fits(word)]), None)


def near(word: str) -> str:
    """What may have been meant, to be put behind a message: keys that end so, or are written alike."""
    paths = list(dict.fromkeys(key.path for key in all_keys()))
    last = word.rpartition(".")[2]
    ends = [path for path in paths if path.rpartition(".")[2] == last]
    if "." in word:
        ends = difflib.get_close_matches(word, ends, n=3, cutoff=0.5) or ends[:0]
    known = [*paths, *(metric.name for metric in metrics())]
    found = ends or difflib.get_close_matches(word, known, n=3, cutoff=0.7)
    if not found:
        lasts = {path.rpartition(".")[2]: path for path in reversed(paths)}
        found = [lasts[each] for each in difflib.get_close_matches(last, lasts, n=2, cutoff=0.75)]
    if not found:
        return "; rlvr list shows what there is, docs/reference.md has every key"
    return f"; did you mean {' or '.join(found[:6])}?"
