"""How tokens add up: per-token weights w with

    loss = sum_N(token_loss_N * w_N)

Every option maps keep_N (bool: this token's loss counts) and lengths_B of the update to w_N (float32).
Below, o_i are the kept tokens of sequence i, B the sequences that have some. The weights are computed once
over the whole update, so that any split of it over micro-batches and ranks sums to the same loss. Dividing
by a micro-batch's own token count instead would silently turn token_mean into a mean of means (TRL's bnpo).
Dropped tokens weigh 0. A sequence without a kept token leaves the count B as well (as in verl and OpenRLHF).
Options that are `by_prompt` are told besides which sequences have the same prompt (prompts_B, equal numbers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


def kept_per_sequence(keep_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Kept tokens of each sequence, exact in float64: _B."""
    return segment_sum(keep_N.double(), lengths_B)


def sequence_count(keep_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Sequences with a kept token, at least 1: a scalar."""
    return (kept_per_sequence(keep_N, lengths_B) > 0).sum().clamp(min=1)


def weigh(option: Any, keep_N: Tensor, lengths_B: Tensor, prompts_B: Tensor) -> Tensor:
    """w_N of an option, told what it asks for."""
    told = (prompts_B,) if getattr(option, "by_prompt", False) else ()
    weights_N: Tensor = option(keep_N, lengths_B, *told)
    return weights_N


@option("aggregation")
class TokenMean:
    """sum(loss) / sum_i |o_i|: DAPO (2503.14476), verl's and TRL's default. Long responses weigh more.

    DAPO writes the sum over a group, its code takes the mini-batch. TRL divides each process's sum by
    num_items_in_batch / num_processes, which is this once gradients are averaged over processes.
    """

    name: str = "token_mean"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        return keep_N.float() / keep_N.sum().clamp(min=1)


@option("aggregation")
class SeqMeanTokenMean:
    """1 / B * sum_i(sum_t(loss) / |o_i|): GRPO (2402.03300) and GSPO (2507.18071).

    Each response weighs the same, so tokens of long wrong answers are punished less. verl divides by
    |o_i| + 1e-8, TRL (loss_type=grpo) by max(|o_i|, 1), as here.
    """

    name: str = "seq_mean_token_mean"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        kept_B = kept_per_sequence(keep_N, lengths_B).clamp(min=1)
        return (keep_N / (spread(kept_B, lengths_B) * sequence_count(keep_N, lengths_B))).float()


@option("aggregation")
class SeqMeanTokenSum:
    """1 / B * sum_i sum_t(loss): the policy gradient of whole responses, as in RLOO (2402.14740).

    verl's seq-mean-token-sum. Grows with response length: compare learning rates with that in mind.
    """

    name: str = "seq_mean_token_sum"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        return keep_N.float() / sequence_count(keep_N, lengths_B)


@option("aggregation")
class Sum:
    """sum(loss): for an advantage that has the divisor in it already (`online_pairs`)."""

    name: str = "sum"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        return keep_N.float()


@option("aggregation")
class Constant:
    """sum(loss) / (B * length): Dr.GRPO (2503.20783), whose length is the generation limit (3000).

    Unbiased as a sum over tokens, and of a size that does not depend on how long responses are. TRL
    (loss_type=dr_grpo) divides by B * max_completion_length. verl's default constant is the width of the
    padded tensor, which changes from batch to batch: set loss_scale_factor there. OpenRLHF's dr_grpo keeps a
    token or sample mean.
    """

    name: str = "constant"
    length: int | None = None
    """The divisor; usually ${rollout.max_tokens}. It must be given."""

    def __post_init__(self) -> None:
        require(self.length is None or self.length > 0, "aggregation.length", self.length, "positive")

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        if self.length is None:
            raise ValueError("algorithm.aggregation.length is null; it must be positive")
        return keep_N.float() / (sequence_count(keep_N, lengths_B) * self.length)


@option("aggregation")
class PromptMean:
    """1 / P * sum_p(sum over the prompt's tokens(loss) / T_p): Magistral (2506.10910), ScaleRL (2510.13786).

    T_p are the kept tokens of all the prompt's responses, P the prompts that have some: DAPO's token mean
    within a prompt, GRPO's equal weight between prompts. A filtered group leaves P, a masked response T_p.
    Corrects for prompts with long answers ruling the batch; within a prompt long responses weigh more.
    """

    name: str = "prompt_mean"
    by_prompt: ClassVar[bool] = True

    def __call__(self, keep_N: Tensor, lengths_B: Tensor, prompts_B: Tensor) -> Tensor:
        kept_B = kept_per_sequence(keep_N, lengths_B)
        numbers_P, place_B = prompts_B.unique(return_inverse=True)
        kept_P = kept_B.new_zeros(len(numbers_P)).index_add(0, place_B, kept_B)
        prompts = (kept_P > 0).sum().clamp(min=1)
        return (keep_N / (spread(kept_P[place_B].clamp(min=1), lengths_B) * prompts)).float()
