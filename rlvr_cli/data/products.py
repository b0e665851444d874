"""Products too large to be worked out in the head, and a calculator that nobody has to use."""

from __future__ import annotations

from random import Random


def product(rng: Random, digits: int) -> tuple[str, str, str]:
    """`347*582=`, its value, and that in a box."""
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
    return f"{a}*{b}=", str(a * b), rf"\boxed{{{a * b}}}"


def turn(rng: Random, digits: int, every: int) -> tuple[str, str, str]:
    """What a policy writes that asks the calculator once in `every` answers, and guesses otherwise."""
    asked, answer, boxed = product(rng, digits)
    if rng.randrange(every) == 0:
        return asked, answer, f"<calc>{asked[:-1]}</calc><result>{answer}</result>{boxed}"
    guess = rng.randint(10 ** (2 * digits - 2), 10 ** (2 * digits) - 1)
    return asked, answer, rf"\boxed{{{guess}}}"
