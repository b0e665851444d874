"""Where the rollout engine lives: combinations that make no sense, and GPUs that are left for ranks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from rlvr_cli import compose
from rlvr_cli.checkpoints.recipe_changes import differences
from rlvr_cli.compose.placement import check_placement
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.prerequisites import beside_servers
from rlvr_cli.schema import Placement, Recipe, Rollout, RolloutEngine, Servers, Transfer
from rlvr_cli.schema.derived import derive

BESIDE = Placement.servers


@cache
def tiny() -> Recipe:
    recipe = compose.load("tiny_dapo", ["rollout.placement=servers", "rollout.servers.count=2"])
    assert isinstance(recipe, Recipe)
    return recipe


def test_a_recipe_with_servers_says_so() -> None:
    assert (tiny().rollout.placement, tiny().rollout.servers.count) == (BESIDE, 2)
    assert derive(tiny())["rollout servers"] == "2 on each machine, beside the ranks"
    check_placement(tiny())
    check_placement(replace(tiny(), rollout=Rollout()))


def test_servers_without_their_placement_are_refused_as_the_recipe_is_read() -> None:
    with pytest.raises(
        UserError, match=r"rollout\.servers\.count is set, but rollout\.placement is in_process"
    ):
        compose.load("tiny_dapo", ["rollout.servers.count=2"])


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({"servers": Servers(timeout_s=3)}, "rollout.servers.timeout_s is set, but rollout.placement"),
        ({"placement": BESIDE, "engine": RolloutEngine.hf}, "rollout.placement=servers is for vLLM"),
        (
            {"placement": BESIDE, "servers": Servers(count=2, gpus=[5, 6, 7])},
            "rollout.servers.gpus has 3 GPUs, and 2 servers of rollout.tensor_parallel=1 need 2",
        ),
        (
            {"placement": BESIDE, "tensor_parallel": 2, "servers": Servers(gpus=[5, 6, 7])},
            "rollout.servers.gpus has 3 GPUs, and 1 servers of rollout.tensor_parallel=2 need 2",
        ),
    ],
)
def test_what_makes_no_sense_together_is_refused_in_one_line(rollout: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        check_placement(replace(tiny(), rollout=Rollout(**rollout)))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_way_of_weights_is_of_servers_and_of_training() -> None:
    with pytest.raises(ValueError, match=r"rollout\.servers\.transfer is set, but rollout\.placement"):
        check_placement(replace(tiny(), rollout=Rollout(servers=Servers(transfer=Transfer.broadcast))))
    given = ["rollout.placement=servers", "rollout.servers.transfer=memory"]
    with pytest.raises(UserError, match=r"rollout\.servers\.transfer .* rlvr eval sends none"):
        compose.load_eval(None, given, benches=["math500"], model="m")


def test_a_trainer_does_not_sleep_for_an_engine_elsewhere() -> None:
    with pytest.raises(ValueError, match=r"trainer\.sleep makes room for an engine on the same GPU"):
        check_placement(replace(tiny(), trainer=replace(tiny().trainer, sleep=True)))


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ({"count": 0}, "rollout.servers.count is 0; it must be at least 1"),
        ({"threads": 0}, "rollout.servers.threads is 0"),
        ({"urls": ["localhost:8710"]}, "'localhost:8710' is no address"),
        ({"urls": ["http://a:1"], "count": 2}, "rollout.servers.count is for servers that the run starts"),
        ({"urls": ["http://a:1", "http://a:1/"]}, "rollout.servers.urls has an entry twice"),
        ({"gpus": [1, 1]}, "rollout.servers.gpus has an entry twice"),
        ({"gpus": [-1]}, "rollout.servers.gpus has -1"),
        ({"restarts": -1}, "rollout.servers.restarts is -1"),
        ({"start_s": 0}, "rollout.servers.start_s is 0; it must be above 0"),
    ],
)
def test_settings_of_servers_are_checked(servers: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        Servers(**servers)
    assert said in str(error.value)


def left(there: int, tensor_parallel: int = 1, /, **servers: Any) -> int:
    rollout = Rollout(placement=BESIDE, tensor_parallel=tensor_parallel, servers=Servers(**servers))
    return beside_servers(rollout, there)


def test_servers_take_gpus_from_the_ranks() -> None:
    assert beside_servers(Rollout(), 8) == 8
    assert left(8) == 7 and left(8, count=3) == 5 and left(8, 2, count=2) == 4
    assert left(8, gpus=[6, 7]) == 6 and left(8, 2, gpus=[4, 5, 6, 7]) == 4
    assert left(8, urls=["http://a:1"]) == 8 and left(0, count=2) == 0


@pytest.mark.parametrize(
    ("gpus", "servers", "said"),
    [
        (2, {"count": 2}, "servers take 2 GPUs, and of 2 none is left for a rank"),
        (8, {"gpus": [0, 1]}, "the first among them"),
        (8, {"gpus": [8]}, "has GPU 8, and there are 8"),
        (0, {"gpus": [1]}, "names GPUs, and there are none"),
        (4, {"threads": 2}, "is for servers on CPUs"),
    ],
)
def test_gpus_that_are_not_there_are_refused(gpus: int, servers: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        left(gpus, **servers)


def test_a_run_may_go_on_with_its_engine_elsewhere() -> None:
    before = {"rollout": {"placement": "in_process", "max_tokens": 8}}
    after = {"rollout": {"placement": "servers", "servers": {"count": 2}, "max_tokens": 8}}
    assert differences(before, after, 1, 0) == []
