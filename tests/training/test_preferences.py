"""Runs on preferences: exact on any split and number of ranks, resumed exactly, and they learn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preference_entries import CASES, PAIRS_RECIPE, PRESETS
from run_helpers import run_entries

from rlvr_cli.algorithms.preference_single import KTO
from rlvr_cli.data.pairs import Judged
from rlvr_cli.data.sft import Example
from rlvr_cli.schema import PreferenceRecipe
from rlvr_cli.training.preferences import Preferences, mismatched, rows_of


def answer(*tokens: int, prompt: int, good: bool = True) -> Judged:
    mask = np.arange(len(tokens)) >= prompt
    return Judged(example=Example(tokens=np.array(tokens, np.int32), mask=mask), desirable=good)


def test_each_prompt_meets_the_answer_before_it() -> None:
    rows = rows_of([answer(1, 2, 7, prompt=2), answer(3, 8, 8, prompt=1, good=False), answer(4, 9, prompt=1)])
    sequences, trained = mismatched(rows, 9)
    assert [s.tolist() for s in sequences] == [[1, 2, 9], [3, 7], [4, 8, 8]]
    assert [m.tolist() for m in trained] == [[False, False, True], [False, True], [False, True, True]]
    assert [s.tolist() for s in mismatched(rows, 2)[0]] == [[3, 7]]  # what would be too long is left out
    assert rows.wanted_B.tolist() == [True, False, True] and not rows.paired
    turns = answer(5, 6, 0, 7, prompt=1)
    turns.example.mask[2] = False  # what the user says between two answers
    assert [m.tolist() for m in mismatched(rows_of([turns, turns]), 9)[1]] == [[False, True, False, True]] * 2


def test_the_zero_of_kto_is_what_mismatched_answers_gain() -> None:
    task = Preferences.__new__(Preferences)
    task.option, task.recipe = KTO(), PreferenceRecipe(name="k")
    rows = rows_of([answer(1, 2, prompt=1), answer(3, 4, prompt=1, good=False)])
    masks = [*rows.trained, *mismatched(rows, 99)[1]]  # two rows, then two mismatches
    sums = [-1.0, -2.0, -3.0, -4.0], [-2.0, -4.0, -3.5, -4.1]
    new_N, ref_N = (at_last_tokens(x, masks) for x in sums)
    objective = task._objective(rows, new_N, ref_N, masks)
    loss, told = objective(new_N[: int(rows.lengths_B.sum())])
    assert told["preference/kl"] == pytest.approx((0.5 + 0.1) / 2)
    good, bad = 0.1 * (1 - 0.3), 0.1 * (0.3 - 2)
    assert float(loss) == pytest.approx(1 - (1 / (1 + np.exp(-good)) + 1 / (1 + np.exp(-bad))) / 2)


def at_last_tokens(sums: list[float], masks: list[np.ndarray]) -> torch.Tensor:
    """Each answer's sum at its last token and 0 at the others."""
    parts = [[0.0] * (int(mask.sum()) - 1) + [x] for x, mask in zip(sums, masks, strict=True)]
    return torch.tensor([x for part in parts for x in part], dtype=torch.float64)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ranks in (1, 2):
        found |= run_entries(
            "preference_entries.py", ranks, tiny_path, tmp_path_factory.mktemp(f"ranks{ranks}")
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_no_split_and_no_rank_changes_a_run(case: str, runs: dict[str, Any]) -> None:
    """Of one micro-batch, of many that part pairs, and on two ranks with ZeRO-3; KTO's z among the
    numbers."""
    whole = runs[f"{case} 0 2000"]
    assert len(whole) == 2 and all(row["train/grad_norm"] > 1e-4 for row in whole)
    for other in (f"{case} 0 80", f"{case} 3 200"):
        for got, wanted in zip(runs[other], whole, strict=True):
            assert got.keys() == wanted.keys()
            for name, value in wanted.items():
                assert got[name] == pytest.approx(value, abs=2e-4, rel=2e-4), f"{other} {name}"


@pytest.mark.slow
def test_a_run_begins_at_its_reference(runs: dict[str, Any]) -> None:
    first = {case: runs[f"{case} 0 2000"][0] for case in CASES}
    assert first["lora"]["train/loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert first["dpo"]["train/loss"] == pytest.approx(
        np.log(2) + 0.5 * first["dpo"]["preference/sft_loss"], abs=1e-6
    )
    assert first["kto"]["train/loss"] == pytest.approx(0.5, abs=1e-6) and first["kto"]["preference/kl"] == 0
    for case in ("dpo", "lora"):
        assert first[case]["rewards/accuracies"] == first[case]["rewards/margins"] == 0


@pytest.mark.slow
def test_a_run_goes_on_exactly_and_learns(runs: dict[str, Any]) -> None:
    """Cut after 3 of 9 steps; weights and metrics are those of the run that was not, and rewards rank pairs
    that were not trained on."""
    found = runs["cut"]
    assert found["went on"]
    whole, cut = found["rows"]
    assert len(whole) == 9 and cut == whole
    assert found["weights"][0] == found["weights"][1]
    first, *_, last = found["measured"]
    assert last["eval/accuracy"] > 0.6 and last["eval/margin"] > 0
    assert last["eval/loss"] < first["eval/loss"] < np.log(2) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("preset", [*PRESETS, "kto"])
def test_each_preset_goes_on_exactly_and_is_the_same_on_two_ranks(preset: str, runs: dict[str, Any]) -> None:
    """Cut after the first of two steps; and under ZeRO-3."""
    whole = runs[f"{preset} on 1"]
    assert len(whole["rows"]) == 2 and all(row["train/grad_norm"] > 1e-4 for row in whole["rows"])
    assert runs[f"{preset} cut"] == whole
    for got, wanted in zip(runs[f"{preset} on 2"]["rows"], whole["rows"], strict=True):
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            assert got[name] == pytest.approx(value, abs=2e-4, rel=2e-4), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("algorithm=kto", "eval.every=1", "eval.stop_at=0.9"),
            "eval.stop_at is an accuracy on pairs, and kto",
        ),
        (("model.lora.rank=4", "model.lora.dropout=0.1"), "model.lora.dropout is 0.1; it must be 0"),
        (
            ("algorithm.preference.gamma=1",),
            "unknown key 'algorithm.preference.gamma'.*choose algorithm/preference=simpo",
        ),
        (("algorithm/preference=dpp",), "algorithm.preference.name: there is no 'dpp'; available: apo_down"),
        (("algorithm.preference.beta=0",), "algorithm.preference.beta is 0.0; it must be above 0"),
        (
            ("algorithm.preference.margin_coef=1",),
            "has no margin, which algorithm.preference.margin_coef asks for",
        ),
        (("trainer.response_tokens=9",), "counts sampled tokens, and dpo samples none"),
    ],
)
def test_recipes_that_cannot_run(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    from rlvr_cli import compose
    from rlvr_cli.core.errors import UserError
    from rlvr_cli.dry_run.look import look

    recipe = tmp_path / "pairs.yaml"
    recipe.write_text(PAIRS_RECIPE)
    with pytest.raises(UserError, match=message):
        look(compose.load(str(recipe), list(overrides)))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("algorithm=kto", "algorithm.preference.undesirable=2", "algorithm.max_length=9"),
        (
            "algorithm=cpo",
            "algorithm.sft_coef=0",
            "algorithm/preference=simpo",
            "algorithm.preference.gamma=0.5",
        ),
    ],
)
def test_what_a_dry_run_prints_is_the_same_recipe(overrides: tuple[str, ...], tmp_path: Path) -> None:
    from rlvr_cli import compose
    from rlvr_cli.dry_run.changes import text_of

    (tmp_path / "pairs.yaml").write_text(PAIRS_RECIPE)
    recipe = compose.load(str(tmp_path / "pairs.yaml"), list(overrides))
    (tmp_path / "again.yaml").write_text(text_of(recipe))
    assert compose.load(str(tmp_path / "again.yaml"), []) == recipe
    compose.save(recipe, tmp_path / "dump.yaml")
    assert compose.read(tmp_path / "dump.yaml") == recipe
