"""What an engine on several ranks, or one that is sent adapters, does not go with."""

from __future__ import annotations

import pytest

from rlvr_cli import compose
from rlvr_cli.compose.evaluation import load_eval
from rlvr_cli.compose.profile import load_profile
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.prerequisites import check_split
from rlvr_cli.schema import Placement, Rollout, RolloutEngine, RolloutLora


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tensor_parallel": 0}, "tensor_parallel is 0; it must be at least 1"),
        (
            {"tensor_parallel": 2, "engine": RolloutEngine.hf},
            "rollout.tensor_parallel is for vLLM, and rollout.engine is hf",
        ),
        (
            {"lora": RolloutLora.adapter, "engine": RolloutEngine.hf},
            "rollout.lora is for vLLM, and rollout.engine is hf",
        ),
        ({"tensor_parallel": 2, "seeded": False}, "seeded=false does not go with rollout.tensor_parallel"),
    ],
)
def test_what_only_vllm_has(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Rollout(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_ranks_are_dealt_out_to_whole_engines() -> None:
    three = Rollout(tensor_parallel=3)
    check_split(three, 6)
    with pytest.raises(
        UserError, match=r"tensor_parallel is 3: .* there are 4, no multiple of it; start 6 ranks"
    ):
        check_split(three, 4)
    check_split(Rollout(tensor_parallel=2, placement=Placement.servers), 3)  # whose GPUs are no ranks'


@pytest.mark.slow
def test_adapters_go_to_the_engine_of_a_run_that_trains_some() -> None:
    """One that trains none, an evaluation, a rank beyond vLLM's are refused; a profile needs no adapters."""
    adapter, rank = "rollout.lora=adapter", "model.lora.rank=8"
    for more in ([], ["rollout.placement=servers"]):
        assert compose.load("tiny_dapo", [adapter, rank, *more]).rollout.lora is RolloutLora.adapter  # type: ignore[union-attr]
    for given, said in (
        ([adapter], "model.lora.rank is 0: nothing is trained in adapters"),
        ([adapter, "model.lora.rank=600"], "up to rank 512, model.lora.rank is 600; set rollout.lora=merged"),
        ([adapter, rank, "model.lora.dora=true"], "model.lora.dora, which vLLM does not compute"),
        ([adapter, rank, "model.lora.init=pissa"], "model.lora.init=pissa: the engine keeps the start model"),
        ([rank, "model.mask.kind=random"], "model.mask.kind is random and model.lora.rank is 8"),
        (["model.lora.dora=true"], "model.lora.dora is of adapters, and model.lora.rank is 0"),
        (["model.lora.init=pissa"], "model.lora.init is of adapters, and model.lora.rank is 0"),
        (["model.mask.share=0.3"], "model.mask.share is of a mask, and model.mask.kind is none"),
        (["trainer.inspect_weights_every=0"], "inspect_weights_every is 0; it must be at least 1, or null"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            compose.load("tiny_dapo", given)
        assert "\n" not in str(caught.value)
    bench = {"benches": ["addition"], "model": "builtin:tiny"}
    with pytest.raises(UserError, match=r"rollout\.lora=adapter is for training"):
        load_eval(None, [adapter], **bench)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="a server samples and no engine is started"):
        load_eval(None, ["rollout.tensor_parallel=2", "server.url=http://here/v1"], **bench)  # type: ignore[arg-type]
    profiled = load_profile("tiny_dapo", [adapter, rank, "rollout.tensor_parallel=2"])
    assert (profiled.rollout.lora, profiled.rollout.tensor_parallel) == (RolloutLora.merged, 2)
    served = load_profile("tiny_dapo", ["rollout.tensor_parallel=2"], server="http://here/v1")
    assert served.rollout.tensor_parallel == 1
