"""Which tokens count: True where a token's loss is kept.

Overlong filtering (drop_truncated) and training on some of a prompt's samples (samples) are switches of every
option, as they go with each of them. Tokens they drop leave the loss, the normaliser and the quantiles, but
their reward stays in the group's statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import finite
from rlvr_cli.algorithms.segments import spread, widen

if TYPE_CHECKING:
    from torch import Tensor


class Scope(Enum):
    batch = "batch"
    sequence = "sequence"


@dataclass(kw_only=True)
class TokenWeights:
    """What all options share."""

    drop_truncated: bool = False
    """Overlong filtering (DAPO's ablation, TRL's mask_truncated_completions)."""
    samples: int | None = None
    """Samples of a prompt that train, drawn at random, in every step anew; null: all. Advantages are those of
    the whole group (RaML, 2505.19815: num_update_sample_per_prompt)."""
    needs_entropy: ClassVar[bool] = False
    needs_old_logprobs: ClassVar[bool] = False
    passes: ClassVar[int] = 1
    """Updates of the same samples, one after the other, each of some of the tokens: an option with several
    has `of_pass`."""

    def drawn(self, scored_B: Tensor, group_size: int, seed: str) -> Tensor:
        """Which samples of each prompt train, bool _B: so many of its scored ones, all where it has no more.

        The same `seed` draws the same, on every rank and after a resume.
        """
        if self.samples is None:
            return scored_B
        random, drawn_B = Random(seed), scored_B.new_zeros(len(scored_B))
        for first in range(0, len(scored_B), group_size):
            found = (first + scored_B[first : first + group_size].nonzero().flatten()).tolist()
            drawn_B[random.sample(found, min(self.samples, len(found)))] = True
        return drawn_B

    def eligible(self, lengths_B: Tensor, truncated_B: Tensor) -> Tensor:
        return spread(~(truncated_B.bool() & self.drop_truncated), lengths_B)


@option("token_weights")
class All(TokenWeights):
    """Every response token."""

    name: str = "all"

    def __call__(
        self,
        entropies_N: Tensor | None,
        old_logprobs_N: Tensor | None,
        lengths_B: Tensor,
        truncated_B: Tensor,
    ) -> Tensor:
        return self.eligible(lengths_B, truncated_B)


def threshold(x_N: Tensor, fraction: float) -> Tensor:
    """The (1 - fraction) quantile of a non-empty x, interpolated linearly as in numpy: a scalar.

    Written out because torch.quantile refuses more than 16M values.
    """
    ascending_N = widen(x_N.detach()).sort().values
    place = round((1 - fraction) * (len(x_N) - 1), 9)  # rounding: 0.7 * 10 must not be 6.999...
    below = math.floor(place)
    above = min(below + 1, len(x_N) - 1)
    return ascending_N[below].lerp(ascending_N[above], place - below)


def top(x_N: Tensor, fraction: float) -> Tensor:
    """Whether x is at its threshold or above: bool _N.

    Ties at the threshold are all kept, so it may be more than the fraction: 3 of 11 at 0.2.
    """
    return widen(x_N.detach()) >= threshold(x_N, fraction) if len(x_N) else x_N.bool()


@option("token_weights")
class TopEntropy(TokenWeights):
    """The 80/20 rule (2506.01939): only the `fraction` of tokens where the policy was least certain.

        sum_t 1[H_t >= tau] loss_t / sum_t 1[H_t >= tau]

    The normaliser counts selected tokens only, as in the paper's equation 6. TRL's top_entropy_quantile keeps
    the count of all tokens, which makes the loss about `fraction` times smaller. The paper takes the
    threshold over each (micro-)batch, here it is over the whole batch, or each sequence. H is the entropy
    of the policy at the start of the step, at the sampling temperature.
    """

    name: str = "top_entropy"
    fraction: float = 0.2
    """Share of tokens kept; 1 keeps all."""
    scope: Scope = Scope.batch
    """What the share is of: the batch or each sequence."""
    needs_entropy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 < self.fraction <= 1, "token_weights.fraction", self.fraction, "in (0, 1]")

    def __call__(
        self,
        entropies_N: Tensor | None,
        old_logprobs_N: Tensor | None,
        lengths_B: Tensor,
        truncated_B: Tensor,
    ) -> Tensor:
        if entropies_N is None:
            raise ValueError("top_entropy needs entropies_N")
        keep_N = self.eligible(lengths_B, truncated_B)
        if self.scope is Scope.batch:
            keep_N[keep_N.clone()] = top(entropies_N[keep_N], self.fraction)
            return keep_N
        # Writing through the views of split: each sequence is either eligible as a whole or not.
        for part_t, entropies_t in zip(
            keep_N.split(lengths_B.tolist()), entropies_N.split(lengths_B.tolist()), strict=True
        ):
            part_t &= top(entropies_t, self.fraction)
        return keep_N


@option("token_weights")
class LowProbability(TokenWeights):
    """The probability mask of SPO (2505.23564): tokens with pi_old(token) < rho, where decisions are made."""

    name: str = "low_probability"
    rho: float = 0.9
    """Tokens at least this probable do not train."""
    needs_old_logprobs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(0 < self.rho <= 1, "token_weights.rho", self.rho, "in (0, 1]")

    def __call__(
        self,
        entropies_N: Tensor | None,
        old_logprobs_N: Tensor | None,
        lengths_B: Tensor,
        truncated_B: Tensor,
    ) -> Tensor:
        if old_logprobs_N is None:
            raise ValueError("low_probability needs old_logprobs_N")
        return self.eligible(lengths_B, truncated_B) & (finite(old_logprobs_N) < math.log(self.rho))


@option("token_weights")
class Lopti(All):
    """Low-probability token isolation (2505.12929): two updates of the same samples, the first of the tokens
    with pi_old(token) < eta, the second of the rest.

    The gradient of an unlikely token is the larger, and would change the likely ones on the way. Trained
    first, they leave it to the second update to put that right; the reverse order is said to hurt. KL and
    entropy of a token go with it, and each update is normalised over its own tokens.
    """

    name: str = "lopti"
    eta: float = 0.5
    """Tokens less probable than this train first."""
    needs_old_logprobs: ClassVar[bool] = True
    passes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        require(0 < self.eta < 1, "token_weights.eta", self.eta, "between 0 and 1")

    def of_pass(self, number: int, old_logprobs_N: Tensor) -> Tensor:
        """The tokens of the first (0) or second (1) update, bool _N."""
        unlikely_N = finite(old_logprobs_N) < math.log(self.eta)
        return ~unlikely_N if number else unlikely_N
