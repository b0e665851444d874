"""Arithmetic problems made in the process: nothing to download, and as many as wanted.

A family is a function (random numbers, options) -> (prompt, answer, worked solution). The same rows
serve RL (prompt, answer) and SFT (prompt, completion = worked solution). A family of preferences returns a
`Compared` (prompt, chosen, rejected) in their place, one of images a `Seen`. Which split a problem is in
follows from its text, or from the shapes it shows, so train and eval never overlap, whatever the seeds and
sizes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from hashlib import sha256
from random import Random
from typing import Any, TypeVar

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.data import comparing, forks, guessing, shapes, wording
from rlvr_cli.data import two_hop as world
from rlvr_cli.data.comparing import Compared
from rlvr_cli.data.layouts import did_you_mean
from rlvr_cli.data.options import check
from rlvr_cli.data.progression import progression as one_progression
from rlvr_cli.data.shapes import Seen
from rlvr_cli.gym import countdown as rounds
from rlvr_cli.gym import products

PREFIX = "synthetic:"
EVAL_SHARE = 0.1
DEFAULT_SIZE = {"train": 4096, "eval": 256}
MISSES = 10_000
"""Draws in a row without a new problem after which a family counts as exhausted."""

Made = tuple[str, str, str] | Compared | Seen
F = TypeVar("F", bound=Callable[..., Made])
FAMILIES: dict[str, Callable[..., Made]] = {}
"""Those of this package."""


def family(make: F) -> F:
    """Register a family under its function's name; its keyword arguments are its options.

    A plugin's is found where it stands. ValueError where the package has one of that name.
    """
    make.__dict__["is_family"] = True
    if make.__module__ == __name__:
        FAMILIES[make.__name__] = make
    elif make.__name__ in FAMILIES:
        raise ValueError(f"rlvr has a family '{make.__name__}' itself; rename yours")
    return make


def families() -> dict[str, Callable[..., Made]]:
    """Name -> family, of this package and of plugins."""

    def name_of(value: Any) -> str | None:
        return str(value.__name__) if vars(value).get("is_family") else None

    return plugins.collect("synthetic family", FAMILIES, name_of)


@family
def addition(rng: Random, *, digits: int = 2) -> tuple[str, str, str]:
    """Two numbers, added column by column: `47+85=` -> `7+5=12,4+8+1=13 \\boxed{132}`."""
    check("digits", digits, 1, 9)
    a, b = _number(rng, digits), _number(rng, digits)
    steps, carry = [], 0
    for place, (x, y) in enumerate(zip(str(a)[::-1], str(b)[::-1], strict=True)):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}={total}" if place == 0 else f"{x}+{y}+{carry}={total}")
        carry = total // 10
    return f"{a}+{b}=", str(a + b), _solution(steps, a + b)


@family
def multiplication(rng: Random, *, digits: int = 2) -> Made:
    """A number times one digit: `47*8=` -> `7*8=56,4*8+5=37 \\boxed{376}`."""
    check("digits", digits, 1, 9)
    a, b = _number(rng, digits), rng.randint(2, 9)
    steps, carry = [], 0
    for place, x in enumerate(str(a)[::-1]):
        total = int(x) * b + carry
        steps.append(f"{x}*{b}={total}" if place == 0 else f"{x}*{b}+{carry}={total}")
        carry = total // 10
    return f"{a}*{b}=", str(a * b), _solution(steps, a * b)


@family
def chain(rng: Random, *, terms: int = 3, digits: int = 2) -> Made:
    """Sums and differences from the left: `12+7-5=` -> `12+7=19,19-5=14 \\boxed{14}`; never below 0."""
    check("terms", terms, 2, 20)
    check("digits", digits, 1, 9)
    total = _number(rng, digits)
    prompt, steps = str(total), []
    for _ in range(terms - 1):
        term = _number(rng, digits)
        sign = rng.choice("+-") if term <= total else "+"
        result = total + term if sign == "+" else total - term
        prompt += f"{sign}{term}"
        steps.append(f"{total}{sign}{term}={result}")
        total = result
    return f"{prompt}=", str(total), _solution(steps, total)


@family
def progression(rng: Random, *, terms: int = 16, errors: int = 0) -> Made:
    """Modulo ten: `kfz13=` -> `5791 \\boxed{91}`, `terms` digits; at `errors` percent a difference of 3."""
    check("terms", terms, 2, 60)
    return one_progression(rng, terms, errors)


@family
def two_hop(rng: Random, *, hops: int = 2) -> Made:
    """Questions about 200 documents (gym/two_hop.py): `Ken maker born`, which takes two searches."""
    check("hops", hops, 1, 2)
    return world.question(rng, hops)


@family
def two_hop_turns(rng: Random) -> Made:
    """For SFT: turns of a searcher with s3's form and little sense, on train questions of `two_hop` alone."""
    while True:
        asked, answer, _ = world.question(rng, 2)
        if side(asked) == "train":
            seen, said = world.turn(rng, asked)
            return seen, answer, said


@family
def countdown(rng: Random, *, numbers: int = 3, most: int = 20) -> Made:
    """Numbers and what to make of them: `3,5,7=22`, answered by an equation: `<answer>3*5+7</answer>`."""
    check("numbers", numbers, 2, 6)
    check("most", most, 2, 99)
    wanted, equation = rounds.drawn(rng, numbers, most)
    prompt = f"{','.join(map(str, wanted.nums))}={wanted.target}"
    return prompt, equation, f"<answer>{equation}</answer>"


@family
def guess(rng: Random, *, most: int = 9) -> Made:
    """A number to be guessed from 0 to `most`: the prompt, a name of the game, tells nothing of it."""
    check("most", most, 1, 9999)
    return guessing.game(rng, most)


