"""Routing replay as runs have it: under ZeRO, on two ranks, with layers that are computed again, in bf16; and
against an engine whose routers are noisy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from routing_entries import CASES
from run_helpers import run_entries

from rlvr_cli.commands.main import main
from rlvr_cli.core.routes import of_json
from rlvr_cli.tracking import read_records

pytestmark = pytest.mark.slow
STEPS = 2


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("routing")


@pytest.fixture(scope="module")
def found(tiny_moe_path: Path, out: Path) -> dict[str, Any]:
    return run_entries("routing_entries.py", 2, tiny_moe_path, out)


@pytest.mark.parametrize("case", CASES)
def test_its_own_routes_change_no_bit_of_an_update(case: str, found: dict[str, Any]) -> None:
    """Logprobs, loss and the whole gradient; other routes change them, and are followed."""
    one = found[case]
    assert one["logprobs"] and one["gradients"] and one["size"] > 1e-3
    assert {name: one["own"][name] for name in one["plain"]} == one["plain"]
    assert one["own"]["routing/router_disagreement"] == one["own"]["routing/disagreement"] == 0
    assert one["moved"] > 0.01 * one["size"]
    assert one["others"]["routing/disagreement"] == 0 < one["others"]["routing/router_disagreement"]


def test_an_update_with_given_routes_is_the_same_under_every_stage(found: dict[str, Any]) -> None:
    wanted = found["zero 0"]["others"]
    for case in ("zero 1", "zero 2", "zero 3", "recomputed"):
        assert found[case]["others"] == pytest.approx(wanted, rel=1e-4), case
    for case in ("bf16", "all of it"):
        assert found[case]["others"]["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=0.1), case


def without(row: dict[str, float], prefix: str) -> dict[str, float]:
    return {name: value for name, value in row.items() if not name.startswith(prefix)}


def test_measuring_changes_no_run(found: dict[str, Any]) -> None:
    assert len(found["none"]) == STEPS and not any(n.startswith("routing/") for n in found["none"][0])
    for got, wanted in zip(found["measure"], found["none"], strict=True):
        assert without(got, "routing/") == wanted
        assert got["routing/disagreement"] == got["routing/router_disagreement"]


def test_updates_that_follow_the_first_pass_compute_with_its_experts(found: dict[str, Any]) -> None:
    """At this learning rate the second update's routers would choose others."""
    for got in found["r2"]:
        assert got["routing/disagreement"] == 0 < got["routing/router_disagreement"]


def test_noisy_routers_make_spikes_without_replay_and_none_with_it(found: dict[str, Any]) -> None:
    plain, replayed = found["noise, measure"], found["noise, r3"]
    assert len(plain) == len(replayed) == STEPS
    assert plain[0]["routing/disagreement"] == plain[0]["routing/router_disagreement"] > 0.02
    assert all(row["routing/disagreement"] == 0 < row["routing/router_disagreement"] for row in replayed)
    assert replayed[0]["mismatch/max"] < plain[0]["mismatch/max"] / 2
    assert replayed[0]["mismatch/k3"] < plain[0]["mismatch/k3"] / 2


def test_a_run_that_has_recorded_its_routes_is_told_that_they_are_the_cause(
    found: dict[str, Any], out: Path, capsys: Any
) -> None:
    assert found
    row = next(read_records(out / "noise_measure", 1))
    routes = of_json(row["routes"])
    assert routes.shape == (len(row["prompt_tokens"]) + len(row["response_tokens"]) - 1, 2, 2)
    assert routes.dtype == np.uint8 and 0 < routes.max() < 8
    assert "routes" not in next(read_records(out / "none", 1))
    dominates = {}
    for name in ("none", "noise, measure", "noise, r3"):
        words = [str(out / name.replace(", ", "_")), "--step", "1", "--samples", "6", "--json"]
        assert main(["inspect", "mismatch", *words]) == 0
        looked = json.loads(capsys.readouterr().out)
        dominates[name] = looked["dominates"]
        told = " ".join(looked["told"])
        assert ("nobody has recorded which experts" in told) == (name == "none")
        assert ("takes the engine's experts as it is" in told) == (name == "noise, r3")
        if name == "noise, measure":
            assert "rollout.routing_replay=r3" in looked["verdict"] and "of k3 are gone" in looked["verdict"]
    assert dominates["noise, measure"] == "routing" != dominates["noise, r3"]
    assert dominates["none"] == "kernel"
