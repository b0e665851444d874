"""The trainer's routers follow what they are told, in whatever way the rows are laid and computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.routers import routers_of
from rlvr_cli.engine import attention
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.pack import MicroBatch, alone, bundles_of, collate, prompts_of
from rlvr_cli.engine.routing_replay import Replay
from rlvr_cli.schema import RoutingReplay

SEQUENCES = [(np.arange(n, dtype=np.int32) * 7 + n) % 90 + 5 for n in (9, 14, 6)]
TRAINED = [np.arange(len(s)) >= 3 for s in SEQUENCES]
STARTS = np.array([0, 6, 17])


class Policy:
    """A mixture of experts with hooks, scored as the trainer does."""

    def __init__(
        self, path: Path, kind: RoutingReplay, *, padded: bool = False, double: bool = False
    ) -> None:
        self.hf: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64 if double else None)
        if not padded:
            attention.register()
            self.hf.set_attn_implementation(attention.PACKED)
        if double:
            self.hf.set_experts_implementation("eager")
        self.replay = Replay(self.hf, kind)
        self.scorer = Scorer(self.hf).train()
        self.padded = padded

    def micro(self, members: list[int]) -> MicroBatch:
        return collate(alone(SEQUENCES, members), SEQUENCES, TRAINED, STARTS, padded=self.padded)

    def score(self, micro: MicroBatch, routes: list[np.ndarray] | None, *, records: bool = False) -> Tensor:
        with self.replay.of(routes, records=records):
            targets = self.replay.targets(micro)
            found = self.scorer(*micro.row(), micro.predictors_n, micro.targets_n, 1.0, routes=targets)
            if targets is not None:
                self.replay.close(targets, micro)
        logprobs_n: Tensor = found[0]
        return logprobs_n

    def own_routes(self, members: list[int]) -> list[np.ndarray]:
        self.score(self.micro(members), None, records=True)
        return self.replay.take_recorded(len(SEQUENCES))

    def gradients(self) -> dict[str, Tensor]:
        found = {n: p.grad.clone() for n, p in self.hf.named_parameters() if p.grad is not None}
        self.hf.zero_grad()
        return found


def others(routes: list[np.ndarray]) -> list[np.ndarray]:
    """The same with every expert's number one higher."""
    return [((rows + 1) % 8).astype(np.uint8) for rows in routes]


@pytest.fixture(scope="module")
def policy(tiny_moe_path: Path) -> Policy:
    return Policy(tiny_moe_path, RoutingReplay.r3)


@torch.no_grad()
def test_its_own_routes_change_no_bit(policy: Policy) -> None:
    micro, plain = policy.micro([0, 1, 2]), policy.score(policy.micro([0, 1, 2]), None)
    own = policy.own_routes([0, 1, 2])
    assert [rows.shape for rows in own] == [(8, 2, 2), (13, 2, 2), (5, 2, 2)] and own[0].dtype == np.uint8
    assert torch.equal(policy.score(micro, own), plain)
    assert torch.equal(policy.score(micro, [rows[:, :, ::-1] for rows in own]), plain)  # in any order
    assert policy.replay.take_metrics() == {
        "routing/disagreement": 0.0,
        "routing/router_disagreement": 0.0,
        "routing/token_disagreement": 0.0,
        "routing/layers_per_token": 0.0,
    }
    assert policy.replay.take_metrics() == {}


@torch.no_grad()
def test_what_is_told_is_what_is_computed(policy: Policy) -> None:
    micro = policy.micro([0, 1, 2])
    own = policy.own_routes([0, 1, 2])
    one = [rows.copy() for rows in own]
    one[1][4, 0] = others(own)[1][4, 0]  # of one token, in one layer: of 26 tokens with a route
    plain, told = policy.score(micro, own), policy.score(micro, one)
    policy.replay.take_metrics()
    changed = (plain != told).nonzero().flatten().tolist()
    assert changed and min(changed) >= 6 + 2 and max(changed) < 17  # of its sequence, from that token on
    policy.score(micro, one)
    found = policy.replay.take_metrics()
    assert found["routing/disagreement"] == 0 and found["routing/router_disagreement"] == pytest.approx(
        1 / 52
    )
    assert found["routing/token_disagreement"] == pytest.approx(1 / 26)
    # 1/26 of a layer a token, and what the changed token does to the layer after it.
    assert found["routing/layers_per_token"] == pytest.approx(1 / 26)


