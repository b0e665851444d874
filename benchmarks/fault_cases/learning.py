"""Settings with which nothing is learned, or what was known is lost."""

from __future__ import annotations

from fault_cases import Place, case, plugin
from fault_cases.verifying import function


@case("the learning rate is ten times too high", r"lower trainer\.lr")
def lr_10x(place: Place) -> list[str]:
    return ["trainer.lr=3e-3"]


@case("the learning rate is next to nothing", r"(raise|change) trainer\.lr")
def lr_tiny(place: Place) -> list[str]:
    return ["trainer.lr=1e-9", "trainer.steps=24"]


@case("the entropy bonus is a hundred times too large", r"entropy rose from .*algorithm\.entropy\.coef")
def entropy_explosion(place: Place) -> list[str]:
    return ["algorithm/entropy=bonus", "algorithm.entropy.coef=0.3"]


@case("the policy stops exploring", r"entropy fell from .*stopped exploring")
def entropy_collapse(place: Place) -> list[str]:
    return [plugin("wrong_sign"), "algorithm/entropy=wrong_sign", "trainer.lr=2e-3"]


@case("a reward that pays for length", r"(cut off at|reach) rollout\.max_tokens.*limit")
def paid_length(place: Place) -> list[str]:
    return function(place, "return min(1.0, len(solution_str) / 60)")


@case("a gradient is not a number", r"not (a number|finite)|NaN|nan", begins=4)
def nan(place: Place) -> list[str]:
    return [plugin("nan_loss")]
