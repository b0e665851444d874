"""Adapters and masks under every ZeRO stage, on one rank and on two, saved and restored: peft_entries.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_helpers import run_entries

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the entries saw on one rank and on two."""
    return {
        f"{case} on {ranks}": results
        for ranks in (1, 2)
        for case, results in run_entries(
            "peft_entries.py", ranks, tiny_path, tmp_path_factory.mktemp("peft")
        ).items()
    }


def of(found: dict[str, dict[str, Any]], words: str, number: int) -> dict[str, dict[str, Any]]:
    cases = {name: case for name, case in found.items() if words in name}
    assert len(cases) == number
    return cases


def test_adapters_learn_the_same_on_all_ranks_and_stages(found) -> None:
    wanted = found["adapters 2 on 1"]
    for name, case in of(found, "adapters", 4).items():
        assert case["norms"] == pytest.approx(wanted["norms"], rel=1e-3), name
        assert case["scores"] == pytest.approx(wanted["scores"], abs=1e-3), name


def test_adapters_go_on_from_a_checkpoint_with_what_was_beneath_them(found) -> None:
    """Under the same stage bit by bit, under another to within rounding; the weights beneath were spoilt."""
    for name, case in of(found, "adapters", 4).items():
        same, other = case["gaps"]
        assert same == 0.0 and other < 1e-4, (name, case["gaps"])


def test_frozen_entries_stay_bit_by_bit_and_the_others_train(found) -> None:
    for name, case in of(found, "masked", 10).items():
        assert case["moved"] == [0] * 28, name
        assert case["trained"] > 0.99 and 0.5 < case["share"] < 0.75, name


def test_norms_and_clipping_are_of_what_trains(found) -> None:
    """A clipped step of Adam with an eps of 1 has the length of the clip, whatever is frozen."""
    wanted = found["masked 0 on 1"]
    for name, case in of(found, "masked", 10).items():
        rounded = "bf16" in name
        assert case["norms"] == pytest.approx(wanted["norms"], rel=2e-2 if rounded else 1e-3), name
        assert case["share"] == pytest.approx(wanted["share"], abs=5e-3 if rounded else 0), name
        assert rounded or case["step"] == pytest.approx(0.01, rel=0.01), name


def test_a_restart_takes_the_masks_of_the_checkpoint(found) -> None:
    """Under another stage, though the trainer that is restarted was made to draw others."""
    for name, case in of(found, "masked", 10).items():
        assert case["resumed"] < (1e-2 if "bf16" in name else 1e-6), name
