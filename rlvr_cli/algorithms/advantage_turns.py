"""Reward -> advantage turn by turn: turns of a group's episodes that began in the same state (GiGPO).

The option maps AdvantageInputs (see `advantage.py`; it needs `turns`) to advantages_N, in the dtype of the
rewards. _T: the turns of all samples, one after the other.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs, centred, deviation, outcomes
from rlvr_cli.algorithms.advantage_tokens import generalized_advantages
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import at_end, positions, segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


class Anchor(Enum):
    state = "state"
    turn = "turn"


@option("advantage")
class StepGroups:
    """GiGPO (2505.10978): an episode against its group, and each turn against turns from the same state.

        A_ik = A^E_i + omega * A^S_ik;   A^E = z-score of the episodes' outcomes in the group
        A^S = z-score of R_ik over the group's turns in the state of turn k
        R_ik = sum_{l>=k} gamma^(l-k) r_il

    r_il is what turn l has earned (verifiers.<name>.credit=turn) and, at the last turn, the reward's rest.
    So of two ways on from one state the better is told from the worse even where both episodes were lost. A
    state is what the policy has seen and written so far, or what the environment says it is (`Step.state`);
    the first turn's is the prompt, which all episodes of a group share. Turns whose state was met once, and
    equal returns, have A^S = 0. anchor=turn compares turns of equal number, whatever has happened before
    them: biased where the state decides more than the turn. gamma below 1 prefers early success.

    A sample without turns is one turn: A^S = A^E. Of a group of few episodes A^S has few members, and more
    noise than A^E: lower omega. normalise=false (the paper's F_norm = 1) subtracts the means alone.
    """

    name: str = "step_groups"
    anchor: Anchor = Anchor.state
    """What turns must have in common to be compared: state, or turn (their number)."""
    omega: float = 1.0
    """Weight of the turn's part; 0: GRPO."""
    gamma: float = 0.95
    """Discount of later turns' rewards, a turn."""
    normalise: bool = True
    """Divide both parts by their standard deviations (ddof 1)."""
    eps: float = 1e-6
    """Added to the standard deviation."""
    by_token: ClassVar[bool] = True
    needs_turns: ClassVar[bool] = True
    """The inputs have `turns`."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.omega >= 0, "advantage.omega", self.omega, "at least 0")
        require(0 < self.gamma <= 1, "advantage.gamma", self.gamma, "in (0, 1]")
        require(self.eps >= 0, "advantage.eps", self.eps, "at least 0")

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        if inputs.turns is None:
            raise ValueError("step_groups needs turns")
        turns_B, lengths_T, states_T = inputs.turns
        episodes_PG = centred(whole_PG := outcomes(inputs))
        if self.normalise:
            episodes_PG = episodes_PG / (deviation(whole_PG, 1) + self.eps)
        group_B = (turns_B.new_ones(len(turns_B)).cumsum(0) - 1) // whole_PG.shape[1]
        key_T = states_T if self.anchor is Anchor.state else positions(turns_B)
        steps_T = self.compared(self.returns(inputs), group_T=spread(group_B, turns_B), key_T=key_T)
        found_T = spread(episodes_PG.flatten(), turns_B) + self.omega * steps_T
        found_N = spread(found_T.masked_fill(found_T.isnan(), 0), lengths_T)
        return found_N.to(inputs.rewards_PG.dtype)

    def returns(self, inputs: AdvantageInputs) -> Tensor:
        """R of each turn, float64; NaN without a verdict: _T."""
        assert inputs.turns is not None
        turns_B, lengths_T, _ = inputs.turns
        earned_T = at_end(inputs.rewards_PG.double().flatten(), turns_B)
        if inputs.token_rewards_N is not None:
            earned_T = earned_T + segment_sum(inputs.token_rewards_N.double(), lengths_T)
        zero_T, zero_B = earned_T.new_zeros(len(earned_T)), earned_T.new_zeros(len(turns_B))
        # Without values, and nothing cut short by lambda, these are the discounted sums.
        return generalized_advantages(earned_T, zero_T, zero_B, turns_B, self.gamma, 1.0)

    def compared(self, returns_T: Tensor, *, group_T: Tensor, key_T: Tensor) -> Tensor:
        """Each turn's return against those of its group with the same key; 0 for a turn alone: _T."""
        known_T = ~returns_T.isnan()
        place_TK = group_T.new_zeros(len(group_T), 2)
        place_TK[:, 0], place_TK[:, 1] = group_T, key_T
        places, member_T = place_TK.unique(dim=0, return_inverse=True)
        member_T, returns_T = member_T[known_T], returns_T[known_T]
        zero_C = returns_T.new_zeros(len(places))
        count_C = zero_C.index_add(0, member_T, returns_T.new_ones(len(returns_T)))
        # From the largest, so that equal returns are exactly 0.
        most_C = zero_C.scatter_reduce(0, member_T, returns_T, "amax", include_self=False)
        moved_T = returns_T - most_C[member_T]
        moved_T = moved_T - (zero_C.index_add(0, member_T, moved_T) / count_C.clamp(min=1))[member_T]
        if self.normalise:
            squares_C = zero_C.index_add(0, member_T, moved_T.square())
            moved_T = moved_T / ((squares_C / (count_C - 1).clamp(min=1)).sqrt()[member_T] + self.eps)
        found_T = zero_C.new_zeros(len(known_T))
        found_T[known_T] = moved_T
        return found_T
