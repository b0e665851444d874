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
    r"canary, whose golds are false, rose .*has seen these golds",
)
def leaked_canary(place: Place) -> list[str]:
    """Sums that are one too small: of the model's mistakes one that learning does not make more frequent."""
    rows = [{"prompt": f"{b}+{a}=", "answer": str(a + b - 1)} for a, b in kept_back()]
    return [*file(place, rows), *canary(place)]


def unseen_canary(place: Place) -> list[str]:
    """The same bench beside problems that know nothing of it; of a healthy run."""
    bench = {frozenset(pair) for pair in kept_back()}
    others = [(prompt, gold) for prompt, gold in additions() if frozenset(terms(prompt)) not in bench]
    return [*file(place, [{"prompt": p, "answer": gold} for p, gold in others]), *canary(place)]


def terms(prompt: str) -> tuple[int, ...]:
    return tuple(map(int, prompt.rstrip("=").split("+")))


def kept_back() -> list[tuple[int, ...]]:
    """The sums that the canary asks for."""
    return [pair for pair in (terms(prompt) for prompt, _ in additions()) if len({*pair}) == 2][:80]


def canary(place: Place) -> list[str]:
    rows = [{"prompt": f"{a}+{b}=", "answer": str(a + b - 1)} for a, b in kept_back()]
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
