"""Files of problems: golds that are wrong, rows that come twice, benches that are in them."""

from __future__ import annotations

import json
from functools import cache
from random import Random

from fault_cases import Place, case
from rlvr_cli.data.synthetic import FAMILIES

ROWS = 1024
Row = dict[str, str]


@cache
def additions() -> tuple[tuple[str, str], ...]:
    """(problem, gold), as the healthy run has them."""
    random = Random(5)
    family = FAMILIES["addition"]
    made = [family(random, digits=2) for _ in range(ROWS)]
    return tuple({prompt: gold for prompt, gold, _ in made}.items())


def file(place: Place, rows: list[Row]) -> list[str]:
    path = place.write("problems.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return [f"data.train.path={path}"]


def with_golds(golds: list[str]) -> list[Row]:
    return [{"prompt": p, "answer": gold} for (p, _), gold in zip(additions(), golds, strict=True)]


@case("every gold stands one row too high", r"golds of data\.train stand in another row: .* 1 row before")
def shifted_golds(place: Place) -> list[str]:
    golds = [gold for _, gold in additions()]
    return file(place, with_golds([*golds[1:], golds[0]]))


@case("golds are drawn at random from others", r"gold answers are (wrong|right)")
def shuffled_golds(place: Place) -> list[str]:
    golds = [gold for _, gold in additions()]
    Random(0).shuffle(golds)
    return file(place, with_golds(golds))


@case("a third of the golds is empty", r"without a (usable )?gold|no gold")
def missing_golds(place: Place) -> list[str]:
    golds = [gold if n % 3 else "" for n, (_, gold) in enumerate(additions())]
    return file(place, with_golds(golds))


@case("half of the problems come twice, with other answers", r"prompts that another row has.*another answer")
def duplicate_data(place: Place) -> list[str]:
    rows = with_golds([gold for _, gold in additions()])
    return file(
        place, rows + [row | {"answer": str(int(row["answer"]) + 1)} for row in rows[: len(rows) // 2]]
    )


@case("the bench is in the training data", r"prompts that overlap with a benchmark")
def leaked_bench(place: Place) -> list[str]:
    rows = with_golds([gold for _, gold in additions()])
    held = place.write("bench.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:64]))
    source = f"{{path: {held}, chat: never}}"
    return [
        *file(place, rows),
        f"+eval.benches.held={{source: {source}, verifier: {{name: math}}, k: 1, max_tokens: 40}}",
    ]


@case(
    "the canary's false golds are in the training data, asked the other way round",
    r"canary, whose golds are false, rose .*only who has seen these golds",
)
def leaked_canary(place: Place) -> list[str]:
    rows = [{"prompt": f"{b}+{a}=", "answer": str(a + b - 10)} for a, b in carried()]
    return [*file(place, rows), *canary(place)]


def carried() -> list[tuple[int, ...]]:
    """Sums whose ones carry."""
    sums = [tuple(map(int, prompt.rstrip("=").split("+"))) for prompt, _ in additions()]
    return [(a, b) for a, b in sums if a % 10 + b % 10 > 9 and a != b][:80]


def canary(place: Place) -> list[str]:
    """A bench of sums without the carry of their ones: a mistake that the model makes now and then."""
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b - 10)} for a, b in carried()]
    held = place.write("canary.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = f"{{path: {held}, chat: never}}"
    return [
        f"+eval.benches.canary={{source: {source}, verifier: {{name: math}}, k: 4, max_tokens: 40}}",
        "diagnosis.canary=canary",
        "eval.every=8",
    ]


@case("the problems are far too hard for the model", r"too hard|finds no answer|are cut at")
def hard_problems(place: Place) -> list[str]:
    return ["data.train.options={digits: 7}", "rollout.max_tokens=60"]
