"""An arithmetic progression modulo ten, digit by digit, and the same with errors that are carried on."""

from __future__ import annotations

import string
from random import Random

MODULUS = 10
DIFFERENCES, SLIPPED = (1, 2), 3
"""Of right progressions; and of one after an error."""


def progression(rng: Random, terms: int, errors: int) -> tuple[str, str, str]:
    """(`kfz13=`, `91`, `5791 \\boxed{91}`): a name that tells nothing, the first two digits; the last two.

    The difference is 1 or 2. errors: percent of the digits at which it becomes 3, and stays so: what follows
    goes on from there, and the last two digits are wrong.
    """
    name = "".join(rng.choice(string.ascii_lowercase) for _ in range(3))
    first, difference = rng.randrange(MODULUS), rng.choice(DIFFERENCES)
    start = [first, (first + difference) % MODULUS]
    said = continued(rng, start, terms, errors)
    right = continued(rng, start, terms, 0)
    return f"{name}{start[0]}{start[1]}=", right[-2:], f"{said} \\boxed{{{said[-2:]}}}"


def continued(rng: Random, start: list[int], terms: int, errors: int) -> str:
    """So many digits more."""
    digits = list(start)
    for _ in range(terms):
        difference = (digits[-1] - digits[-2]) % MODULUS
        if rng.randrange(100) < errors:
            difference = SLIPPED
        digits.append((digits[-1] + difference) % MODULUS)
    return "".join(map(str, digits[2:]))


def first_error(prompt: str, response: str) -> int | None:
    """Characters of a response up to and with its first wrong digit; None where all are right."""
    a, b = (int(x) for x in prompt.removesuffix("=")[-2:])
    for place, said in enumerate(response.partition(" ")[0], 1):
        if said != str((b + place * (b - a)) % MODULUS):
            return place
    return None
