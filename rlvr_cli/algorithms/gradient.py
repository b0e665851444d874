"""What happens to the gradient between backward and the optimizer: factors per layer from layer norms.

A layer's norm is over the whole model, summed over shards and ranks. A factor of 0 means "set this
gradient to zero": multiplying would leave inf * 0 = NaN.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.localise import Localise

EPS = 1e-6  # torch's clip_grad_norm_ adds the same


def clip_factors(norms: dict[str, float], limits: dict[str, float]) -> dict[str, float]:
    """min(1, limit / (norm + eps)) of each layer."""
    return {layer: min(1.0, limits[layer] / (norm + EPS)) for layer, norm in norms.items()}


def global_factor(norms: list[float], max_norm: float | None) -> float:
    """min(1, max_norm / (|g| + eps)) with |g| the norm of everything; 1 without a bound, 0 if not finite."""
    total = math.hypot(*norms)
    if not math.isfinite(total):
        return 0.0
    return 1.0 if max_norm is None else min(1.0, max_norm / (total + EPS))


@option("gradient")
class GlobalClip(Localise):
    """One factor for all: g * min(1, max_norm / |g|). Needs no layer norms; DeepSpeed applies it."""

    name: str = "global_clip"
    max_norm: float | None = 1.0
    """Largest gradient norm; null: no clipping."""
    log_layers: bool = False
    """Record the gradient norm of each layer, before clipping, as `actor/grad_norm/<layer>`."""
    needs_layer_norms: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.max_norm is None or self.max_norm > 0, "gradient.max_norm", self.max_norm, "positive or null"
        )

    def __call__(self, norms: dict[str, float]) -> dict[str, float]:
        return dict.fromkeys(norms, global_factor(list(norms.values()), self.max_norm))


@option("gradient")
class LayerClip(Localise):
    """A limit per layer, so that a spike in a few layers neither shrinks the others nor sets the direction.

        c_l = kappa * mu_l;   g_l <- g_l * min(1, c_l / |g_l|)
        mu_l <- decay * mu_l + (1 - decay) * min(|g_l|, c_l)

    then the global clip. LayerClip is named by the authors of GradLoc (Tencent Hunyuan, 2026), who published
    that limits come from local layer statistics but neither formula nor code: this form is a reconstruction.
    `limit` is the static variant, c_l = C / sqrt(L) for L layers; AGGC (2601.11864) adapts an upper and a
    lower bound per group of modules.
    mu takes in the clipped norm, so a spike cannot raise its own limit. During a layer's first `warmup` norms
    only the global clip acts and its mu is a plain mean. A norm of 0 (no group had a signal) teaches nothing:
    it says nothing of the layer's scale, and mu = 0 would hold the layer at 0 for good. A non-finite norm
    zeroes the whole update and teaches nothing either.
    """

    name: str = "layer_clip"
    kappa: float = 2.5
    """A layer may have this many times its usual norm."""
    decay: float = 0.99
    """Memory of the running mean of a layer's norm."""
    warmup: int = 10
    """Updates with a gradient in a layer that only observe it."""
    limit: float | None = None
    """A fixed limit for each layer instead of the adaptive one."""
    max_norm: float | None = 1.0
    """Global clip afterwards; null: none."""
    log_layers: bool = False
    """Record the gradient norm of each layer, before clipping, as `actor/grad_norm/<layer>`."""
    needs_layer_norms: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kappa > 1, "gradient.kappa", self.kappa, "above 1")
        require(0 <= self.decay < 1, "gradient.decay", self.decay, "in [0, 1)")
        require(self.warmup >= 1, "gradient.warmup", self.warmup, "at least 1")
        for key in ("limit", "max_norm"):
            bound = getattr(self, key)
            require(bound is None or bound > 0, f"gradient.{key}", bound, "positive or null")
        self.seen: dict[str, int] = {}
        self.means: dict[str, float] = {}
        self.clipped = 0

    def limits(self, layers: list[str]) -> dict[str, float]:
        if self.limit is not None:
            return dict.fromkeys(layers, self.limit)
        ready = {layer for layer in layers if self.seen.get(layer, 0) >= self.warmup}
        return {layer: self.kappa * self.means[layer] if layer in ready else math.inf for layer in layers}

    def __call__(self, norms: dict[str, float]) -> dict[str, float]:
        """Factors of this update; updates the running means and `clipped`, the layers above their limit."""
        if not all(math.isfinite(norm) for norm in norms.values()):
            self.clipped = len(norms)
            return dict.fromkeys(norms, 0.0)
        limits = self.limits(list(norms))
        factors = clip_factors(norms, limits)
        for layer, norm in norms.items():
            if norm > 0:
                self._learn(layer, min(norm, limits[layer]))
        self.clipped = sum(factor < 1 for factor in factors.values())
        rest = global_factor([norm * factors[layer] for layer, norm in norms.items()], self.max_norm)
        return {layer: factor * rest for layer, factor in factors.items()}

    def _learn(self, layer: str, norm: float) -> None:
        seen, mean = self.seen.get(layer, 0), self.means.get(layer, 0.0)
        share = max(1 - self.decay, 1 / (seen + 1)) if seen < self.warmup else 1 - self.decay
        self.seen[layer], self.means[layer] = seen + 1, mean + share * (norm - mean)

    def state(self) -> dict[str, Any]:
        return super().state() | {"seen": dict(self.seen), "means": dict(self.means)}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.seen, self.means = dict(state["seen"]), dict(state["means"])
