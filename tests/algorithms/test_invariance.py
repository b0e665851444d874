"""The loss of an update and its gradient: by finite differences, and however the update is dealt out."""

from typing import Any

import numpy as np
import pytest
import torch
from f1 import AGGREGATIONS, ALL, LENGTHS, NEW, OLD, REF, ROLL, ZSCORED, algorithm, make
from f1 import aggregation as aggregation_of
from gradients import WIDE, differences, gradient, updates
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms.kl import Estimator
from rlvr_cli.algorithms.mismatch import Level
from rlvr_cli.algorithms.mismatch_rejection import Weight
from rlvr_cli.algorithms.objective import critic_loss, policy_loss
from rlvr_cli.algorithms.proximal import Proximal
from rlvr_cli.engine.pack import MicroBatch, collate, plan, prompts_of

LOSSES: dict[str, Any] = {
    "clipped": make("loss", "clipped"),
    "dual_clip": make("loss", "clipped", clip_ratio_high=0.28, dual_clip=1.3),
    "sequence_ratio": make("loss", "sequence_ratio", **WIDE),
    "reinforce": make("loss", "reinforce"),
}
MISMATCHES: dict[str, Any] = {
    "none": make("mismatch", "none"),
    "tis": make("mismatch", "truncate"),
    "sequence_tis": make("mismatch", "truncate", level=Level.sequence),
    "icepop": make("mismatch", "mask", low=0.9, high=1.1),
    "seq_mask": make("mismatch", "mask", level=Level.geometric, low=0.9, high=1.2, weight=Weight.none),
}


def objective(recipe: Any, new: Tensor, keep_N: Tensor = ALL) -> Tensor:
    return policy_loss(
        recipe,
        new_N=new,
        entropy_N=new.square(),
        old_N=OLD,
        rollout_N=ROLL,
        ref_N=REF + 0.013,
        advantages_N=ZSCORED,
        weights_N=recipe.aggregation(keep_N, LENGTHS).double(),
        lengths_B=LENGTHS,
    )[0]


