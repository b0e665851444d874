"""Numbers that are not finite are noticed before anything changes, and spikes are traced, under ZeRO 0-3."""

import math

import pytest
from engine_entries import make_batch
from finite_entries import SPOILED
from run_helpers import run_entries

pytestmark = pytest.mark.slow
TWO_RANKS = ("survives 2 bf16", "survives 3 fp32", "broken 3", "spiked 1", "spiked 3")
STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def results(tiny_path, tmp_path_factory) -> dict[str, dict]:
    """What finite_entries.py computes; with two ranks only some, under names that begin with "2: "."""
    found = {}
    for ranks, chosen in ((1, ()), (2, TWO_RANKS)):
        out = tmp_path_factory.mktemp(f"ranks{ranks}")
        names = run_entries("finite_entries.py", ranks, tiny_path, out, *chosen)
        found |= {f"{ranks}: {name}": value for name, value in names.items()}
    return found


def place() -> tuple[int, int]:
    """Sequence of the spoiled token, and its position among the trained tokens there."""
    left = SPOILED
    for b, count in enumerate(make_batch().lengths_B):
        if left < count:
            return b, left
        left -= count
    raise AssertionError


SURVIVALS = [f"1: survives {stage} {p}" for stage in STAGES for p in ("fp32", "bf16")]
SURVIVALS += ["1: survives 2 offload", "1: survives 2 offload bf16", "1: survives 3 offload"]
SURVIVALS += ["2: survives 2 bf16", "2: survives 3 fp32"]


@pytest.mark.parametrize("case", SURVIVALS)
def test_a_bad_update_leaves_no_trace_and_is_named(case, results) -> None:
    result, (sequence, position) = results[case], place()
    assert result["kept"] and result["same"]
    for name, what, value in (("rollout", "rollout logprob", "-inf"), ("advantage", "advantage", "nan")):
        found = result["found"][name]
        assert (found["what"], found["value"], found["count"]) == (what, value, 1)
        assert (found["sequences"], found["position"]) == ([sequence], position)
        assert found["token"] == int(make_batch().sequences[sequence][3 + position])
    huge = result["found"]["huge"]
    assert huge["what"] == "gradient"
    assert (huge["sequences"], huge["position"]) == ([sequence], position)


@pytest.mark.parametrize("case", [*(f"1: broken {stage}" for stage in STAGES), "2: broken 3"])
def test_a_weight_that_is_not_finite_is_named(case, results) -> None:
    found = results[case]
    assert found["what"] == "logprob" and found["count"] == found["of"]
    assert found["weights"] in found["name"] and found["weights"] in found["said"]


@pytest.mark.parametrize("case", [*(f"1: spiked {stage}" for stage in STAGES), "2: spiked 1", "2: spiked 3"])
def test_a_spike_is_traced_to_its_token_and_changes_nothing(case, results) -> None:
    found, (sequence, position) = results[case], place()
    assert found["same"] and found["without"] == []
    row = found["rows"][0]
    assert (row["sequences"], row["position"], row["tokens"]) == ([sequence], position, 1)
    assert row["advantage"] == 2000.0 and row["ratio"] == 1.0 and row["logprob"] < 0 < row["entropy"]
    assert row["norm"] > row["limit"] and row["length"] == make_batch().lengths_B[sequence]
    assert math.hypot(*row["layers"].values()) == pytest.approx(row["norm"], rel=1e-5)


def test_probes_of_single_tokens_are_exact(results) -> None:
    result = results["1: every token"]
    assert result["found"] == pytest.approx(result["wanted"], rel=1e-4)
