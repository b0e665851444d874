"""From code to language and back: frequencies and partial contributions of two results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.evaluation.transitions import Transitions, report, transitions


def result(samples: list[list[tuple[bool, bool | None]]]) -> dict[str, Any]:
    """(python is in it, it is right) of each sample of each problem."""
    return {
        "bench": "sums",
        "summary": {},
        "protocol": {"k": 1},
        "source": {"path": "synthetic:addition"},
        "verifier": {"name": "math"},
        "problems": [
            {
                "id": f"p{n}",
                "answer": "7",
                "responses": ["In Python: 7" if code else "It is 7" for code, _ in each],
                "correct": [right for _, right in each],
                "scores": [None if right is None else float(right) for _, right in each],
            }
            for n, each in enumerate(samples)
        ],
    }


def gains(found: Transitions) -> dict[str, float]:
    return {f"{each.before} {each.after}": each.gain for each in found.table}


def test_contributions_by_hand() -> None:
    """40 more right in all, 24 of them from language to code: 60 %."""
    language, code = (False, False), (True, True)
    wrong_code, right_language = (True, False), (False, True)
    before = [[language]] * 24 + [[wrong_code]] * 10 + [[language]] * 8 + [[code]] * 2
    after = [[code]] * 30 + [[right_language]] * 12 + [[wrong_code]] * 2
    found = transitions(result(before), result(after), "python")
    assert found.gain == 40
    assert gains(found) == {"with with": 4, "with without": 4, "without with": 24, "without without": 8}
    shares = [each.contribution for each in found.table]
    assert shares == pytest.approx([0.1, 0.1, 0.6, 0.2]) and sum(filter(None, shares)) == pytest.approx(1)
    assert found.before.frequency == 12 / 44 and found.after.frequency == 32 / 44
    assert (found.before.right_with, found.before.right_without) == (2 / 12, 0.0)
    assert (found.after.right_with, found.after.right_without) == (30 / 32, 1.0)
    assert "  without -> with: 24 problems, +24 right, 60.0% of the gain" in report(found)


def test_samples_of_a_problem_are_paired_each_with_each() -> None:
    before = result([[(True, False), (False, True)]])
    after = result([[(True, True), (False, None), (False, True), (False, False)]])  # one without a verdict
    found = transitions(before, after, "PYTHON")
    assert sum(each.problems for each in found.table) == pytest.approx(1)
    assert found.gain == pytest.approx(2 / 3 - 1 / 2)
    assert gains(found) == pytest.approx(
        {"with with": 1 / 6, "with without": 1 / 6, "without with": 0, "without without": -1 / 6}
    )


def test_no_gain_has_no_shares_and_bad_input_is_told() -> None:
    same = result([[(True, True)]])
    found = transitions(same, same, "python")
    assert [each.contribution for each in found.table] == [None] * 4
    assert found.before.right_without is None and " without" in report(found)[0]
    with pytest.raises(UserError, match="--contains is empty"):
        transitions(same, same, "")
    with pytest.raises(UserError, match="nothing to compare"):
        transitions(same, result([[(True, None)]]), "python")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(json.dumps(result([[(False, False)], [(True, True)]])))
    b.write_text(json.dumps(result([[(True, True)], [(True, True)]])))
    assert main(["eval", "compare", str(a), str(b), "--contains", "python"]) == 0
    said = capsys.readouterr().out
    assert "A  50.0% of the responses have 'python': right 100.0% with it, 0.0% without" in said
    assert "without -> with: 1 problems, +1 right, 100.0% of the gain" in said
    assert main(["eval", "compare", str(a), str(b), "--contains", "python", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["transitions"]["gain"] == 1
