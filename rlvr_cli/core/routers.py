"""The routers of a mixture of experts, as transformers has them: which modules they are, and how each makes
weights of its logits. What trains and what samples with transformers both look for them here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Scores(Enum):
    """What an expert's weight is made of."""

    softmax = "softmax"
    """Of all experts' logits; of these the chosen ones."""
    softmax_of_chosen = "softmax_of_chosen"
    """Of the chosen experts' logits alone."""
    sigmoid = "sigmoid"
    """Of each chosen expert's logit. A bias, and groups of experts, have a say in the choice alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How a kind of router makes weights, and what its forward returns."""

    scores: Scores
    normed: bool | None = True
    """The weights of a token add up to 1; None: as the router's `norm_topk_prob` says."""
    epsilon: float = 0.0
    """Added to the sum that they are divided by."""
    wide: bool = True
    """Computed in fp32, whatever the logits are."""
    logits_last: bool = False
    """It returns (choice, weights, logits), and not (logits, weights, choice)."""


_BY_FLAG = Gate(scores=Scores.softmax, normed=None)
_ALWAYS = Gate(scores=Scores.softmax)
_DEEPSEEK = Gate(scores=Scores.sigmoid, normed=None, epsilon=1e-20)
_GRANITE = Gate(scores=Scores.softmax_of_chosen, logits_last=True)

GATES: dict[str, Gate] = {
    **dict.fromkeys(["FlexOlmo", "Mellum", "Olmoe", "Qwen2Moe", "Qwen3Moe", "Qwen3Next"], _BY_FLAG),
    **dict.fromkeys(["Mixtral", "MiniMax", "Qwen3_5Moe", "Qwen3VLMoeText"], _ALWAYS),
    "DeepseekV2": Gate(scores=Scores.softmax, normed=False),
    "GptOss": Gate(scores=Scores.softmax_of_chosen, wide=False),
    **dict.fromkeys(["GraniteMoe", "GraniteMoeShared"], _GRANITE),
    **dict.fromkeys(
        ["DeepseekV3", "DeepseekV32", "Dots1", "ExaoneMoe", "Glm4Moe", "Glm4MoeLite", "Glm4vMoeText"],
        _DEEPSEEK,
    ),
    "MiniMaxM2": Gate(scores=Scores.sigmoid),
}
"""By the name of the router's class without its ending, `TopKRouter` or `TopkRouter` (transformers 5)."""


@dataclass(frozen=True, slots=True)
class Router:
    """One of a model's routers."""

    name: str
    """Of the module."""
    module: Any
    gate: Gate

    @property
    def layer(self) -> int:
        """Number of the transformer layer it is in, dense layers counted too."""
        return int(self._layer()[1])

    @property
    def layer_name(self) -> str:
        """Of the module that is this layer."""
        return self.name[: self._layer().end()]

    def _layer(self) -> re.Match[str]:
        found = re.search(r"(?:^|\.)layers\.(\d+)(?=\.)", self.name)
        assert found, f"{self.name} is in no layer"
        return found

    @property
    def normed(self) -> bool:
        """Whether a token's weights add up to 1."""
        return bool(self.module.norm_topk_prob) if self.gate.normed is None else self.gate.normed

    @property
    def scale(self) -> float:
        """What weights are multiplied by at the end."""
        return float(getattr(self.module, "routed_scaling_factor", 1.0))

    def read(self, output: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """logits [T, E], weights [T, k] and choice [T, k] of what its forward returned."""
        first, weights, last = output
        return (last, weights, first) if self.gate.logits_last else (first, weights, last)

    def write(self, output: tuple[Any, ...], weights: Tensor, choice: Tensor) -> tuple[Any, ...]:
        """The same with other weights and another choice."""
        return (choice, weights, output[2]) if self.gate.logits_last else (output[0], weights, choice)


def routers_of(model: Any, key: str) -> list[Router]:
    """The routers of a transformers model, layer by layer; `key`: of the recipe, for messages.

    Raises UserError where a layer's router is none of `GATES`, and where nothing is routed.
    """
    found: list[Router] = []
    for name, block in model.named_modules():
        if not hasattr(block, "experts"):
            continue
        inside = [(child, module) for child, module in block.named_children() if kind_of(module) in GATES]
        if len(inside) != 1:
            kinds = ", ".join(type(module).__name__ for _, module in block.named_children())
            raise UserError(
                f"{key}: the experts of this model ({type(block).__name__} of {kinds}) have none of the "
                "routers that can be replayed (docs/routing_replay.md); leave it out"
            )
        child, module = inside[0]
        found.append(Router(f"{name}.{child}", module, GATES[kind_of(module)]))
    if not found:
        raise UserError(f"{key}: this model is no mixture of experts: nothing in it is routed; leave it out")
    return found


def kind_of(module: Any) -> str:
    return re.sub(r"Top[kK]Router$", "", type(module).__name__)
