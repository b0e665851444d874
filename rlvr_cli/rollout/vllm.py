"""vLLM inside the trainer's process: stepped by hand, so that finished groups stream out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.sampling_params import RequestOutputKind

from rlvr_cli.core.gpu_memory import peak
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import CPU_SEQUENCES, Request, Sampling, SyncError, demand
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.rollout.weights import BACKEND
from rlvr_cli.schema import Precision, Rollout


class VLLMEngine:
    """One in-process vLLM engine (tensor parallel size 1), on CPU or on this rank's GPU."""

    def __init__(
        self,
        rollout: Rollout,
        *,
        path: str,
        tokenizer: Any,
        eos: list[int],
        seed: int,
        precision: Precision,
        max_model_len: int,
        revision: str | None = None,
        trust_remote_code: bool = False,
        overrides: dict[str, Any] | None = None,
        fp32_head: bool = False,
    ) -> None:
        cuda = torch.cuda.is_available()
        several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        device: dict[str, Any] = (
            {"gpu_memory_utilization": rollout.gpu_memory_utilization, "enable_sleep_mode": rollout.sleep}
            if cuda
            else {
                "kv_cache_memory_bytes": int(rollout.kv_cache_gb * 2**30),
                # vLLM 0.32 on CPU fails on a seeded request whose prompt is cut in two by the token budget.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(max_model_len, 8192),
            }
        )
        self.text = ResponseText(tokenizer, eos)
        self.eos = eos
        self.sleeps = cuda and rollout.sleep
        self._asleep: set[str] = set()
        self._names: frozenset[str] | None = None
        generator_state = torch.get_rng_state()
        self.llm = LLM(
            model=path,
            revision=revision,
            tokenizer_revision=revision,
            trust_remote_code=trust_remote_code,
            hf_overrides=(overrides or {}) | ({"head_dtype": "float32"} if fp32_head else {}),
            dtype="float32" if precision is Precision.fp32 else "bfloat16",
            max_model_len=max_model_len,
            max_num_seqs=rollout.max_num_seqs or (None if cuda else CPU_SEQUENCES),
            enforce_eager=(not cuda) if rollout.enforce_eager is None else rollout.enforce_eager,
            # Stop strings need vLLM's own detokeniser; otherwise text is made here, from the final ids.
            skip_tokenizer_init=not rollout.stop,
            generation_config="vllm",
            # Logprobs of the distribution sampled from (temperature, top_p): what the trainer must match.
            logprobs_mode="processed_logprobs",
            weight_transfer_config={"backend": BACKEND},
            worker_extension_cls="rlvr_cli.rollout.weights.WorkerExtension",
            seed=seed % 2**31,
            disable_log_stats=True,
            # With several ranks each engine takes its rank's device; the default would take the first one.
            distributed_executor_backend="external_launcher" if several else None,
            **device,
        )
        torch.set_rng_state(generator_state)  # vLLM seeds torch's global generator
        self.llm.init_weight_transfer_engine({"init_info": {}})

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        engine: Any = self.llm.llm_engine
        keys = {}
        for request in requests:
            params = SamplingParams(
                n=request.samples,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=request.limit(sampling),
                seed=request.seed,
                stop=sampling.stop or None,
                include_stop_str_in_output=True,
                stop_token_ids=self.eos,
                logprobs=0 if sampling.logprobs else None,
                flat_logprobs=sampling.logprobs,
                detokenize=bool(sampling.stop),
                skip_special_tokens=False,  # a stop string may be one
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            name = f"{request.key}"
            keys[name] = request.key
            engine.add_request(name, {"prompt_token_ids": request.tokens}, params)
        try:
            while engine.has_unfinished_requests():
                heart.beat()
                for output in engine.step():
                    if output.finished:
                        yield keys.pop(output.request_id), [self._completion(o) for o in output.outputs]
        finally:  # the caller stopped early
            if keys:
                engine.abort_request(list(keys))
                while engine.has_unfinished_requests():
                    engine.step()

    def _completion(self, output: Any) -> Completion:
        tokens = np.asarray(output.token_ids, np.int32)
        return Completion(
            tokens=tokens,
            logprobs=np.asarray(output.logprobs.logprobs if output.logprobs is not None else [], np.float32),
            text=self.text(tokens.tolist()),
            finished=output.finish_reason == "stop",
        )

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        received: list[str] = []

        def noted() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                received.append(name)
                yield name, tensor

        self._wake("weights")  # the cache stays away: it has room only when the trainer has none to spare
        receipt = Receipt()
        self.llm.start_weight_update()
        self.llm.update_weights({"update_info": {"weights": noted(), "receipt": receipt}})
        self.llm.finish_weight_update()
        self._check_names(received)
        demand(receipt)
        if not self.llm.reset_prefix_cache():
            raise SyncError("weight sync: vLLM keeps prefixes of the old weights, as requests still run")
        return receipt

    def _check_names(self, received: list[str]) -> None:
        """vLLM keeps the old tensor, silently, for a weight it is not given."""
        if self._names is None:
            self._names = frozenset(received)
        if frozenset(received) != self._names or len(received) != len(self._names):
            missing, extra = self._names - set(received), set(received) - self._names
            raise SyncError(
                f"weight sync: {len(missing)} weights missing ({', '.join(sorted(missing)[:3])}), "
                f"{len(extra)} unknown, {len(received) - len(set(received))} sent twice"
            )

    def probe(self, tokens: list[int]) -> list[float]:
        params = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, flat_logprobs=True, detokenize=False
        )
        output: Any
        [output] = self.llm.generate(TokensPrompt(prompt_token_ids=tokens), params, use_tqdm=False)
        return [float(x) for x in output.prompt_logprobs.logprobs]

    def sleep(self) -> None:
        if self.sleeps:
            with peak.engine_changes():
                self.llm.sleep(level=2)  # weights are thrown away: the next sync brings new ones
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
