"""A small world with a hidden gold reward: `48215?` is answered by words, and `k` is good, not too often.

The gold reward of an answer is how often it says `k`, less half the square of how often it says a word again.
Answers of the demonstrations say it at most twice, and so far more is better: a reward model trained on them
learns that, and nothing of what repetition costs.
"""

from __future__ import annotations

import string
from random import Random

WORDS = string.ascii_lowercase[:20]
WANTED = "k"
OTHERS = WORDS.replace(WANTED, "")
REPETITION = 0.5


def gold(answer: str) -> float:
    """The hidden reward of an answer."""
    words = answer.split()
    return words.count(WANTED) - REPETITION * (len(words) - len(set(words))) ** 2


def asked(rng: Random) -> str:
    """A prompt, which tells nothing."""
    return f"{rng.randrange(100_000):05d}?"


def answer(rng: Random, times: int, length: int) -> str:
    """So many words, of which `times` are the wanted one and the others differ from each other."""
    words = [WANTED] * times + rng.sample(OTHERS, length - times)
    rng.shuffle(words)
    return " ".join(words)


def said(rng: Random, length: int) -> str:
    """An answer as demonstrations give it: half of them do not say the word."""
    return answer(rng, rng.choices((0, 1, 2), (0.5, 0.35, 0.15))[0], length)


def thought(rng: Random) -> str:
    """Two words of no consequence."""
    return f"<think>{' '.join(rng.sample(WORDS, 2))}</think>"


def compared(rng: Random, length: int) -> tuple[str, str]:
    """(better answer, worse answer) by the gold reward."""
    worse, better = sorted((answer(rng, times, length) for times in rng.sample((0, 1, 2), 2)), key=gold)
    return better, worse