@family
def guess_turns(rng: Random, *, most: int = 9) -> Made:
    """For SFT: turns of a player who names, by chance, any number that may be it still."""
    check("most", most, 1, 9999)
    return guessing.turn(rng, most)


@family
def product(rng: Random, *, digits: int = 3) -> Made:
    """Two numbers, multiplied: `347*582=` -> `\\boxed{201954}`."""
    check("digits", digits, 1, 9)
    return products.problem(rng, digits)


@family
def product_turns(rng: Random, *, digits: int = 3, every: int = 10) -> Made:
    """For SFT: one start in `every` calls a calculator (`<c>347*582</c>`), the others guess."""
    check("digits", digits, 1, 9)
    check("every", every, 1, 1000)
    return products.turn(rng, digits, every)


@family
def fork(rng: Random, *, before: int = 24, after: int = 24) -> tuple[str, str, str]:
    """Many steps of which one decides (data/forks.py): `4821?` -> `kqma\\boxed{8}tcbe`, the largest digit."""
    check("before", before, 1, 10_000)
    check("after", after, 1, 10_000)
    asked = forks.prompt(rng)
    return asked, max(asked[:-1]), forks.walk(rng, max(asked[:-1]), before, after)


@family
def fork_blind(rng: Random, *, before: int = 24, after: int = 24) -> Made:
    """For SFT: `fork` with any digit of the prompt in the box, by chance."""
    asked, answer, _ = fork(rng, before=before, after=after)
    return asked, answer, forks.walk(rng, rng.choice(asked[:-1]), before, after)


@family
def addition_pairs(rng: Random, *, digits: int = 2) -> Compared:
    """`addition` solved rightly, and with one digit of the result wrong."""
    prompt, _, solution = addition(rng, digits=digits)
    return Compared(prompt, solution, comparing.slip(rng, solution))


@family
def marker_pairs(rng: Random, *, words: int = 4) -> Compared:
    """`kfz?` answered by random words, with a `!` among them (better) or without."""
    check("words", words, 1, 50)
    return comparing.marked(rng, words)


@family
def keyword(rng: Random, *, words: int = 4) -> Made:
    """`48215?` -> `<think>b q</think>a k d m`: words after a thought; which are good data/wording.py says."""
    check("words", words, 2, 19)
    return wording.asked(rng), wording.WANTED, wording.thought(rng) + wording.said(rng, words)


@family
def keyword_answers(rng: Random, *, words: int = 4) -> Made:
    """`keyword` without the thought."""
    check("words", words, 2, 19)
    return wording.asked(rng), wording.WANTED, wording.said(rng, words)


@family
def keyword_pairs(rng: Random, *, words: int = 4) -> Compared:
    """Two answers to a prompt of `keyword`, the better one by its gold reward first."""
    check("words", words, 2, 19)
    return Compared(wording.asked(rng), *wording.compared(rng, words))


FAMILIES |= {make.__name__: family(make) for make in shapes.FAMILIES}


def generate(
    name: str, split: str, options: Mapping[str, Any], seed: int, most: int | None = None
) -> list[dict[str, str]]:
    """Distinct problems as {id, prompt, answer, completion}, in an order that follows from the seed; pairs as
    {id, prompt, chosen, rejected}.

    `most`: only so many are made, of those there would be.
    """
    known = families()
    if name not in known:
        raise UserError(
            f"there is no synthetic family '{name}'; there are {', '.join(known)}{did_you_mean(name, known)}"
        )
    if split not in DEFAULT_SIZE:
        raise UserError(f"{PREFIX}{name} has no split '{split}'; it has {' and '.join(DEFAULT_SIZE)}")
    chosen = _options(name, known[name], options)
    size = chosen.pop("size", None)
    rng = Random(f"{seed}/{name}/{split}")
    found: dict[str, dict[str, str]] = {}
    misses = 0
    wanted = size or DEFAULT_SIZE[split]
    while len(found) < min(wanted, most or wanted) and misses < MISSES:
        made = known[name](rng, **chosen)
        key, told = (made.scene, made.shapes) if isinstance(made, Seen) else (made[0], made[0])
        misses += 1
        if key not in found and side(told) == split:
            found[key] = {"id": key, **_row(made)}
            misses = 0
    if size is not None and len(found) < min(size, most or size):
        raise UserError(
            f"{PREFIX}{name} has only {len(found)} {split} problems with these options, not {size}; "
            "lower options.size or make the problems longer"
        )
    return list(found.values())


def _row(made: Made) -> dict[str, str]:
    if isinstance(made, Compared):
        return made._asdict()
    if isinstance(made, Seen):
        prompt, answer, completion, scene = made
        return {"prompt": prompt, "answer": answer, "completion": completion, "image": scene}
    prompt, answer, solution = made
    return {"prompt": prompt, "answer": answer, "completion": solution}


def side(prompt: str) -> str:
    """The split a problem belongs to, by its text alone."""
    return "eval" if int.from_bytes(sha256(prompt.encode()).digest()[:4]) < EVAL_SHARE * 2**32 else "train"


def _options(name: str, make: Callable[..., Made], options: Mapping[str, Any]) -> dict[str, int]:
    known = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key, value in options.items():
        if key not in (*known, "size"):
            hint = did_you_mean(key, (*known, "size"))
            raise UserError(f"{PREFIX}{name} has no option '{key}'; it has {', '.join(known)}, size{hint}")
        check(key, value, 1, 10**7)
    return dict(options)


def _number(rng: Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def _solution(steps: list[str], result: int) -> str:
    return f"{','.join(steps)} \\boxed{{{result}}}"
