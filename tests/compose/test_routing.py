"""What routing replay goes with, and what it does not."""

from __future__ import annotations

import pytest

from rlvr_cli import compose
from rlvr_cli.compose.evaluation import load_eval
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import RoutingReplay

MODEL = "model.path=builtin:tiny_moe"


@pytest.mark.slow
def test_routes_need_an_engine_in_process_and_responses_in_one_piece() -> None:
    recipe = compose.load("tiny_moe_grpo", [MODEL])
    assert recipe.rollout.routing_replay is RoutingReplay.r3  # type: ignore[union-attr]
    r2 = "rollout.routing_replay=r2"
    compose.load("tiny_moe_grpo", [MODEL, r2])
    for given, said in (
        (["rollout.placement=servers"], r"set rollout\.placement=in_process"),
        (["rollout.tensor_parallel=2"], r"rollout\.tensor_parallel=2 splits it over several"),
        (["rollout.lora=adapter", "model.lora.rank=8"], r"set rollout\.lora=merged"),
        (["rollout.max_staleness=1"], r"set rollout\.max_staleness=0"),
        (["trainer.sequence_parallel=2"], r"trainer\.sequence_parallel=2, which cuts rows"),
        ([r2, "batch.updates_per_step=1"], r"batch\.updates_per_step=1 makes one update"),
        (["rollout.routing_replay=measure", "rollout.max_staleness=1"], "routing_replay=measure needs"),
        (["rollout.routing_replay=r4"], "r4"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            compose.load("tiny_moe_grpo", [MODEL, *given])
        assert "\n" not in str(caught.value), given
    with pytest.raises(UserError, match=r"algorithm\.advantage=tree grows them as trees"):
        compose.load("tiny_fork", [MODEL, "rollout.routing_replay=r3"])
    with pytest.raises(UserError, match=r"data\.train\.environment: rollout\.routing_replay=r3 knows"):
        compose.load("tiny_guess", [MODEL, "rollout.routing_replay=r3"])


@pytest.mark.slow
def test_an_evaluation_follows_no_routes() -> None:
    bench = {"benches": ["addition"], "model": "builtin:tiny_moe"}
    with pytest.raises(UserError, match="nothing follows the routes of an evaluation"):
        load_eval(None, ["rollout.routing_replay=r3"], **bench)  # type: ignore[arg-type]
