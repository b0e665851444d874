"""Infinities, NaN, half precision and missing inputs."""

import math

import pytest
import torch
from f1 import (
    ALL,
    ENTROPY,
    LENGTHS,
    NEW,
    OLD,
    REF,
    ROLL,
    ZSCORED,
    advantages,
    algorithm,
    make,
    total,
)

from rlvr_cli.algorithms import segments
from rlvr_cli.algorithms.kl import Estimator
from rlvr_cli.algorithms.mismatch import Level
from rlvr_cli.algorithms.objective import policy_loss

NOBODY = torch.zeros(4, dtype=torch.bool)

LOSSES = ["clipped", "sequence_ratio", "clipped_weight", "reinforce"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
@pytest.mark.parametrize("stream", ["new_N", "old_N", "rollout_N", "ref_N", "both"])
def test_impossible_tokens_give_no_nan(loss: str, level: str, stream: str) -> None:
    """-inf stands for "this engine gives the token no mass"; it must not turn the step into NaN."""
    mismatch = make("mismatch", "mask", level=Level[level])
    recipe = algorithm(loss=loss, mismatch=mismatch, kl=make("kl", "loss", estimator=Estimator.k3))
    tensors = {"new_N": NEW.clone(), "old_N": OLD.clone(), "rollout_N": ROLL.clone(), "ref_N": REF.clone()}
    for name in ("new_N", "old_N") if stream == "both" else (stream,):
        tensors[name][3] = -math.inf
    tensors["new_N"].requires_grad_()
    value = total(recipe, ZSCORED, **tensors)
    value.backward()
    assert value.isfinite()
    assert tensors["new_N"].grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_real_nan_is_not_hidden(loss: str) -> None:
    broken = NEW.clone()
    broken[3] = math.nan
    assert total(algorithm(loss=loss), ZSCORED, new_N=broken).isnan()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(loss: str, dtype: torch.dtype) -> None:
    recipe = algorithm(loss=loss, mismatch="truncate", kl="loss")
    largest = torch.finfo(dtype).max
    new, old = NEW.to(dtype), OLD.to(dtype)
    new[0], old[1], old[2] = -largest, -largest, -largest
    value = total(recipe, ZSCORED, new_N=new, old_N=old, rollout_N=ROLL.to(dtype), ref_N=old)
    assert value.isfinite()
    assert value.dtype == torch.float64  # the advantages' type
    loss_N, _ = recipe.loss(new, old, ZSCORED.to(dtype), LENGTHS)
    assert loss_N.dtype == torch.float32


def test_long_sequences_in_half_precision_are_summed_exactly() -> None:
    ones, lengths = torch.ones(3000, dtype=torch.bfloat16), torch.tensor([1000, 0, 2000])
    assert segments.segment_sum(ones, lengths).tolist() == [1000, 0, 2000]  # bfloat16 sticks at 256
    assert segments.segment_mean(ones, lengths).tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lengths_and_long_sums_survive_half_precision(dtype: torch.dtype) -> None:
    scores, lengths = torch.ones(1, 1, dtype=dtype), torch.tensor([[16385]])
    overlong = make("shaping", "soft_overlong", max_length=16388, buffer=4)
    got = overlong(scores, lengths, lengths > 0, 0)
    assert got.tolist() == [[0.75]] and got.dtype == dtype  # bfloat16 has 16384 and 16512
    costs = torch.full((4000,), -0.001, dtype=dtype)
    inputs = {
        "lengths_B": torch.tensor([4000]),
        "token_rewards_N": costs,
        "values_N": torch.zeros_like(costs),
    }
    got = advantages(make("advantage", "gae", whiten=False), scores, **inputs)
    assert float(got[0]) == pytest.approx(-3.0, abs=0.01) and got.dtype == dtype


def test_one_hopeless_token_does_not_make_the_sequence_ratio() -> None:
    """Its log-ratio of -29 counts in full: the mean over 4 tokens is -7.25, not -5."""
    new, old = torch.tensor([-30.0, -1.0, -1.0, -1.0]), torch.full((4,), -1.0)
    _, metrics = make("loss", "sequence_ratio")(new, old, torch.ones(4), torch.tensor([4]))
    assert metrics["ratio"].tolist() == pytest.approx([math.exp(-7.25)] * 4, rel=1e-5)
    new[0] = -math.inf
    _, metrics = make("loss", "sequence_ratio")(new, old, torch.ones(4), torch.tensor([4]))
    assert metrics["ratio"].tolist() == pytest.approx([math.exp(-20)] * 4, rel=1e-5)


def test_one_token_given_up_is_not_the_measured_kl() -> None:
    new, ref = torch.full((1000,), -1.0), torch.full((1000,), -1.0)
    new[0] = -25.0
    weights = torch.full((1000,), 1e-3)
    _, metrics = policy_loss(
        algorithm(kl="measured"), new_N=new, entropy_N=None, old_N=None, rollout_N=new, ref_N=ref,
        advantages_N=weights, weights_N=weights, lengths_B=torch.tensor([1000]),
    )  # fmt: skip
    assert float(metrics["ref_kl"].mean()) == pytest.approx(0.01)


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="top_entropy needs entropies_N"):
        make("token_weights", "top_entropy")(None, OLD, LENGTHS, NOBODY)
    with pytest.raises(ValueError, match="low_probability needs old_logprobs_N"):
        make("token_weights", "low_probability")(ENTROPY, None, LENGTHS, NOBODY)
    with pytest.raises(ValueError, match="needs ref_N"):
        total(algorithm(kl="loss"), ZSCORED)
    with pytest.raises(ValueError, match="needs entropy_N"):
        total(algorithm(entropy="bonus"), ZSCORED)
    with pytest.raises(ValueError, match="needs values_N"):
        advantages(make("advantage", "gae"))
    with pytest.raises(ValueError, match=r"aggregation\.length is null"):
        make("aggregation", "constant")(ALL, LENGTHS)
