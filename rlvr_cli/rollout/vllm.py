"""vLLM inside the trainer's process: stepped by hand, so that finished groups stream out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import LLM, SamplingParams
from vllm.sampling_params import RequestOutputKind

from rlvr_cli.core.gpu_memory import peak
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import adapters
from rlvr_cli.rollout.apart import Apart
from rlvr_cli.rollout.begun import stamps
from rlvr_cli.rollout.engine import Names, Request, Sampling, SyncError, demand, never, nothing_more
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.spare_llvmlite import spare_llvmlite
from rlvr_cli.rollout.tensor_parallel import Ranks
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.rollout.turns import Turns
from rlvr_cli.rollout.vllm_arguments import adapter_arguments, sampling_arguments, vllm_arguments
from rlvr_cli.rollout.vllm_routes import OF_VLLM, HookedRoutes, VLLMRoutes
from rlvr_cli.rollout.weights import BACKEND
from rlvr_cli.rollout.without_torchvision import repair
from rlvr_cli.schema import Lora, OnUpdate, Rollout
from rlvr_cli.vision.processor import Patches, processor_of

PROBE = "probe"
"""Name of the request that compares weights; those of samples are numbers."""


class VLLMEngine:
    """A vLLM engine in this process, on CPU or on this rank's GPU; whole, or with `rollout.tensor_parallel` a
    part of it. `lora`: it keeps the start model, and is sent adapters of this shape."""

    def __init__(
        self,
        rollout: Rollout,
        *,
        tokenizer: Any,
        eos: list[int],
        lora: Lora | None = None,
        frozen_tower: bool = True,
        **model: Any,
    ) -> None:
        """`model`: as `vllm_arguments` has it. `frozen_tower`: no sync changes what is made of an image."""
        cuda = torch.cuda.is_available()
        several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        self.text = ResponseText(tokenizer, eos)
        self.eos = eos
        self.sleeps = cuda and rollout.sleep
        self.beside = rollout.tensor_parallel == 1
        self.version, self.stamped = 0, rollout.max_staleness > 0
        self._asleep: set[str] = set()
        self._names = Names()
        device: dict[str, Any] = {"enable_sleep_mode": rollout.sleep} if cuda else {}
        self.keeps = rollout.on_update is OnUpdate.keep
        if self.keeps:  # a step under way would be stamped with the weights that come
            device["async_scheduling"] = False
        recorded = rollout.routing_replay.recorded
        device |= OF_VLLM if recorded and cuda else {}
        spare_llvmlite()
        self.prompts = Prompts(processor_of(tokenizer))
        self.remembers = frozen_tower or self.prompts.processor is None
        if self.prompts.processor is not None:
            repair()
        generator_state = torch.get_rng_state()
        self.llm = LLM(
            **(vllm_arguments(rollout, cuda=cuda, **model) | device | self.prompts.arguments()),
            **adapter_arguments(lora),
            weight_transfer_config={"backend": BACKEND},
            worker_extension_cls="rlvr_cli.rollout.weights.WorkerExtension",
            tensor_parallel_size=rollout.tensor_parallel,
            # With several ranks each engine takes its rank's device; the default would take the first one.
            distributed_executor_backend="external_launcher" if several else None,
        )
        torch.set_rng_state(generator_state)  # vLLM seeds torch's global generator
        self.llm.init_weight_transfer_engine({"init_info": {}})
        if self.keeps:
            self.llm.update_weight_version(f"{self.version}")
        self.turns = Turns(self.llm.llm_engine)
        self.ranks = Ranks(rollout.tensor_parallel)
        self.ranks.forget_names()
        self.adapter = None if lora is None else adapters.Adapter(self.llm, lora)
        self.routes = (VLLMRoutes() if cuda else HookedRoutes(self.llm)) if recorded else None

    @property
    def share(self) -> tuple[int, int]:
        return self.ranks.share

    @property
    def leader(self) -> bool:
        return self.ranks.leader

    def agreed(self, answer: bool) -> bool:
        return self.ranks.agreed(answer)

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        engine: Any = self.llm.llm_engine
        requests, asked = self.ranks.shared(requests), self.ranks.asking(enough)
        self.prompts.coming(requests)
        if self.ranks.size > 1:  # aborted requests free memory in an order that differs from rank to rank
            self.llm.reset_prefix_cache()
        if enough is not never or any(request.begun for request in requests):
            assert more is nothing_more, "what may be broken off has all its requests from the beginning"
            apart = Apart(
                engine=engine,
                sampling=sampling,
                text=self.text,
                completion=self._completion,
                add=partial(self._add_sample, sampling),
                prompts=self.prompts,
                turns=self.turns,
            )
            yield from apart.generate(requests, asked)
            return
        keys: dict[str, Request] = {}
        try:
            self._begin(requests, sampling, keys)
            while not asked():
                if more is not nothing_more:
                    self._begin(self.ranks.shared(more(not keys)), sampling, keys)
                if not engine.has_unfinished_requests():
                    break
                heart.beat()
                for output in engine.step():
                    if output.finished:
                        self.prompts.check(output)
                        request = keys.pop(output.request_id)
                        yield request.key, self._completions(request, sampling, output)
        finally:  # the caller stopped early
            if keys:
                engine.abort_request(list(keys))
                self.prompts.forget(keys)
                while engine.has_unfinished_requests():
                    engine.step()
            if self.routes is not None:
                self.routes.done()

    def _begin(self, requests: list[Request], sampling: Sampling, keys: dict[str, Request]) -> None:
        """Hand requests to vLLM; `keys` gets them under its names."""
        for request in requests:
            params = self._params(
                sampling.of_request(request), request.samples, request.limit(sampling), request.seed
            )
            name = f"{request.key}"
            keys[name] = request
            own = self._add(name, request.tokens, params)
            if self.routes is not None:
                self.routes.called(name, own)

    def _add(self, name: str, tokens: list[int], params: SamplingParams) -> str:
        engine: Any = self.llm.llm_engine
        prompt = self.prompts.of(name, tokens, self.ranks.note if self.ranks.size > 1 else None)
        if self.keeps:  # prefixes of older weights are not for new requests
            prompt["cache_salt"] = f"{self.version}"
        return str(engine.add_request(name, prompt, params, lora_request=self._lora))

    def _add_sample(
        self, sampling: Sampling, name: str, tokens: list[int], request: Request, sample: int
    ) -> str:
        limit, seed = request.left(sampling, sample), request.seed_of(sample)
        return self._add(name, tokens, self._params(sampling.of_request(request), 1, limit, seed))

    def _params(self, sampling: Sampling, samples: int, max_tokens: int, seed: int | None) -> SamplingParams:
        return SamplingParams(
            **sampling_arguments(sampling, self.eos),
            max_tokens=max_tokens,
            seed=seed,
            n=samples,
            **self.prompts.bans(),
            flat_logprobs=sampling.logprobs,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completions(self, request: Request, sampling: Sampling, output: Any) -> list[Completion]:
        found = [self._completion(each) for each in output.outputs]
        if self.routes is None:
            return found
        for each, one in zip(output.outputs, found, strict=True):
            # Also where nobody asks: what was sampled is a prefix of an episode's next turn, in the cache.
            routes = self.routes.of(output.request_id, each, request.samples, request.tokens)
            if sampling.routes:
                one.routes = routes
        return found

    def _completion(self, output: Any) -> Completion:
        tokens = np.asarray(output.token_ids, np.int32)
        self.ranks.note(tokens)
        return Completion(
            tokens=tokens,
            logprobs=np.asarray(output.logprobs.logprobs if output.logprobs is not None else [], np.float32),
            text=self.text(tokens.tolist()),
            finished=output.finish_reason == "stop",
            versions=self._versions(output, len(tokens)),
        )

    def _versions(self, output: Any, length: int) -> np.ndarray:
        found = stamps(length, self.version if self.stamped else None)
        for span in (output.weight_versions or ()) if self.keeps else ():
            found[span.start : span.end] = int(span.version)
        return found

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        with self.turns.asking():
            return self._load(weights, version)

    def _load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> Receipt:
        self.version = version
        if self.routes is not None:
            self.routes.forget()
        received: list[str] = []

        def noted() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                received.append(name)
                yield name, tensor

        self._wake("weights")  # the cache stays away: it has room only when the trainer has none to spare
        receipt = self._replace(noted()) if self.adapter is None else self.adapter.load(noted())
        self._names.check(received)
        demand(receipt)
        self.ranks.demand_whole(receipt)
        if self.keeps:
            self.llm.update_weight_version(f"{version}")
        elif not self.llm.reset_prefix_cache():
            raise SyncError("weight sync: vLLM keeps prefixes of the old weights, as requests still run")
        if not self.remembers:  # what a tower has made of an image is kept by the image, over all weights
            self.llm.llm_engine.reset_encoder_cache()
        return receipt

    def _replace(self, weights: Iterator[tuple[str, Tensor]]) -> Receipt:
        """All of the model's weights."""
        receipt = Receipt()
        self.llm.start_weight_update()
        self.llm.update_weights({"update_info": {"weights": weights, "receipt": receipt}})
        self.llm.finish_weight_update()
        return receipt

    @property
    def _lora(self) -> Any:
        return None if self.adapter is None else self.adapter.request

    def probe(self, tokens: list[int]) -> list[float]:
        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, flat_logprobs=True, detokenize=False
        )
        if self.keeps:
            return self._probe_beside(tokens, params)
        output: Any
        prompt: Any = self.prompts.of(PROBE, tokens)
        [output] = self.llm.generate(prompt, params, use_tqdm=False, lora_request=self._lora)
        return [float(x) for x in output.prompt_logprobs.logprobs]

    def _probe_beside(self, tokens: list[int], params: SamplingParams) -> list[float]:
        """While others sample, who get what their requests finish meanwhile."""
        params.output_kind = RequestOutputKind.FINAL_ONLY
        with self.turns.asking():
            self._add(PROBE, tokens, params)
            while not (found := self.turns.step([PROBE])):
                heart.beat()
        return [float(x) for x in found[0].prompt_logprobs.logprobs]

    def image_gap(self, tokens: list[int], ours: Patches) -> float:
        return self.prompts.gap(self.llm.llm_engine, tokens, ours)

    def sleep(self) -> None:
        if self.sleeps:
            with peak.engine_changes():
                # 2: weights are thrown away, the next sync brings new ones. A start model is not sent again.
                self.llm.sleep(level=2 if self.adapter is None else 1)
            self._asleep = {"weights", "kv_cache"}

    def wake(self) -> None:
        self._wake("kv_cache")

    def _wake(self, tag: str) -> None:
        if tag in self._asleep:
            with peak.engine_changes():
                self.llm.wake_up(tags=[tag])
            self._asleep.remove(tag)

    def close(self) -> None:
        # Asleep, vLLM frees memory that is given back already. CUDA refuses, which is the cause of nothing.
        with suppress(RuntimeError) if self._asleep else nullcontext():
            self.llm.llm_engine.engine_core.shutdown()
