"""The same run on any number of ranks, any ZeRO stage and any micro-batch size gives the same numbers."""

from pathlib import Path

import pytest
from run_helpers import RECIPE, comparable, rlvr, run_entries, steps_of

pytestmark = pytest.mark.slow

CASES = [
    f"ranks={ranks} tokens={tokens} zero={stage}"
    for ranks, tokens in ((1, 400), (1, 200), (2, 400))
    for stage in (0, 1, 2, 3)
]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """Of the command, as a user runs it."""
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "exact.yaml").write_text(RECIPE)
    done = rlvr("train", str(folder / "exact.yaml"), f"out={folder / 'run'}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(folder / "run")
    assert len(rows) == 3 and all(row["actor/grad_norm"] > 1e-3 for row in rows)
    assert rows[2]["actor/ref_kl"] > 0
    return rows


@pytest.fixture(scope="module")
def runs(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, float]]]:
    """Steps of every case, from two groups of processes: starting one takes longer than such a run."""
    found = {}
    for ranks in (1, 2):
        out = tmp_path_factory.mktemp(f"ranks{ranks}")
        found |= run_entries("exact_entries.py", ranks, tiny_path, out)
    return found


@pytest.mark.parametrize("case", CASES)
def test_metrics_do_not_depend_on_ranks_stage_or_micro_batches(case, runs, baseline) -> None:
    for got, wanted in zip(runs[case], baseline, strict=True):
        for name, value in comparable(wanted).items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-4), name


def test_each_token_is_recorded_as_if_one_rank_had_all(runs) -> None:
    """Sampled on one rank, trained on by another: ids, the engine's logprobs, and what the update saw."""
    alone, both = (runs[f"records ranks={ranks}"] for ranks in (1, 2))
    assert len(alone) == 3 * 6 * 4
    for got, wanted in zip(both, alone, strict=True):
        for name in ("index", "sample", "response", "response_tokens", "kept"):
            assert got[name] == wanted[name]
        for name in ("logprobs", "trainer_logprobs", "entropies", "old_logprobs"):
            assert len(got[name]) == len(got["response_tokens"])
            assert got[name] == pytest.approx(wanted[name], abs=1e-4), name


@pytest.mark.parametrize("case", ["ranks=1 zero=0", "ranks=1 zero=2", "ranks=1 zero=3", "ranks=2 zero=3"])
def test_a_trainer_that_sleeps_makes_the_same_run(case, runs) -> None:
    """Bit for bit, with a checkpoint after every step, and under ZeRO-3 a resume."""
    awake, slept = runs[f"slept {case}"]
    assert len(slept["rows"]) == 3 and len(slept["traces"]) > 1
    assert slept == awake
