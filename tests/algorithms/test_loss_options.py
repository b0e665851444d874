"""Gradients, limits and extremes of the losses beyond PPO's clip; what they pick is of a whole update."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from f1 import ALL, LENGTHS, NEW, OLD, REF, ROLL, ZSCORED, advantages, aggregation, algorithm, make, total
from gradients import differences, gradient
from torch import Tensor

from rlvr_cli.algorithms import segments
from rlvr_cli.algorithms.check import check, doubts
from rlvr_cli.algorithms.loss_masks import Anchor, Divergence
from rlvr_cli.algorithms.loss_soft import RatioLevel
from rlvr_cli.algorithms.objective import policy_loss
from rlvr_cli.algorithms.proximal import Proximal

INF = math.inf
EXACT: dict[str, Any] = {
    "tv": make("loss", "divergence_mask"),
    "kl": make("loss", "divergence_mask", kind=Divergence.kl, delta_low=0.05, delta_high=0.05),
    "squared": make("loss", "divergence_mask", square_coef=0.1),
    "tv_old": make("loss", "divergence_mask", anchor=Anchor.old),
    "opsm": make("loss", "off_policy_mask", delta=0.1),
    "sapo": make("loss", "soft_gate"),
    "gmpo": make("loss", "geometric_clip", log_clip_low=0.25, log_clip_high=0.25),
    "dro": make("loss", "squared_ratio", beta=0.3),
    "clip_cov": make("loss", "clip_cov", cov_low=0.2, fraction=0.2),
    "kl_cov": make("loss", "kl_cov", fraction=0.3),
}
"""The gradient is that of the value."""
FROZEN: dict[str, Any] = {
    "capped": make("loss", "divergence_mask", cap=1.2),
    "topr": make("loss", "tapered"),
    "topr_token": make("loss", "tapered", level=RatioLevel.token),
    "vespo": make("loss", "sequence_bell"),
}
"""A detached weight times the gradient of new."""
LOSSES = EXACT | FROZEN
MODES = ["token_mean", "seq_mean_token_mean", "constant"]


def chosen(loss: Any, a_N: Tensor = ZSCORED, old_N: Tensor = OLD, keep_N: Tensor = ALL) -> dict[str, Tensor]:
    """What a loss picks of a whole update, where it does."""
    return {"chosen_N": loss.choose(a_N, old_N, keep_N, "0/0/0")} if hasattr(loss, "choose") else {}


def slope(loss: Any, a_N: Tensor = ZSCORED, mode: str = "token_mean", **more: Any) -> Tensor:
    recipe, given_ = algorithm(loss=loss, aggregation=aggregation(mode)), {"rollout_N": ROLL} | more
    return gradient(lambda new: total(recipe, a_N, new_N=new, **chosen(loss), **given_))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EXACT)
def test_gradients_by_finite_differences(name: str, mode: str) -> None:
    recipe = algorithm(loss=EXACT[name], aggregation=aggregation(mode))
    picked = chosen(recipe.loss)

    def value_of(new: Tensor) -> Tensor:
        return total(recipe, ZSCORED, new_N=new, rollout_N=ROLL, **picked)

    exact, at = gradient(value_of), NEW.clone()
    if name == "kl_cov":  # |new - old| has a corner at token 5, where nothing has moved
        at[5] += 1e-3
        exact = gradient(value_of, at)
    assert exact.tolist() == pytest.approx(differences(value_of, at).tolist(), abs=1e-7)
    assert exact.abs().max() > 1e-2


@pytest.mark.parametrize("name", FROZEN)
def test_gradients_by_finite_differences_of_the_frozen_weight(name: str) -> None:
    loss = FROZEN[name]
    loss_N, metrics = loss(NEW, OLD, ZSCORED, LENGTHS, **({"rollout_N": ROLL} if name == "capped" else {}))
    weight_N = metrics["ratio"] * (loss_N != 0)
    numeric = differences(lambda new: -(weight_N * ZSCORED * new).mean())
    assert slope(loss).tolist() == pytest.approx(numeric.tolist(), abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_where_nothing_has_moved_all_are_the_plain_policy_gradient(name: str) -> None:
    """Nothing is dropped, every weight is 1; what an option treats apart aside."""
    loss = replace(LOSSES[name], **({"cov_low": 4.0} if name == "clip_cov" else {}))
    found = slope(loss, old_N=NEW, rollout_N=NEW, mode="seq_mean_token_mean")
    wanted = -ZSCORED / (4 * segments.spread(LENGTHS, LENGTHS))
    assert found.tolist() == pytest.approx(wanted.tolist(), abs=1e-7)
    more = ({"rollout_N": NEW} if getattr(loss, "needs_rollout", False) else {}) | chosen(loss)
    _, metrics = loss(NEW, NEW, ZSCORED, LENGTHS, **more)
    assert metrics["ratio"].tolist() == [1.0] * 10, "exactly"
    held = [metrics[key] for key in ("clip_ratio_low", "clip_ratio_high", "off_policy") if key in metrics]
    assert not any(x_N.any() for x_N in held)


@pytest.mark.parametrize("name", LOSSES)
def test_no_advantage_is_no_gradient(name: str) -> None:
    loss, zeros_N = LOSSES[name], torch.zeros_like(ZSCORED)
    found = slope(loss, zeros_N)
    assert bool(found.any()) == getattr(loss, "beyond_advantages", False)


# -- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Divergence))
def test_a_divergence_mask_without_bounds_is_none(kind: Divergence) -> None:
    free = make("loss", "divergence_mask", kind=kind, delta_low=INF, delta_high=INF)
    loss_N, metrics = free(NEW, OLD, ZSCORED, LENGTHS, rollout_N=ROLL)
    assert torch.equal(loss_N, -(NEW - ROLL).exp() * ZSCORED)
    assert not (metrics["clip_ratio_low"] | metrics["clip_ratio_high"]).any()
    wide = make("loss", "clipped", clip_ratio_low=1.0, clip_ratio_high=INF)
    assert torch.equal(slope(replace(free, anchor=Anchor.old)), slope(wide)), "with old, PPO without its clip"
    shut = replace(free, delta_low=0.0, delta_high=0.0)
    away_N = (NEW - ROLL) * ZSCORED > 0
    assert torch.equal(slope(shut) == 0, away_N), "with bounds of 0 no token goes on the way A pushes it"


def test_losses_that_drop_nothing_are_ppos() -> None:
    plain = make("loss", "clipped", clip_ratio_low=0.25)
    patient = make("loss", "off_policy_mask", clip_ratio_low=0.25, delta=INF)
    unpicked = make("loss", "clip_cov", clip_ratio_low=0.25, clip_ratio_high=0.2, dual_clip=None)
    for other in (patient, unpicked):
        assert torch.equal(slope(other), slope(plain))
    for fraction in (1e-3, 1.0):
        free = make("loss", "kl_cov", coef=0.0, fraction=fraction)
        assert torch.equal(slope(free), slope(replace(plain, clip_ratio_low=1.0, clip_ratio_high=INF)))


def test_gmpo_of_single_tokens_is_ppo_with_bounds_of_the_log_ratio() -> None:
    ones = torch.ones(10, dtype=torch.long)
    gmpo = make("loss", "geometric_clip", log_clip_low=0.25, log_clip_high=0.25)
    ppo = make("loss", "clipped", clip_ratio_low=1 - math.exp(-0.25), clip_ratio_high=math.exp(0.25) - 1)
    one, other = (gradient(lambda new, f=f: f(new, OLD, ZSCORED, ones)[0].sum()) for f in (gmpo, ppo))
    assert one.tolist() == pytest.approx(other.tolist(), abs=1e-12)


def test_a_wide_gmpo_is_gspo_without_its_clip() -> None:
    wide = make("loss", "geometric_clip", log_clip_low=INF, log_clip_high=INF)
    gspo = make("loss", "sequence_ratio", clip_ratio_low=1.0, clip_ratio_high=INF)
    pair = [slope(x, mode="seq_mean_token_mean") for x in (wide, gspo)]
    assert pair[0].tolist() == pytest.approx(pair[1].tolist(), abs=1e-12)


def test_small_temperatures_of_sapo_are_no_gate() -> None:
    """s (1 - s) is a quarter wherever tau (w - 1) is near 0."""
    free = make("loss", "soft_gate", tau_positive=1e-6, tau_negative=1e-6)
    wide = make("loss", "clipped", clip_ratio_low=1.0, clip_ratio_high=INF)
    assert slope(free).tolist() == pytest.approx(slope(wide).tolist(), abs=1e-9)


def test_vespo_without_decay_weighs_by_the_product() -> None:
    plain = make("loss", "sequence_bell", k_positive=1, lambda_positive=0, k_negative=1, lambda_negative=0)
    product_N = segments.spread(segments.segment_sum(NEW - OLD, LENGTHS).exp(), LENGTHS)
    assert (10 * slope(plain)).tolist() == pytest.approx((-product_N * ZSCORED).tolist())


def test_ar_of_nothing_is_none() -> None:
    option = make("reweight", "token_probability", alpha=0.0)
    assert torch.equal(option(ZSCORED, ZSCORED, ZSCORED, LENGTHS, OLD), ZSCORED)


def test_a_prompt_mean_of_one_prompt_is_the_token_mean() -> None:
    keep_N = segments.spread(torch.tensor([True, False, True, True]), LENGTHS)
    prompt, token = make("aggregation", "prompt_mean"), make("aggregation", "token_mean")
    assert torch.equal(prompt(keep_N, LENGTHS, torch.zeros(4).long()), token(keep_N, LENGTHS))
    means = prompt(keep_N, LENGTHS, torch.arange(4))
    assert torch.equal(means, make("aggregation", "seq_mean_token_mean")(keep_N, LENGTHS)), (
        "one response each"
    )


# -- however an update is cut up -------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_any_split_sums_to_the_same(name: str, size: int) -> None:
    """Of six responses, one empty and one masked; what is picked is picked before the split."""
    lengths = torch.tensor([4, 1, 0, 5, 2, 3])
    generator = torch.Generator().manual_seed(size)
    tensors = {
        key: -torch.rand(15, generator=generator, dtype=torch.float64)
        for key in ("new_N", "old_N", "rollout_N", "ref_N", "entropy_N")
    }
    a_B = torch.randn(6, generator=generator, dtype=torch.float64)
    tensors["advantages_N"] = segments.spread(a_B, lengths)
    keep_N = segments.spread(torch.tensor([True, True, True, False, True, True]), lengths)
    recipe = algorithm(loss=LOSSES[name], aggregation="seq_mean_token_mean")
    tensors["weights_N"] = recipe.aggregation(keep_N, lengths).double()
    tensors |= chosen(recipe.loss, tensors["advantages_N"], tensors["old_N"], keep_N)
    tensors["new_N"].requires_grad_()
    whole, _ = policy_loss(recipe, lengths_B=lengths, **tensors)
    (wanted,) = torch.autograd.grad(whole, tensors["new_N"], retain_graph=True)
    groups = lengths.split(size)
    cuts = {key: x_N.split([int(g.sum()) for g in groups]) for key, x_N in tensors.items()}
    parts = [
        policy_loss(recipe, lengths_B=g, **{key: pieces[i] for key, pieces in cuts.items()})[0]
        for i, g in enumerate(groups)
    ]
    (summed,) = torch.autograd.grad(sum(parts), tensors["new_N"])
    assert sum(parts).item() == pytest.approx(whole.item(), abs=1e-9)
    assert torch.allclose(summed, wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["clip_cov", "kl_cov"])
def test_masked_tokens_are_neither_picked_nor_in_the_means(name: str) -> None:
    keep_N = ALL.clone()
    keep_N[9] = False
    loss, wild = EXACT[name], (ZSCORED.clone(), OLD.clone())
    wild[0][9], wild[1][9] = 1e6, -1e6
    picked = loss.choose(*wild, keep_N, "0/0/0")
    assert not picked[9] and picked.any()
    assert torch.equal(picked, loss.choose(ZSCORED, OLD, keep_N, "0/0/0"))
    assert not loss.choose(ZSCORED, OLD, keep_N & False, "0/0/0").any()


def test_a_draw_follows_its_seed() -> None:
    loss = make("loss", "clip_cov", cov_low=-INF, cov_high=INF, fraction=0.3)
    draws = {seed: loss.choose(ZSCORED, OLD, ALL, seed).tolist() for seed in map(str, range(20))}
    assert all(sum(draw) == 3 for draw in draws.values())
    assert draws["7"] == loss.choose(ZSCORED, OLD, ALL, "7").tolist()
    assert len({tuple(draw) for draw in draws.values()}) > 10


# -- extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("stream", ["new_N", "old_N", "rollout_N", "both"])
def test_impossible_tokens_give_no_nan(name: str, stream: str) -> None:
    loss = LOSSES[name]
    tensors = {"new_N": NEW.clone(), "old_N": OLD.clone(), "rollout_N": ROLL.clone()}
    for key in ("new_N", "old_N") if stream == "both" else (stream,):
        tensors[key][3] = -INF
    tensors["new_N"].requires_grad_()
    value = total(algorithm(loss=loss), ZSCORED, **chosen(loss, old_N=tensors["old_N"]), **tensors)
    value.backward()
    assert value.isfinite() and tensors["new_N"].grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_real_nan_is_not_hidden(name: str) -> None:
    broken, loss = NEW.clone(), LOSSES[name]
    broken[1] = math.nan  # a token that none of them drops for another reason
    assert total(algorithm(loss=loss), ZSCORED, new_N=broken, rollout_N=ROLL, **chosen(loss)).isnan()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_widened(name: str) -> None:
    loss, half = LOSSES[name], [x_N.bfloat16() for x_N in (NEW, OLD, ZSCORED)]
    more = ({"rollout_N": ROLL.bfloat16()} if getattr(loss, "needs_rollout", False) else {}) | chosen(loss)
    loss_N, _ = loss(*half, LENGTHS, **more)
    assert loss_N.dtype == torch.float32 and loss_N.isfinite().all()


def test_missing_inputs_are_named() -> None:
    for name, said in (("clip_cov", "chosen_N"), ("kl_cov", "chosen_N"), ("divergence_mask", "rollout_N")):
        with pytest.raises(ValueError, match=f"needs {said}"):
            make("loss", name)(NEW, OLD, ZSCORED, LENGTHS)
    with pytest.raises(ValueError, match=r"loss\.beta is null"):
        make("loss", "squared_ratio")(NEW, OLD, ZSCORED, LENGTHS)
    with pytest.raises(ValueError, match="needs old_N"):
        make("reweight", "token_probability")(ZSCORED, ZSCORED, ZSCORED, LENGTHS)


# -- what does not go together ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"loss": "divergence_mask", "mismatch": "truncate"}, r"mismatch=truncate would count .* twice"),
        (
            {"loss": "divergence_mask", "mismatch": make("mismatch", "none", proximal=Proximal.rollout)},
            r"proximal=rollout is without effect",
        ),
        ({"loss": "squared_ratio"}, r"algorithm\.loss\.beta is null"),
        ({"loss": "geometric_clip", "advantage": "gae"}, r"advantage=gae gives each token its own"),
        ({"loss": "geometric_clip", "reweight": "token_probability"}, r"reweight=token_probability gives"),
        (
            {"loss": "geometric_clip", "advantage": "batch_whitened", "kl": "reward"},
            r"kl=reward with advantage=batch_whitened gives",
        ),
        ({"reweight": "token_probability", "token_weights": "top_entropy"}, r"choose one of them"),
        (
            {"advantage": make("advantage", "pass_at_k", k=8)},
            r"advantage\.k is 8; .* below batch\.group_size",
        ),
        ({"advantage": "separate_rewards", "kl": "reward"}, r"kl=reward adds is none"),
        (
            {"advantage": "separate_rewards", "shaping": "soft_overlong"},
            r"shaping=soft_overlong adds is none",
        ),
    ],
)
def test_impossible_combinations(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(algorithm(**parts), group_size=8, max_tokens=64)
    assert "\n" not in str(caught.value)


def test_possible_combinations_and_what_is_seldom_meant() -> None:
    own = make("loss", "divergence_mask", anchor=Anchor.old)
    for parts in (
        {"loss": own, "mismatch": "truncate"},
        {"loss": "off_policy_mask", "mismatch": "mask"},
        {"loss": "geometric_clip", "advantage": "batch_whitened"},
        {"advantage": make("advantage", "pass_at_k", k=7)},
    ):
        check(algorithm(**parts), group_size=8, max_tokens=64)
    assert [line.split()[0] for line in doubts(algorithm(loss="kl_cov"), 1)] == ["algorithm.loss=kl_cov"]
    assert list(doubts(algorithm(loss="kl_cov"), 2)) == []
    assert list(doubts(algorithm(loss="divergence_mask"), 1, max_staleness=2)) == []
    assert len(list(doubts(algorithm(loss=own), 1, max_staleness=2))) == 1


def test_the_reference_and_a_bonus_go_with_all() -> None:
    for loss in LOSSES.values():
        recipe = algorithm(
            loss=loss, kl=make("kl", "loss", coef=0.1), entropy=make("entropy", "bonus", coef=0.1)
        )
        value = total(recipe, ZSCORED, rollout_N=ROLL, ref_N=REF, entropy_N=-NEW, **chosen(loss))
        assert value.isfinite()
    assert advantages(make("advantage", "pass_at_k", k=2)).isfinite().all()