@torch.no_grad()
def test_measuring_counts_and_leaves_the_choice(tiny_moe_path: Path) -> None:
    measured = Policy(tiny_moe_path, RoutingReplay.measure)
    micro = measured.micro([0, 1, 2])
    plain = measured.score(micro, None)
    foreign = others(measured.own_routes([0, 1, 2]))
    assert torch.equal(measured.score(micro, foreign), plain)
    found = measured.replay.take_metrics()
    assert found["routing/disagreement"] == found["routing/router_disagreement"] == 1.0
    assert found["routing/layers_per_token"] == 2.0 and found["routing/token_disagreement"] == 1.0


@torch.no_grad()
def test_the_last_token_has_no_say(policy: Policy) -> None:
    """Engines that fill its place fill it with anything; and without it nothing changes."""
    micro, foreign = policy.micro([0, 1, 2]), others(policy.own_routes([0, 1, 2]))
    without = policy.score(micro, foreign)
    for filler in (0, 5):
        filled = [np.concatenate([rows, np.full((1, 2, 2), filler, np.uint8)]) for rows in foreign]
        assert torch.equal(policy.score(micro, filled), without)
    for wrong in ([rows[:-1] for rows in foreign], [rows[:, :1] for rows in foreign]):
        with pytest.raises(ValueError, match="routes of"):
            policy.score(micro, wrong)


def test_gradients_reach_the_router_and_no_expert_that_was_not_chosen(policy: Policy) -> None:
    told = [np.broadcast_to(np.array([2, 5], np.uint8), (len(s) - 1, 2, 2)) for s in SEQUENCES]
    policy.score(policy.micro([0, 1, 2]), told).sum().backward()
    gradients = policy.gradients()
    last = [len(s) for s in SEQUENCES]
    assert last  # the last token of a sequence is routed freely, and predicts nothing
    for layer in (0, 1):
        experts = gradients[f"model.layers.{layer}.mlp.experts.down_proj"]
        assert all(bool(experts[e].any()) == (e in (2, 5)) for e in range(8))
        router = gradients[f"model.layers.{layer}.mlp.gate.weight"]
        assert router[[2, 5]].abs().max() > 1e-4 and router[[0, 1, 3, 4, 6, 7]].abs().max() < 1e-7


