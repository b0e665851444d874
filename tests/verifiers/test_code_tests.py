"""Which of a problem's tests are run."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from rlvr_cli.verifiers.code_tests import parse, spaced


@pytest.mark.parametrize(
    ("most", "run"), [(None, range(10)), (10, range(10)), (4, [0, 3, 6, 9]), (2, [0, 9]), (1, [9])]
)
def test_of_many_tests_the_first_the_last_and_some_between_are_run(
    most: int | None, run: Sequence[int]
) -> None:
    assert spaced(list(range(10)), most) == list(run)
    answer = json.dumps({"inputs": [f"{n}" for n in range(10)], "outputs": [f"{n}" for n in range(10)]})
    assert [case.stdout for case in parse(answer, {}, most).cases] == [f"{n}" for n in run]
