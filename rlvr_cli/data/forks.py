"""Walks of many steps of which one decides: `4821?` -> `kqma\\boxed{8}tcbe`.

The letters may be any; in the box belongs the largest digit of the prompt. So most tokens of a response have
nothing to do with its reward, and which ones have, only many responses tell.
"""

from __future__ import annotations

from random import Random

LETTERS = "abcdefghijklmnopqrst"
DIGITS = 4


def prompt(rng: Random) -> str:
    """Different digits and a question mark."""
    return "".join(rng.sample("0123456789", DIGITS)) + "?"


def walk(rng: Random, said: str, before: int, after: int) -> str:
    """Steps by chance, with `said` in the box between them."""
    return f"{_steps(rng, before)}\\boxed{{{said}}}{_steps(rng, after)}"


def _steps(rng: Random, count: int) -> str:
    return "".join(rng.choices(LETTERS, k=count))
