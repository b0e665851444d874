"""What responses are like as texts: words of reflection, repetition, mixed scripts, n-grams of their own.

Every number is a sum over responses and a count, so that shards of a step add up to the step (`Sums`). A
description of outputs, and no measure of how good they are: neither VLAA-Thinking (2504.11468) nor
SimpleRL-Zoo (2503.18892) finds reflection words to go with scores. No torch.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, islice

import numpy as np

LEXICON = (
    "re-check re-evaluate re-examine re-think recheck reevaluate reexamine reevaluation rethink "
    "check_again think_again try_again verify wait yet"
)
"""The 15 of V-Triune (2505.18129), `_` for the blank; "wait" and "yet" are often ordinary words."""
AHA = "alternatively double-check i_should_check wait"
"""Phrases that VLAA-Thinking (2504.11468) names, `_` for the blank; the paper may have counted more."""


def _any_of(phrases: str) -> re.Pattern[str]:
    """Finds each of them as whole words in a text in lower case. The first letter is asked for first, which
    is what makes it fast."""
    each = [r"\s+".join(map(re.escape, phrase.split("_"))) for phrase in phrases.split()]
    return re.compile(rf"\b(?=[{''.join(sorted({one[0] for one in each}))}])(?:{'|'.join(each)})\b")


_REFLECTION, _AHA = _any_of(LEXICON), _any_of(f"{AHA} double_check")
REPEATED = 3
"""Words of an n-gram that counts as said again, as in Open-R1's repetition penalty."""
NOVEL = 4
"""Words of an n-gram that counts as a response's own."""
MIXED = 0.05
"""Share of letters in another script than the text's commonest, above which a text is mixed."""
FEW = 20
"""Letters below which no script is looked at."""
_ONE_WRITING = {"hiragana": "han", "katakana": "han", "hangul": "han", "bopomofo": "han"}
"""Scripts that are written with ideographs; Chinese and Japanese are not told apart."""
Sums = dict[str, tuple[float, int]]
"""Name -> (sum, count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A response as it is looked at."""

    response: str
    tokens: int
    correct: float | None
    """1 or 0; None: no verdict says which."""
    source: str


def reflections(text: str) -> int:
    """How often a word of LEXICON stands in it: whole words, in any case."""
    return sum(1 for _ in _REFLECTION.finditer(text.lower()))


def ahas(text: str) -> int:
    """How often a phrase of AHA stands in it: whole words, in any case; also `double check`."""
    return sum(1 for _ in _AHA.finditer(text.lower()))


def repeated(text: str, size: int = REPEATED) -> float | None:
    """1 - different n-grams / n-grams of words, in lower case (Open-R1); None for fewer than n words."""
    return _repeated(_words(text), size)


def _repeated(words: np.ndarray, size: int = REPEATED) -> float | None:
    grams = _grams(words, size)
    return None if not len(grams) else 1 - len(np.unique(grams)) / len(grams)


def mixed(text: str) -> float | None:
    """Share of letters that are in another script than most; None below FEW letters.

    A letter that stands alone is a symbol (x, α) and does not count.
    """
    if text.isascii():
        return None if len(list(islice(filter(str.isalpha, text), FEW))) < FEW else 0.0
    found: Counter[str] = Counter()
    for is_letter, run in groupby(text, str.isalpha):
        letters = list(run) if is_letter else []
        if len(letters) > 1:
            found.update(map(script, letters))
    total = found.total()
    return None if total < FEW else 1 - max(found.values()) / total


@lru_cache(maxsize=1 << 16)
def script(letter: str) -> str:
    """The first word of a letter's Unicode name, in lower case; scripts used with ideographs are han."""
    name = unicodedata.name(letter, "")
    found = "han" if name.startswith("CJK") else name.partition(" ")[0].lower()
    return _ONE_WRITING.get(found, found)


def novel(prompt: str, responses: Sequence[str], size: int = NOVEL) -> list[float | None]:
    """Of each response of a problem, the share of its different n-grams that stand neither in the prompt nor
    in another response; None for one without n-grams. A response that is there twice has none of its own."""
    return _novel([_words(text) for text in (*responses, prompt)], size)


def _novel(texts: list[np.ndarray], size: int = NOVEL) -> list[float | None]:
    """The last of the texts is the prompt."""
    grams = [np.unique(_grams(words, size)) for words in texts]
    _, which, times = np.unique(np.concatenate(grams), return_inverse=True, return_counts=True)
    alone = times[which] == 1
    ends = np.cumsum([len(own) for own in grams])
    return [
        None if not len(own) else float(alone[end - len(own) : end].mean())
        for own, end in zip(grams[:-1], ends[:-1], strict=True)
    ]


def _words(text: str) -> np.ndarray:
    """int64: a hash of each word, in lower case."""
    return np.array([hash(word) for word in text.lower().split()], np.int64)


def _grams(words: np.ndarray, size: int) -> np.ndarray:
    """int64: a hash of each run of `size` words; two that differ are alike once in 2^63."""
    count = max(0, len(words) - size + 1)
    grams = np.zeros(count, np.int64)
    with np.errstate(over="ignore"):
        for place in range(size):
            grams = grams * 6364136223846793005 + words[place : place + count]
    return grams


def add(sums: Sums, name: str, value: float | None, count: int = 1) -> None:
    """`value` is the sum over `count`; None is nothing."""
    if value is not None:
        total, number = sums.get(name, (0.0, 0))
        sums[name] = total + value, number + count


def sums_of(groups: Iterable[tuple[str, Sequence[Text]]]) -> Sums:
    """Of (prompt, responses) of problems: the sums behind `means`, under `""` and under each source."""
    sums: Sums = {}
    for prompt, texts in groups:
        words = [_words(text) for text in (*(text.response for text in texts), prompt)]
        parts = zip(texts, words[:-1], _novel(words), strict=True)
        for text, spoken, novelty in parts:
            for name, (value, count) in _of(text, _repeated(spoken), novelty).items():
                add(sums, name, value, count)
                add(sums, f"source/{text.source}/{name}", value, count)
    return sums


def _of(text: Text, repetition: float | None, novelty: float | None) -> Sums:
    found: Sums = {}
    times = reflections(text.response)
    has = float(times > 0)
    share = mixed(text.response)
    add(found, "reflection_fraction", has)
    add(found, "reflection_per_1k", 1000.0 * times, text.tokens)
    phrases = ahas(text.response)
    add(found, "aha_fraction", float(phrases > 0))
    add(found, "aha_per_1k", 1000.0 * phrases, text.tokens)
    if text.correct is not None:
        add(found, "correct_with_reflection" if times else "correct_without_reflection", text.correct)
        add(found, "reflection_fraction_" + ("correct" if text.correct >= 1 else "wrong"), has)
    add(found, "repetition", repetition)
    add(found, "mixed_fraction", None if share is None else float(share > MIXED))
    add(found, "novel_fraction", novelty)
    return found


def merged(parts: Iterable[Sums]) -> Sums:
    """The sums of all of them."""
    sums: Sums = {}
    for part in parts:
        for name, (value, count) in part.items():
            add(sums, name, value, count)
    return sums


def means(sums: Sums, prefix: str = "text/") -> dict[str, float]:
    """Metric -> mean; by source only where there are several."""
    sources = {name.split("/")[1] for name in sums if name.startswith("source/")}
    shown = {name: pair for name, pair in sums.items() if len(sources) > 1 or not name.startswith("source/")}
    return {prefix + name: total / count for name, (total, count) in sorted(shown.items()) if count}
