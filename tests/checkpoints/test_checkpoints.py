"""Checkpoints of a real trainer on two ranks: written in the background, on full disks, and damaged."""

import json

import pytest
from run_helpers import run_entries

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tiny_path, tmp_path_factory) -> dict:
    """What checkpoint_entries.py saw, after making sure that both ranks saw the same."""
    out = tmp_path_factory.mktemp("checkpoints")
    results = run_entries("checkpoint_entries.py", 2, tiny_path, out)
    first, second = (json.loads(text) for text in results["ranks"])
    assert first == second
    return first | {"events": results["events"]}


def test_training_on_does_not_change_what_is_being_written(found) -> None:
    seen = found["background"]
    assert seen["saved"] == seen["loaded"] != seen["further"]
    assert seen["again"] == seen["further"], "Adam's moments were not those of the checkpoint"
    assert (seen["step"], seen["damaged"], seen["state"]) == (1, [], 1)


def test_training_waits_for_the_disk_only_where_it_should(found) -> None:
    assert found["damage"]["waited"] and not found["background"]["waited"]


def test_random_generators_go_on_where_they_were(found) -> None:
    assert found["background"]["random"]


@pytest.mark.parametrize("which", ["full on all", "full on one"])
def test_a_failed_write_leaves_the_others_as_they_were(which, found) -> None:
    seen = found[which]["seen"]
    assert [row["latest"] for row in seen] == ["step_1\n", "step_1\n", "step_3\n", "step_3\n", "step_3\n"]
    assert seen[1]["names"] == ["latest", "step_1"], "nothing is left of what was not written"
    assert seen[2]["names"] == seen[4]["names"] == ["latest", "step_1", "step_3"]
    assert found[which]["good"] == [3, []]


@pytest.mark.parametrize("which", ["full on all", "full on one"])
def test_two_failures_in_a_row_or_the_last_one_end_the_run(which, found) -> None:
    failed = [row["failed"] for row in found[which]["seen"]]
    assert failed[:4] == [False] * 4
    assert "the checkpoint of step 5 could not be written" in failed[4] and "File too large" in failed[4]
    assert "the checkpoint of step 6 could not be written" in found[which]["last"]


def test_a_failure_is_told_with_its_cause(found) -> None:
    warnings = [text for kind, text in found["events"] if kind == "warning"]
    assert any("the checkpoint of step 2 could not be written: File too large" in text for text in warnings)
    assert ["checkpoint", "saved step 3"] in found["events"]


def test_damaged_checkpoints_are_never_loaded(found) -> None:
    seen = found["damage"]
    step, damaged = seen["newest"]
    assert step == 1
    for said, where in zip(damaged, ("step_4", "step_3", "step_2"), strict=True):
        assert said.startswith(f"{where}: ")
    assert "mp_rank_00_model_states.pt has 1000 bytes" in damaged[0]
    assert "rng_rank1.pt is missing" in damaged[1] and "manifest.json is missing" in damaged[2]
    assert seen["then"] == [1, []], "what is damaged was set aside"
    assert "has no checkpoint that is whole: step_1: state.json has 3 bytes" in seen["none"]
    assert seen["names"] == ["latest", "step_1", "step_2.corrupt", "step_3.corrupt", "step_4.corrupt"]


def test_the_manifest_lists_the_files_of_every_rank(found) -> None:
    assert found["damage"]["files"] == [
        "rng_rank0.pt",
        "rng_rank1.pt",
        "state.json",
        "trainer/mp_rank_00_model_states.pt",
        "trainer/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "trainer/zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ]


def test_what_a_kill_left_behind_is_not_taken_for_new(found) -> None:
    assert found["left behind"] == {"start": [None, []], "wrong": None, "newest": [1, []]}


def test_copies_share_what_the_tensors_shared() -> None:
    import torch

    from rlvr_cli.engine.snapshot import copied

    tied, other = torch.ones(3), torch.zeros(2)
    state = {"a": tied, "b": tied[:], "c": [other, (other[1:], 5)], "d": {"names": ["x"]}}
    found = copied(state)
    tied += 1
    other += 1
    state["d"]["names"].append("y")
    assert found["a"].tolist() == [1, 1, 1] and found["b"] is found["a"]
    assert found["c"][0].tolist() == [0, 0] and found["c"][1][0].tolist() == [0]
    assert found["d"] == {"names": ["x"]}
