"""Products too large to be worked out in the head, and a calculator that nobody has to use."""

from __future__ import annotations

from random import Random


def problem(rng: Random, digits: int) -> tuple[str, str, str]:
    """(`347*582=`, its value, and that in a box)."""
    a, b = (rng.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(2))
    return f"{a}*{b}=", str(a * b), boxed(a * b)


def turn(rng: Random, digits: int, every: int) -> tuple[str, str, str]:
    """(what has been written, the product, what comes next), for SFT; `every`: one start in so many calls.

    Most turns show a call that has begun, or one that is answered: how to call and how to read takes many
    examples, and must not teach to call.
    """
    asked, answer, said = problem(rng, digits)
    call = f"{asked[:-1]}</c>"
    match rng.randrange(8):
        case 0 if rng.randrange(every) == 0:
            return asked, answer, f"<c>{call}"
        case 0:
            return asked, answer, boxed(rng.randint(10 ** (2 * digits - 2), 10 ** (2 * digits) - 1))
        case 1 | 2 | 3:
            return f"{asked}<c>", answer, call
        case _:
            return f"{asked}<c>{call}<r>{answer}</r>", answer, said


def boxed(number: int) -> str:
    return rf"\boxed{{{number}}}"


def multiply(product: str) -> int:
    """Multiply whole numbers.

    Args:
        product: As it is written: 347*582.
    """
    value = 1
    for factor in product.split("*"):
        value *= int(factor)
    return value
