"""Limiting cases, bit for bit: settings of one algorithm that make it another."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from f1 import algorithm, make
from hypothesis import given, settings
from hypothesis import strategies as st
from presets import preset
from torch import Tensor

from rlvr_cli.algorithms import Algorithm, segments
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.objective import policy_loss

LOSSES = ["clipped", "sequence_ratio", "clipped_weight", "reinforce"]


@st.composite
def steps(draw: st.DrawFn, longest: int = 6) -> dict[str, Tensor]:
    """Two groups of three scored samples, and what a step knows of their tokens."""
    scores = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=6, max_size=6))
    lengths = torch.tensor(draw(st.lists(st.integers(1, longest), min_size=6, max_size=6)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    streams = ("new_N", "old_N", "rollout_N", "ref_N", "entropy_N")
    n = int(lengths.sum())
    tokens = {key: -2 * torch.rand(n, generator=generator, dtype=torch.float64) for key in streams}
    return {"scores_PG": torch.tensor(scores).double().view(2, 3), "lengths_B": lengths, **tokens}


def learn(recipe: Algorithm, step: dict[str, Tensor], **changed: Any) -> tuple[Tensor, Tensor]:
    """Loss and gradient of one update, from scores to tokens, in the order of the loop."""
    step = step | changed
    scores_PG, lengths_B = step["scores_PG"], step["lengths_B"]
    never_PG = torch.zeros_like(scores_PG).bool()
    rewards_PG = recipe.shaping(scores_PG, lengths_B.view_as(scores_PG), never_PG, 0)
    keep_P = recipe.filter(scores_PG, rewards_PG)
    a_N = recipe.advantage(AdvantageInputs(rewards_PG=rewards_PG, lengths_B=lengths_B))
    keep_N = recipe.token_weights(-step["entropy_N"], step["old_N"], lengths_B, never_PG.flatten())
    keep_N = keep_N & segments.spread(keep_P.repeat_interleave(3), lengths_B)
    new = step["new_N"].clone().requires_grad_()
    loss, _ = policy_loss(
        recipe,
        new_N=new,
        entropy_N=-step["entropy_N"],
        old_N=step["old_N"],
        rollout_N=step["rollout_N"],
        ref_N=step["ref_N"] if recipe.kl.needs_reference else None,
        advantages_N=a_N,
        weights_N=recipe.aggregation(keep_N, lengths_B),
        lengths_B=lengths_B,
    )
    loss.backward()
    return loss.detach(), new.grad


def same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(steps())
def test_dapo_with_equal_clips_no_filter_and_sequence_mean_is_grpo(step: dict[str, Tensor]) -> None:
    dapo, grpo = preset("dapo"), preset("grpo")
    dapo.shaping.resolve(64)
    dapo.shaping = replace(dapo.shaping, wrong=0.0)  # responses are short: no overlong punishment
    dapo.loss = replace(dapo.loss, clip_ratio_high=0.2, dual_clip=None)
    dapo.filter, dapo.aggregation = make("filter", "none"), make("aggregation", "seq_mean_token_mean")
    grpo.kl = make("kl", "none")
    assert same(learn(dapo, step), learn(grpo, step))


def test_each_of_dapos_changes_is_one() -> None:
    """What the limiting case switches off does act: otherwise equality would say nothing."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 20, 60, 40, 3, 2])
    step = {
        key: -2 * torch.rand(int(lengths.sum()), generator=generator, dtype=torch.float64)
        for key in ("new_N", "old_N", "rollout_N", "ref_N", "entropy_N")
    } | {"lengths_B": lengths, "scores_PG": torch.tensor([[0.0, 1, 0], [1, 1, 1]]).double()}
    dapo = preset("dapo")
    dapo.shaping.resolve(64)
    whole = learn(dapo, step)
    for part, changed in {
        "loss": replace(dapo.loss, clip_ratio_high=0.2),
        "filter": make("filter", "none"),
        "aggregation": make("aggregation", "seq_mean_token_mean"),
        "shaping": make("shaping", "identity", wrong=-1.0),
    }.items():
        kept = getattr(dapo, part)
        setattr(dapo, part, changed)
        assert not same(learn(dapo, step), whole), part
        setattr(dapo, part, kept)


@settings(max_examples=40, deadline=None)
@given(steps(longest=1), st.floats(0, 0.9), st.floats(0, 2))
def test_gspo_with_one_token_responses_is_clipped(step: dict[str, Tensor], low: float, high: float) -> None:
    bounds = {"clip_ratio_low": low, "clip_ratio_high": high}
    gspo, clipped = (algorithm(loss=make("loss", name, **bounds)) for name in ("sequence_ratio", "clipped"))
    assert same(learn(gspo, step), learn(clipped, step))


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=25, deadline=None)
@given(steps())
def test_ratio_one_gives_the_plain_policy_gradient(name: str, step: dict[str, Tensor]) -> None:
    recipe = algorithm(loss=name, advantage="group_centered", aggregation="seq_mean_token_mean")
    lengths_B = step["lengths_B"]
    a_N = recipe.advantage(AdvantageInputs(rewards_PG=step["scores_PG"], lengths_B=lengths_B))
    weights_N = recipe.aggregation(torch.ones(len(a_N)).bool(), lengths_B)
    _, slope = learn(recipe, step, old_N=step["new_N"], rollout_N=step["new_N"])
    assert torch.equal(slope, -a_N * weights_N)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(steps())
def test_top_entropy_of_all_tokens_is_all(step: dict[str, Tensor]) -> None:
    everything = preset("high_entropy")
    everything.token_weights = replace(everything.token_weights, fraction=1.0)
    dapo = preset("dapo")
    for recipe in (everything, dapo):
        recipe.shaping.resolve(64)
    assert same(learn(everything, step), learn(dapo, step))


@settings(max_examples=25, deadline=None)
@given(steps(), st.sampled_from(["token", "sequence"]))
def test_truncation_without_a_cap_is_plain_importance_sampling(step: dict[str, Tensor], level: str) -> None:
    option = make("mismatch", "truncate", cap=math.inf)
    option.level = type(option.level)[level]
    lengths_B, d_N = step["lengths_B"], step["old_N"] - step["rollout_N"]
    if level == "sequence":
        d_N = segments.spread(segments.segment_sum(d_N, lengths_B), lengths_B)
    assert torch.equal(option(step["old_N"], step["rollout_N"], lengths_B), d_N.exp())
    # On the first update, where new = old, the gradient is that of importance sampling from the engine.
    recipe = algorithm(mismatch=option)
    a_N = recipe.advantage(AdvantageInputs(rewards_PG=step["scores_PG"], lengths_B=lengths_B))
    _, slope = learn(recipe, step, new_N=step["old_N"])
    assert slope.tolist() == pytest.approx((-d_N.exp() * a_N / len(a_N)).tolist(), rel=1e-6, abs=1e-12)
