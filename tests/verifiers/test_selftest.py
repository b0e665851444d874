"""Gold answers, in other spellings too, and wrong ones made of them: by class, through the pool."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.always import Always
from rlvr_cli.verifiers.extract import Extraction, extract
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.golds import hedges, wrapped, wrong_numbers, wrong_strings
from rlvr_cli.verifiers.incorrect import Incorrect
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.mathematics.rules import Units
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import self_test


def rows(*answers: str) -> list[dict[str, Any]]:
    return [{"id": str(n), "answer": answer, "extra": {}} for n, answer in enumerate(answers, 1)]


def run(verifier: Any, *answers: str) -> Any:
    with Pool({"v": verifier}, Verification(workers=1)) as pool:
        return self_test(pool, "v", verifier, rows(*answers))


def test_wrong_numbers_by_hand() -> None:
    assert wrong_numbers(Fraction(12)) == [13, 11, -12, 120, Fraction(6, 5), Fraction(1, 12), 21]
    assert wrong_numbers(Fraction(-3, 7)) == [
        *(
            Fraction(4, 7),
            Fraction(-10, 7),
            Fraction(3, 7),
            Fraction(-30, 7),
            Fraction(-3, 70),
            Fraction(-7, 3),
        )
    ]
    assert wrong_numbers(Fraction(0)) == [1, -1]  # neither -0 nor 0 x 10
    assert wrong_numbers(Fraction(1)) == [2, 0, -1, 10, Fraction(1, 10)]  # 1/1 is 1
    assert wrong_numbers(Fraction(110)) == [111, 109, -110, 1100, 11, Fraction(1, 110), 101]


@given(st.fractions())
def test_wrong_numbers_are_wrong(value: Fraction) -> None:
    found = wrong_numbers(value)
    assert found and value not in found and len(set(found)) == len(found)


@given(st.text(min_size=1))
def test_wrong_strings_are_wrong(text: str) -> None:
    assert text not in wrong_strings(text) and wrong_strings(text)


def test_hedges_only_where_one_value_is_asked_for() -> None:
    assert hedges("5", ["6"], Extraction.boxed) == [r"5 \text{ or } 6"]
    assert hedges("1,2", ["1,3"], Extraction.boxed) == hedges(r"\pm 2", ["3"], Extraction.hash) == []
    assert hedges("C", ["D"], Extraction.choice) == [r"C \text{ or } D"]
    assert hedges("7", ["8"], Extraction.last_number) == []


@pytest.mark.parametrize("mode", list(Extraction))
def test_wrapped_answers_are_found_again(mode: Extraction) -> None:
    answer = "C" if mode is Extraction.choice else "-12"
    assert extract(wrapped(answer, mode), mode) == answer
    assert wrapped(answer, None) == answer


GOLDS = ["12", "-3/7", "0", "1", r"\frac{1}{2}", r"50\%", "0.25", r"2\sqrt{3}", "(1,2)", r"\{1,2\}", "x^2+1"]
GOLDS += [r"\text{Evelyn}", "C", r"1,234", r"10\text{ cm}", r"90^\circ", r"[0,1)", "x=5", "3\\pi", "y=2x"]
UNITS = [r"10\text{ cm}", "12 km/h", r"\$18.50", "7 apples"]
GOLDS += ["So it is 4.\n#### 4", r"thus \boxed{\frac{3}{4}}"]


@pytest.mark.slow
def test_math_stands_the_test() -> None:
    for verifier in (Math(), Math(thinking=True), Math(extraction=Extraction.answer_line)):
        found = run(verifier, *GOLDS)
        assert found.refused == [] and found.accepted == [] and found.unscored == 0
        assert found.golds > 4 * len(GOLDS) and found.mutants > 6 * len(GOLDS)
        assert found.rate == 1.0 and len(found.verdicts) == found.golds + found.mutants
        assert sum(tally.responses for tally in found.right.values()) == found.golds
        assert {"as written", "other LaTeX", "other format", "other order"} < set(found.right)
        assert {"sign", "power of ten", "letter case", "swapped", "end", "hedged", "universal"} < set(
            found.wrong
        )


@pytest.mark.slow
def test_a_unit_is_changed_where_units_are_compared() -> None:
    for units in Units:
        found = run(Math(units=units), *UNITS)
        assert found.refused == [] and found.accepted == [] and found.rate == 1.0
        assert ("unit" in found.wrong) == (units is not Units.ignore)
        assert ("unit missing" in found.wrong) == (units is Units.require)
        assert ("another unit, not compared" in found.right) == (units is Units.ignore)
        classes = found.right if units is Units.ignore else found.wrong
        kind = "another unit, not compared" if units is Units.ignore else "unit"
        assert classes[kind].responses == len(UNITS)


def test_the_other_verifiers_stand_it() -> None:
    assert run(Match(), "up", "down left", "a").rate == 1.0
    assert run(Match(extraction=Extraction.last_number), "12", "7").rate == 1.0
    assert run(Match(extraction=Extraction.choice), "A", "C").rate == 1.0
    assert run(Match(lower=True), "ab").rate == 1.0
    for verifier in (Format(require_box=True), Format(require_think=True, require_box=True, max_chars=40)):
        found = run(verifier, "1")
        assert found.rate == 1.0 and found.mutants >= 2


@pytest.mark.slow
def test_incorrect_stands_it_the_other_way_round() -> None:
    for verifier in (Incorrect(), Incorrect(thinking=True, extraction=Extraction.answer_line)):
        found = run(verifier, *GOLDS)
        assert found.refused == [] and found.accepted == [] and found.unscored == 0
        assert found.golds > 6 * len(GOLDS) and found.mutants > 4 * len(GOLDS)


def test_letters_stand_it() -> None:
    found = run(Math(extraction=Extraction.choice), "A", "C")
    assert found.rate == 1.0 and found.golds == 4
    assert {kind: tally.responses for kind, tally in found.wrong.items()} == {
        **{"no answer": 2, "letter": 3, "hedged": 2}  # A has no letter before it
    }


class Lenient(Math):
    """Takes any number for the right one, and never a fraction."""

    inline = None

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        good = response != "" and "/" not in response and "or" not in response
        return Verdict(score=float(good), reason=Reason.correct if good else Reason.wrong)


def test_a_lenient_verifier_is_found_out() -> None:
    class Direct:  # verdicts as a pool gives them, without processes
        def submit(self, name: str, *item: Any) -> Any:
            from concurrent.futures import Future

            future: Future[Verdict] = Future()
            future.set_result(Lenient().verify(*item))
            return future

    found = self_test(Direct(), "v", Lenient(), rows("12"))  # type: ignore[arg-type]
    assert {kind: (t.responses, t.failed) for kind, t in found.right.items()} == {
        **{"as written": (1, 0), "other LaTeX": (3, 0), "other format": (1, 0)},
        **{"behind reasoning": (1, 1)},  # </think> has the slash
    }
    assert {kind: (t.responses, t.failed) for kind, t in found.wrong.items()} == {
        **{"no answer": (1, 0), "one off": (2, 2), "sign": (1, 1), "power of ten": (2, 2), "inverse": (1, 1)},
        **{"digits swapped": (1, 1), "letter added": (1, 1), "hedged": (1, 0), "universal": (2, 2)},
    }
    assert (found.golds, len(found.refused)) == (6, 1) and (found.mutants, len(found.accepted)) == (12, 10)
    assert found.refused[0].kind == "behind reasoning" and found.accepted[0].kind == "one off"
    assert found.false_negative_rate == 1 / 6 and found.false_positive_rate == 10 / 12
    assert found.rate == 1 - 10 / 12


def test_golds_nobody_can_use_count_against_it() -> None:
    found = run(Math(max_chars=5), "123456", "12")
    assert [failure.id for failure in found.refused] == ["1"]
    assert found.golds == 1 + sum(tally.responses for tally in found.right.values())
    assert found.refused[0].verdict is None and "6 characters" in found.refused[0].response


def test_a_verifier_without_gold_answers_says_so() -> None:
    with pytest.raises(UserError, match="'v' \\(always\\) has no self-test"):
        run(Always(), "1")
