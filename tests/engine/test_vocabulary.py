"""ZeRO-3 on two ranks with a vocabulary of real size; the ranks need different numbers of chunks.

Chunks of a CPU's true size are in training/test_true_vocabulary.py.
"""

import pytest
from run_helpers import run_entries
from vocabulary_entries import CASES, ROWS, TRAINED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    outs = [tmp_path_factory.mktemp(f"ranks{ranks}") for ranks in (1, 2)]
    return [
        run_entries("vocabulary_entries.py", ranks, models, out, stage)
        for ranks, out, stage in zip((1, 2), outs, ("0", "3"), strict=True)
    ]


def test_the_ranks_need_different_numbers_of_chunks():
    assert [-(-tokens // ROWS) for tokens in TRAINED] == [2, 1]


@pytest.mark.parametrize("case", CASES)
def test_zero3_on_two_ranks_is_zero0_on_one(case, results):
    alone, together = (found[case] for found in results)
    bf16 = case == "bf16"
    assert together["loss"] == pytest.approx(alone["loss"], rel=2e-3 if bf16 else 1e-5, abs=1e-5)
    assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=5e-3 if bf16 else 1e-4)
    for name in ("logprob", "entropy", "after"):
        assert together[name] == pytest.approx(alone[name], rel=1e-3 if bf16 else 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_update_changes_what_the_model_says(case, results):
    for found in results:
        assert found[case]["after"] != pytest.approx(found[case]["logprob"], rel=1e-6)
        assert found[case]["grad_norm"] > 1e-4
