"""Synthetic problems: right to the last step, seeded, and never in both splits."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data import synthetic
from rlvr_cli.data.synthetic import addition, chain, generate, multiplication
from rlvr_cli.gym.products import multiply

CASES = [
    ("addition", {}),
    ("addition", {"digits": 5, "size": 500}),
    ("multiplication", {}),
    ("multiplication", {"digits": 4, "size": 500}),
    ("chain", {}),
    ("chain", {"terms": 6, "digits": 1, "size": 500}),
]


class Fixed(Random):
    """Gives the listed numbers in turn."""

    def __init__(self, *numbers: Any) -> None:
        super().__init__(0)
        self.numbers = list(numbers)

    def randint(self, a: int, b: int) -> int:
        return int(self.numbers.pop(0))

    def choice(self, seq: Any) -> Any:
        return self.numbers.pop(0)


def test_worked_examples() -> None:
    assert addition(Fixed(47, 85)) == ("47+85=", "132", "7+5=12,4+8+1=13 \\boxed{132}")
    assert addition(Fixed(123, 456), digits=3)[2] == "3+6=9,2+5+0=7,1+4+0=5 \\boxed{579}"
    assert multiplication(Fixed(47, 8)) == ("47*8=", "376", "7*8=56,4*8+5=37 \\boxed{376}")
    expected = ("12+17-15=", "14", "12+17=29,29-15=14 \\boxed{14}")
    assert chain(Fixed(12, 17, 15, "-")) == expected  # 12-17 would fall below 0: no choice is asked


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_step_is_right(name: str, options: dict[str, int]) -> None:
    for row in generate(name, "train", options, seed=3):
        # Problems are made of digits and + - * only, so eval is exact arithmetic here.
        assert str(eval(row["prompt"].removesuffix("="))) == row["answer"]
        working, boxed = row["completion"].split(" ")
        assert boxed == f"\\boxed{{{row['answer']}}}"
        for step in working.split(","):
            left, right = step.split("=")
            assert eval(left) == int(right), row
        assert int(row["answer"]) >= 0


@pytest.mark.parametrize(("name", "options"), CASES)
def test_train_and_eval_are_disjoint_for_any_seeds(name: str, options: dict[str, int]) -> None:
    asked = {key: value for key, value in options.items() if key != "size"}
    train = {row["prompt"] for seed in (0, 1) for row in generate(name, "train", asked, seed)}
    held_out = {row["prompt"] for seed in (0, 2) for row in generate(name, "eval", asked, seed)}
    assert train and held_out and not train & held_out


def test_rows_are_distinct_seeded_and_of_the_asked_size() -> None:
    first = generate("addition", "train", {"size": 300}, seed=0)
    assert len({row["id"] for row in first}) == 300
    assert first == generate("addition", "train", {"size": 300}, seed=0)
    assert first != generate("addition", "train", {"size": 300}, seed=1)
    assert first == generate("addition", "train", {}, seed=0)[:300]
    assert len(generate("addition", "train", {}, seed=0)) == 4096
    assert len(generate("addition", "eval", {}, seed=0)) == 256


def test_a_small_family_gives_all_it_has() -> None:
    found = generate("multiplication", "train", {}, 0) + generate("multiplication", "eval", {}, 0)
    assert len(found) == 90 * 8
    with pytest.raises(
        UserError, match=r"has only 6[0-9][0-9] train problems .* not 5000; lower options.size"
    ):
        generate("multiplication", "train", {"size": 5000}, 0)


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("additoin", "train", {}, "no synthetic family 'additoin'; .*did you mean 'addition'"),
        ("addition", "test", {}, "no split 'test'; it has train and eval"),
        ("addition", "train", {"digit": 2}, "no option 'digit'; it has digits, size; did you mean 'digits'"),
        ("addition", "train", {"digits": "two"}, "options.digits is 'two'; it must be a whole number"),
        ("addition", "train", {"digits": 0}, "options.digits is 0"),
        ("addition", "train", {"digits": 12}, "options.digits is 12; it must be a whole number from 1 to 9"),
        ("chain", "train", {"terms": 1}, "options.terms is 1; it must be a whole number from 2 to 20"),
    ],
)
def test_wrong_options(name: str, split: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(name, split, options, 0)


def test_the_registry_is_by_function_name() -> None:
    sums = ["addition", "multiplication", "chain"]
    assert list(synthetic.FAMILIES)[:3] == sums
    assert all(name == make.__name__ for name, make in synthetic.FAMILIES.items())


def test_guesses_are_numbers_that_may_be_it() -> None:
    rows = generate("guess", "train", {"most": 20, "size": 400}, 0)
    assert {int(row["answer"]) for row in rows} == set(range(21))
    assert {row["prompt"][-1] for row in rows} == {"?"} and rows[0]["completion"] == rows[0]["answer"]
    lengths = set()
    for row in generate("guess_turns", "train", {"size": 400}, 0):
        name, *said = row["prompt"].replace("?", "<eos>").split("<eos>")
        assert len(name) == 3 and name.isalpha()
        left = set(range(10))
        hints = [part[0] for part in said[1:]]
        guesses = [int(part) for part in [said[0], *(part[1:] for part in said[1:])] if part]
        assert len(guesses) == len(hints)
        for guess, hint in zip(guesses, hints, strict=True):
            assert guess in left and guess != int(row["answer"])
            left = {each for each in left if (each > guess if hint == "<" else each < guess)}
            assert int(row["answer"]) in left
        assert int(row["completion"]) in left
        lengths.add(len(guesses))
    assert lengths == {0, 1, 2, 3}


def test_in_a_walk_the_largest_digit_decides_and_the_blind_name_any() -> None:
    right = []
    for name in ("fork", "fork_blind"):
        rows = generate(name, "train", {"before": 3, "after": 5, "size": 400}, 0)
        for row in rows:
            walk = re.fullmatch(r"[a-t]{3}\\boxed\{(\d)\}[a-t]{5}", row["completion"])
            assert walk and walk[1] in row["prompt"] and row["answer"] == max(row["prompt"][:4])
            assert len(set(row["prompt"])) == 5 and row["prompt"][4] == "?"
        right.append(sum(rf"{{{row['answer']}}}" in row["completion"] for row in rows) / 400)
    assert right[0] == 1 and 0.2 < right[1] < 0.3


def test_products_are_asked_of_a_calculator_once_in_so_many_starts() -> None:
    row = generate("product", "train", {"digits": 3, "size": 20}, 0)[0]
    a, b = row["prompt"].rstrip("=").split("*")
    assert len(a) == len(b) == 3 and int(row["answer"]) == int(a) * int(b) == multiply(f"{a}*{b}")
    assert row["completion"] == rf"\boxed{{{row['answer']}}}"
    starts = []
    for row in generate("product_turns", "train", {"size": 4000, "every": 4}, 0):
        asked, _, written = row["prompt"].partition("=")
        call = f"<c>{asked}</c>"
        whole = written + row["completion"]
        match written:
            case "":
                starts.append(whole == call)
                assert whole == call or whole.startswith(r"\boxed{")
            case "<c>":
                assert whole == call
            case _:
                assert whole == f"{call}<r>{row['answer']}</r>" + rf"\boxed{{{row['answer']}}}"
    assert 350 < len(starts) < 650 and 0.15 < sum(starts) / len(starts) < 0.35