def test_a_layers_gradients_are_those_of_finite_differences(tiny_moe_path: Path) -> None:
    """Of router and experts in float64 (around them norms are computed in fp32), the choice frozen."""
    exact = Policy(tiny_moe_path, RoutingReplay.r3, double=True)
    micro, block, step = exact.micro([0, 2]), exact.hf.model.layers[1].mlp, 1e-6
    hidden = torch.randn(1, 15, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    foreign = others(exact.own_routes([0, 1, 2]))

    def total() -> Tensor:
        with exact.replay.of(foreign):
            targets = exact.replay.targets(micro)
        assert targets is not None
        exact.replay._waiting[1] = targets
        found: Tensor = block(hidden)[0, :-1].sin().sum()  # the last row is routed freely
        return found

    total().backward()
    gradients = exact.gradients()
    for name, place in (
        *(("gate.weight", (e, d)) for e in range(8) for d in (3, 40)),
        ("experts.down_proj", (1, 5, 9)),
        ("experts.gate_up_proj", (4, 100, 7)),
    ):
        weight, found = block.get_parameter(name), []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                found.append(float(total()))
                weight[place] -= sign * step
        slope = (found[0] - found[1]) / (2 * step)
        gradient = float(gradients[f"model.layers.1.mlp.{name}"][place])
        assert gradient == pytest.approx(slope, rel=1e-5, abs=1e-8), (name, place)
    assert gradients["model.layers.1.mlp.gate.weight"].abs().max() > 1e-3


def test_recomputed_layers_get_their_own_routes(tiny_moe_path: Path) -> None:
    """Two micro-batches in flight, whose backward passes come in either order: as without recomputation."""
    plain, again = (Policy(tiny_moe_path, RoutingReplay.r3) for _ in range(2))
    again.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    told = others(plain.own_routes([0, 1, 2]))
    wanted: dict[str, Tensor] = {}
    for members in ([0], [1, 2]):
        plain.score(plain.micro(members), told).sum().backward()
    wanted = plain.gradients()
    again.replay.take_metrics(), plain.replay.take_metrics()
    for order in ((0, 1), (1, 0)):
        losses = [again.score(again.micro(members), told).sum() for members in ([0], [1, 2])]
        for which in order:
            losses[which].backward()
        found = again.gradients()
        assert found.keys() == wanted.keys()
        for name, gradient in found.items():
            assert torch.allclose(
                gradient, wanted[name], rtol=0, atol=1e-6 * (1 + wanted[name].abs().max())
            ), name
        assert not again.replay._waiting  # each was taken once
    assert again.replay.sums[0] == 2 * 26 * 2  # and counted once
    one = again.score(again.micro([0, 1, 2]), told).sum()
    one.backward()
    plain.score(plain.micro([0, 1, 2]), told).sum().backward()
    for name, gradient in again.gradients().items():
        assert torch.equal(gradient, plain.hf.get_parameter(name).grad), name


@torch.no_grad()
def test_packed_padded_and_shared_prompts_are_the_same(tiny_moe_path: Path, policy: Policy) -> None:
    padded = Policy(tiny_moe_path, RoutingReplay.r3, padded=True)
    told = others(policy.own_routes([0, 1, 2]))
    apart = policy.score(policy.micro([0, 1, 2]), told)
    assert torch.allclose(padded.score(padded.micro([0, 1, 2]), told), apart, atol=1e-5)
    begin = np.arange(20, 32, dtype=np.int32)
    sequences = [np.concatenate([begin, s[:4]]) for s in SEQUENCES]
    trained = [np.arange(len(s)) >= len(begin) for s in sequences]
    starts, lengths = np.array([0, 4, 8]), [len(s) for s in sequences]
    routes = [
        np.random.default_rng(i).permuted(np.tile(np.arange(8), (15, 2, 1)), axis=-1)[..., :2]
        for i in range(3)
    ]
    for rows in routes[1:]:
        rows[:12] = routes[0][:12]  # one prompt, one way through it
    together = bundles_of(lengths, prompts_of(sequences, trained), 1000)
    assert len(together) == 1 and together[0].prompt == 12
    shared, whole = (
        policy.score(collate(bundles, sequences, trained, starts), routes)
        for bundles in (together, alone(sequences, list(together[0].members)))
    )
    assert torch.allclose(shared, whole, atol=1e-5)


@torch.no_grad()
def test_an_empty_share_is_routed_as_ever(policy: Policy) -> None:
    policy.replay.take_metrics()
    policy.score(collate([], SEQUENCES, TRAINED, STARTS), others(policy.own_routes([0, 1, 2])))
    assert policy.replay.take_metrics() == {}


def test_what_cannot_be_replayed_is_said(tiny_path: Path, tiny_moe_path: Path) -> None:
    dense = AutoModelForCausalLM.from_pretrained(tiny_path)
    with pytest.raises(UserError, match=r"rollout\.routing_replay: this model is no mixture of experts"):
        Replay(dense, RoutingReplay.r3)
    moe: Any = AutoModelForCausalLM.from_pretrained(tiny_moe_path)
    found = routers_of(moe, "key")
    assert [router.layer for router in found] == [0, 1] and found[1].layer_name == "model.layers.1"

    class OtherRouter(torch.nn.Module):
        pass

    moe.model.layers[1].mlp.gate = OtherRouter()
    with pytest.raises(
        UserError, match=r"key: the experts of this model \(Qwen3MoeSparseMoeBlock of .*OtherRouter"
    ):
        routers_of(moe, "key")


@torch.no_grad()
def test_routes_of_all_layers_are_read_at_those_with_experts(policy: Policy) -> None:
    """vLLM's own have a row of nothing for each dense layer."""
    policy.replay.routers, before = policy.replay.routers[1:], policy.replay.routers
    rows = np.arange(2 * 2 * 2, dtype=np.uint8).reshape(2, 2, 2)
    try:
        assert policy.replay.of_routers(rows, 0).tolist() == rows[:, 1:].tolist()
    finally:
        policy.replay.routers = before
    with pytest.raises(ValueError, match="choose 2 of 8"):
        policy.replay.of_routers(rows + 8, 0)
