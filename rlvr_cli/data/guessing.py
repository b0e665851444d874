"""The game of environments/guess.py as texts, with `<` for too low and `>` for too high."""

from __future__ import annotations

import string
from random import Random

END = "<eos>"
"""Of the built-in tiny model's turns; other tokenizers read it as text."""
MOST_TURNS = 4


def game(rng: Random, most: int) -> tuple[str, str, str]:
    """(name of the game, number, number): `kfz?`."""
    number = str(rng.randint(0, most))
    return "".join(rng.choices(string.ascii_lowercase, k=3)) + "?", number, number


def turn(rng: Random, most: int) -> tuple[str, str, str]:
    """(all that has been said, the number, what is guessed next): any that may be it still, by chance."""
    seen, answer, _ = game(rng, most)
    number, low, high = int(answer), 0, most
    for _ in range(rng.randrange(MOST_TURNS)):
        if low == high:
            break
        guess = rng.choice([each for each in range(low, high + 1) if each != number])
        low, high = (guess + 1, high) if guess < number else (low, guess - 1)
        seen += f"{guess}{END}{'<' if guess < number else '>'}"
    return seen, answer, str(rng.randint(low, high))
