"""A plugin for `benchmarks/routing.py`: normal noise on the logits of vLLM's routers while it samples.

    ROUTER_NOISE=0.1 rlvr grpo tiny_moe_grpo plugins=[benchmarks/router_noise.py]

It stands for what another kernel does to a router's logits, and is larger. Choice and weights of the experts
are made of the noisy logits, and vLLM tells the choice as ever. The trainer has none of it, and neither has
the probe that compares the two after a sync, so that this is as strict as without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from rlvr_cli import rollout

VARIABLE = "ROUTER_NOISE"
"""Standard deviation, in units of the logits."""


class Noise:
    """On the routers of an engine's model, drawn anew for each token."""

    def __init__(self, size: float, seed: int) -> None:
        import torch

        self.size, self.on = size, False
        self._random = torch.Generator().manual_seed(seed)
        self._torch = torch

    def __call__(self, logits: Any) -> Any:
        """float [T, E] -> the same, noisy."""
        if not self.on:
            return logits
        drawn = self._torch.randn(logits.shape, generator=self._random, dtype=self._torch.float32)
        return logits + (self.size * drawn).to(logits)

    def install(self, worker: Any) -> int:
        """Runs in the worker, which is in this process. Says how many routers there are."""
        from vllm.model_executor.layers.fused_moe.layer import MoERunner

        layers = [module for module in worker.model_runner.model.modules() if isinstance(module, MoERunner)]
        for layer in layers:
            self._between(layer.router)
        return len(layers)

    def _between(self, router: Any) -> None:
        inner = router._compute_routing

        def noisy(hidden: Any, logits: Any, *more: Any, **named: Any) -> Any:
            return inner(hidden, self(logits), *more, **named)

        router._compute_routing = noisy


def add_noise(engine: Any, size: float, seed: int) -> Noise:
    """Have an in-process vLLM engine sample with noisy routers. RuntimeError where it has none."""
    noise = Noise(size, seed)
    if not sum(engine.llm.collective_rpc(noise.install)):
        raise RuntimeError("this model has no routers in vLLM")
    generate = engine.generate

    def noisily(*given: Any, **named: Any) -> Iterator[Any]:
        noise.on = True
        try:
            yield from generate(*given, **named)
        finally:
            noise.on = False

    engine.generate = noisily
    return noise


def _noisy(make: Any) -> Any:
    def make_engine(settings: Any, *, seed: int, **named: Any) -> Any:
        engine = make(settings, seed=seed, **named)
        if (size := float(os.environ.get(VARIABLE, "0"))) > 0:
            add_noise(engine, size, seed)
        return engine

    make_engine.noisy = True  # type: ignore[attr-defined]
    return make_engine


# `start_model` has a name of its own for it, where it was imported before.
for module in (rollout, sys.modules.get("rlvr_cli.sampling.start_model")):
    if module is not None and not hasattr(module.make_engine, "noisy"):
        module.make_engine = _noisy(module.make_engine)