@pytest.mark.parametrize("mode", AGGREGATIONS)
@pytest.mark.parametrize("mismatch", MISMATCHES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_by_finite_differences(loss: str, mismatch: str, mode: str) -> None:
    if loss == "sequence_ratio" and mismatch in ("tis", "icepop"):
        pytest.skip("GSPO-token is GSPO only where all tokens of a response weigh the same")
    recipe = algorithm(loss=LOSSES[loss], mismatch=MISMATCHES[mismatch], aggregation=aggregation_of(mode))
    exact, numeric = (f(lambda new: objective(recipe, new)) for f in (gradient, differences))
    assert exact.tolist() == pytest.approx(numeric.tolist(), abs=1e-7)
    assert mismatch == "icepop" or exact.abs().max() > 1e-3


@pytest.mark.parametrize("mode", AGGREGATIONS)
@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_the_clipped_weight_by_finite_differences_of_new_alone(mismatch: str, mode: str) -> None:
    loss = make("loss", "clipped_weight", clip_ratio_low=0.1, clip_ratio_high=0.2)
    recipe = algorithm(loss=loss, mismatch=MISMATCHES[mismatch], aggregation=aggregation_of(mode))
    factor_N = recipe.aggregation(ALL, LENGTHS).double() * recipe.mismatch(OLD, ROLL, LENGTHS)
    frozen_N = (NEW - OLD).exp().clamp(0.9, 1.2) * ZSCORED * factor_N
    numeric = differences(lambda new: -(frozen_N * new).sum())
    assert gradient(lambda new: objective(recipe, new)).tolist() == pytest.approx(numeric.tolist(), abs=1e-7)


@pytest.mark.parametrize("estimator", list(Estimator))
@pytest.mark.parametrize("entropy", ["bonus", "adaptive"])
def test_regularisers_by_finite_differences(estimator: Estimator, entropy: str) -> None:
    bonus = make(
        "entropy", entropy, **({"coef": 0.2} if entropy == "bonus" else {"target": 1.0, "delta": 0.2})
    )
    bonus.observe(0.5)
    recipe = algorithm(kl=make("kl", "loss", coef=0.3, estimator=estimator), entropy=bonus)
    exact, numeric = (f(lambda new: objective(recipe, new)) for f in (gradient, differences))
    assert exact.tolist() == pytest.approx(numeric.tolist(), abs=1e-7)
    without = gradient(lambda new: objective(algorithm(kl=recipe.kl), new))
    assert exact.tolist() != pytest.approx(without.tolist(), abs=1e-3)


@pytest.mark.parametrize("clip", [None, 0.17, 10.0])
def test_the_critics_loss_by_finite_differences(clip: float | None) -> None:
    weights_N, old_N, returns_N = torch.full((10,), 0.1, dtype=torch.float64), OLD * 0.5, ZSCORED

    def value_of(values_N: Tensor) -> Tensor:
        return critic_loss(
            clip, values_N=values_N, old_values_N=old_N, returns_N=returns_N, weights_N=weights_N
        )[0]

    assert gradient(value_of).tolist() == pytest.approx(differences(value_of).tolist(), abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=15, deadline=None)
@given(updates())
def test_random_updates_by_finite_differences(loss: str, update: Any) -> None:
    lengths, tensors, keep_N = update
    recipe = algorithm(loss=LOSSES[loss], kl=make("kl", "loss", coef=0.1), aggregation="seq_mean_token_mean")
    weights_N = recipe.aggregation(keep_N, lengths).double()
    given_ = {key: x for key, x in tensors.items() if key != "new_N"}

    def value_of(new: Tensor) -> Tensor:
        return policy_loss(recipe, new_N=new, weights_N=weights_N, lengths_B=lengths, **given_)[0]

    if len(keep_N):
        exact, numeric = gradient(value_of, tensors["new_N"]), differences(value_of, tensors["new_N"])
        assert exact.tolist() == pytest.approx(numeric.tolist(), abs=1e-6)


# -- ranks, micro-batches, padding ---------------------------------------------------------------------

DEALT = {
    "grpo": {"aggregation": "seq_mean_token_mean", "kl": make("kl", "loss", coef=0.1)},
    "dapo": {"loss": LOSSES["dual_clip"], "mismatch": "truncate"},
    "gspo": {"loss": LOSSES["sequence_ratio"], "aggregation": "seq_mean_token_mean"},
    "cispo": {"loss": "clipped_weight", "mismatch": make("mismatch", "mask", level=Level.sequence)},
    "dr_grpo": {"aggregation": aggregation_of("constant"), "entropy": make("entropy", "bonus", coef=0.1)},
    "rloo": {"loss": "reinforce", "aggregation": "seq_mean_token_sum"},
    "a3po": {"mismatch": make("mismatch", "mask", low=0.0, proximal=Proximal.interpolated)},
    "bypass": {
        "mismatch": make("mismatch", "truncate", level=Level.sequence, proximal=Proximal.rollout),
        "loss": "reinforce",
    },
    "rejected": {
        "mismatch": make("mismatch", "reject", limit=0.1, weight=Weight.sequence, cap=2.0, veto_low=0.1)
    },
    "normalised": {"mismatch": make("mismatch", "truncate", level=Level.sequence, normalise=True)},
    "gmpo": {"loss": "geometric_clip", "aggregation": "seq_mean_token_mean"},
    "dppo": {"loss": make("loss", "divergence_mask", square_coef=0.1)},
    "kl_cov": {"loss": make("loss", "kl_cov", fraction=0.2)},
}
VOCABULARY = 7


class Causal:
    """A causal language model small enough for float64: what it predicts depends on all tokens so far."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (VOCABULARY, VOCABULARY)
        self.table = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    def __call__(self, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """Logprobs and entropies of the trained tokens."""
        rows = micro.input_ids if micro.layout is None else self.sequences(micro)
        means = [self.table[row].cumsum(0) / torch.arange(1, len(row) + 1)[:, None] for row in rows]
        laid_EV = torch.cat(means)
        if micro.layout is not None and micro.layout.collect is not None:
            laid_EV = laid_EV[micro.layout.collect]
        logits_nV = laid_EV[micro.predictors_n]
        logprobs_nV = logits_nV.log_softmax(-1)
        entropies_n = -(logprobs_nV.exp() * logprobs_nV).sum(-1)
        return logprobs_nV.gather(1, micro.targets_n[:, None])[:, 0], entropies_n

    @staticmethod
    def sequences(micro: MicroBatch) -> tuple[Tensor, ...]:
        """The tokens of each sequence of the row, as attention lays them out."""
        assert micro.layout is not None
        row, layout = micro.input_ids[0], micro.layout
        return (row if layout.expand is None else row[layout.expand]).split(list(layout.lengths))


def shared_out(
    recipe: Any,
    model: Causal,
    update: dict[str, Any],
    ranks: int,
    tokens_per_microbatch: int,
    padded: bool = True,
    shared: bool = False,
) -> tuple[float, Tensor]:
    """Loss and gradient summed over the micro-batches of all ranks, as the engine plans them."""
    sequences, trained, tensors = update["sequences"], update["trained"], update["tensors"]
    counts = np.array([int(mask.sum()) for mask in trained])
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    plans = plan(
        [len(s) for s in sequences],
        ranks=ranks,
        tokens_per_microbatch=tokens_per_microbatch,
        padded=padded,
        prompts=prompts_of(sequences, trained) if shared else None,
    )
    loss = torch.zeros((), dtype=torch.float64)
    for bundles in (bundles for share in plans for bundles in share):
        micro = collate(bundles, sequences, trained, starts, padded=padded)
        new_n, entropy_n = model(micro)
        picked = {key: x_N[micro.tokens_n] for key, x_N in tensors.items()}
        loss = (
            loss
            + policy_loss(recipe, new_N=new_n, entropy_N=entropy_n, lengths_B=micro.lengths_b, **picked)[0]
        )
    (slope,) = torch.autograd.grad(loss, model.table)
    return loss.item(), slope


@pytest.mark.parametrize("name", DEALT)
@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.booleans()), min_size=1, max_size=9),
    st.integers(0, 1000),
    st.integers(1, 4),
    st.integers(1, 60),
    st.sampled_from([(True, False), (False, False), (False, True)]),
)
def test_ranks_micro_batches_padding_and_shared_prompts_change_nothing(
    name: str,
    rows: list[tuple[int, int, bool]],
    seed: int,
    ranks: int,
    tokens_per_microbatch: int,
    layout: tuple[bool, bool],
) -> None:
    recipe, model = algorithm(**DEALT[name]), Causal(seed)
    generator = torch.Generator().manual_seed(seed)
    draw = np.random.default_rng(seed)
    lengths_B = torch.tensor([response for _, response, _ in rows])
    keep_N = torch.tensor([kept for _, _, kept in rows]).repeat_interleave(lengths_B)
    streams = ("old_N", "rollout_N", "ref_N")
    tensors = {key: -3 * torch.rand(len(keep_N), generator=generator, dtype=torch.float64) for key in streams}
    tensors["advantages_N"] = torch.randn(len(rows), generator=generator, dtype=torch.float64)[
        torch.arange(len(rows)).repeat_interleave(lengths_B)
    ]
    tensors["weights_N"] = recipe.aggregation(keep_N, lengths_B).double()
    tensors["ages_N"] = torch.randint(0, 5, (len(keep_N),), generator=generator).double()
    if recipe.mismatch.needs_old_logprobs and keep_N.any():
        streams_of = (tensors["old_N"], tensors["rollout_N"])
        tensors["scale_N"] = recipe.mismatch.whole_update(*streams_of, lengths_B, keep_N)
    if hasattr(recipe.loss, "choose"):
        tensors["chosen_N"] = recipe.loss.choose(tensors["advantages_N"], tensors["old_N"], keep_N, "0/0/0")
    update = {
        # Prompts of equal length are equal: they may be shared.
        "sequences": [
            np.concatenate([np.arange(p) % VOCABULARY, draw.integers(0, VOCABULARY, r)]).astype(np.int32)
            for p, r, _ in rows
        ],
        "trained": [np.arange(p + r) >= p for p, r, _ in rows],
        "tensors": tensors,
    }
    # Alone in its micro-batch no sequence is padded, and the sum does not depend on any plan.
    loss, slope = shared_out(recipe, model, update, ranks=1, tokens_per_microbatch=1)
    other, other_slope = shared_out(recipe, model, update, ranks, tokens_per_microbatch, *layout)
    assert other == pytest.approx(loss, rel=1e-9, abs=1e-9)
    assert torch.allclose(other_slope, slope, rtol=1e-8, atol=1e-9)
