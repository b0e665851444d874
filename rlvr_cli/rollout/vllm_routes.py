"""Which experts vLLM sends each token through: told by vLLM itself on GPUs, found by hooks of ours on CPUs.

vLLM 0.32 returns routes where its second model runner works, which needs Triton: not on CPUs. There every
router of it calls back with what it has chosen, and a wrapper round the model runner says whose tokens these
were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.routes import numbers_for
from rlvr_cli.rollout.route_store import RoutesLost, RouteStore

KEY = "rollout.routing_replay"
OF_VLLM = {"enable_return_routed_experts": True}
"""Argument of vLLM's own way."""


class VLLMRoutes:
    """Of requests, from vLLM's outputs. Has never run: there was no GPU to run it on."""

    def called(self, name: str, own: str) -> None:
        """A request of ours, and what vLLM calls it."""

    def of(self, name: str, output: Any, samples: int, prompt: Sequence[int]) -> np.ndarray:
        """Routes of a finished sample: [prompt + tokens - 1, layers, k], dense layers included."""
        found = output.routed_experts
        if found is None:
            raise RoutesLost("vLLM was asked for the experts of a sample's tokens and has returned none")
        rows = len(prompt) + len(output.token_ids) - 1
        return np.asarray(found)[:rows]

    def forget(self) -> None:
        """New weights have come: vLLM empties its own store with its cache."""

    def done(self) -> None:
        """No request runs."""


class HookedRoutes:
    """Of requests of an engine in this process, by a hook on each router."""

    def __init__(self, llm: Any) -> None:
        """UserError where the model has no router that vLLM lets anyone listen to."""
        self._names: dict[str, str] = {}
        self._parts: dict[str, dict[int, np.ndarray]] = {}
        """vLLM's name of a request -> position -> routes of the tokens from there on."""
        self._now: list[torch.Tensor] = []
        llm.collective_rpc(self._install)

    def _install(self, worker: Any) -> None:
        """Runs in the worker, which is in this process."""
        from vllm.model_executor.layers.fused_moe.layer import MoERunner
        from vllm.model_executor.layers.fused_moe.router.base_router import BaseRouter

        runner = worker.model_runner
        layers = [module for module in runner.model.modules() if isinstance(module, MoERunner)]
        layers.sort(key=lambda layer: layer.layer_id)
        if not layers or not all(isinstance(layer.router, BaseRouter) for layer in layers):
            raise UserError(
                f"{KEY}: vLLM has no router of this model that says what it chooses; leave it out"
            )
        for layer in layers:
            layer.router.set_capture_fn(self._now.append)
        self.layers = len(layers)
        first: Any = layers[0].router
        self._type = numbers_for(int(first.global_num_experts))
        cache = worker.cache_config
        self.store = RouteStore(int(cache.block_size), int(cache.num_gpu_blocks))
        execute = runner.execute_model

        def execute_and_note(scheduled: Any, *args: Any, **more: Any) -> Any:
            self._now.clear()
            result = execute(scheduled, *args, **more)
            if self._now:
                self._note(scheduled, runner.input_batch.req_ids)
            return result

        runner.execute_model = execute_and_note

    def _note(self, scheduled: Any, order: list[str]) -> None:
        """Deal the rows of a step to its requests, which lie in this order."""
        rows = torch.stack(self._now, 1).cpu().numpy().astype(self._type)
        if rows.shape[1] != self.layers:
            raise RoutesLost(f"{rows.shape[1]} of {self.layers} routers have said what they chose")
        counts, running = scheduled.num_scheduled_tokens, scheduled.scheduled_cached_reqs
        starts = dict(zip(running.req_ids, running.num_computed_tokens, strict=True))
        starts |= {request.req_id: request.num_computed_tokens for request in scheduled.scheduled_new_reqs}
        at = 0
        for name in order:
            count = counts.get(name, 0)
            if count:  # of a request that was preempted and begins again the same rows are written over
                self._parts.setdefault(name, {})[starts[name]] = rows[at : at + count]
            at += count
        for request in scheduled.scheduled_new_reqs:  # as they found prefixes of each other
            self._complete(request.req_id, request.prompt_token_ids, request.num_computed_tokens)

    def _complete(self, name: str, prompt: list[int], cached: int) -> None:
        """Rows of the prefix that came from the cache, and the prompt's own for those that come after it."""
        parts = self._parts[name]
        if cached:
            parts[0] = self.store.get(prompt, cached)
        self.store.put(prompt, laid(parts, min(len(prompt), cached + len(parts[cached]))))

    def called(self, name: str, own: str) -> None:
        """A request of ours, and what vLLM calls it."""
        self._names[name] = own

    def of(self, name: str, output: Any, samples: int, prompt: Sequence[int]) -> np.ndarray:
        """Routes of a finished sample, once: [prompt + tokens - 1, L, k]."""
        own = self._names[name] if samples == 1 else f"{output.index}_{self._names[name]}"
        tokens = [*prompt, *output.token_ids]
        rows = laid(self._parts.pop(own), len(tokens) - 1)
        self.store.put(tokens, rows)
        return rows

    def forget(self) -> None:
        """New weights have come."""
        self.store.clear()

    def done(self) -> None:
        """No request runs."""
        self._names.clear()
        self._parts.clear()


def laid(parts: dict[int, np.ndarray], length: int) -> np.ndarray:
    """The first `length` rows of parts by their positions. Raises RoutesLost where some are missing."""
    found, at = [], 0
    for start, rows in sorted(parts.items()):
        if start > at:
            break
        found.append(rows[at - start :])
        at = max(at, start + len(rows))
    if at < length:
        raise RoutesLost(f"the experts of {at} of a sample's {length} tokens are known; it is not trained on")
    return np.concatenate(found)[:length]
