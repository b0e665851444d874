"""The engine interface on plain transformers: slower than vLLM, runs wherever torch does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import CPU_SEQUENCES, Request, Sampling, SyncError, demand
from rlvr_cli.rollout.fingerprints import Ledger, Receipt, fingerprint
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.schema import Precision, Rollout


class HFEngine:
    """A copy of the model, decoded with a KV cache in batches of `rollout.max_num_seqs` sequences."""

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
        from transformers import AutoModelForCausalLM

        self.device = (
            torch.device("cuda", torch.cuda.current_device())
            if torch.cuda.is_available()
            else torch.device("cpu")
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            trust_remote_code=trust_remote_code,
            dtype=torch.float32 if precision is Precision.fp32 else torch.bfloat16,
            **(overrides or {}),
        )
        self.model = model.to(self.device).eval()
        if fp32_head:
            head = self.model.get_output_embeddings()
            head.forward = partial(_fp32_linear, head)
        self.text = ResponseText(tokenizer, eos)
        self.eos = torch.tensor(eos, device=self.device)
        self.pad = int(tokenizer.pad_token_id)
        self.max_num_seqs = rollout.max_num_seqs or CPU_SEQUENCES
        self.seed = seed

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        # Neighbours in length are decoded together, so that little is padded.
        ordered = sorted(requests, key=lambda r: len(r.tokens))
        batch: list[Request] = []
        for request in ordered:
            if batch and sum(r.samples for r in batch) + request.samples > self.max_num_seqs:
                yield from self._decode(batch, sampling)
                batch = []
            batch.append(request)
        if batch:
            yield from self._decode(batch, sampling)

    @torch.no_grad()
    def _decode(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        prompts = [r.tokens for r in requests for _ in range(r.samples)]
        # The r-th sample of a request draws from its own generator, whatever it is batched with.
        generators = [
            torch.Generator(self.device).manual_seed((r.seed + s) % 2**63) if r.seed is not None else None
            for r in requests
            for s in range(r.samples)
        ]
        width = max(len(p) for p in prompts)
        ids = torch.full((len(prompts), width), self.pad, device=self.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt, device=self.device)
            mask[row, width - len(prompt) :] = 1
        limits = [r.limit(sampling) for r in requests for _ in range(r.samples)]
        tokens, logprobs = self._sample(ids, mask, generators, replace(sampling, max_tokens=max(limits)))
        completions = [
            self._completion(t[:limit], lp, sampling)
            for t, lp, limit in zip(tokens, logprobs, limits, strict=True)
        ]
        start = 0
        for request in requests:
            yield request.key, completions[start : start + request.samples]
            start += request.samples

    def _sample(
        self, ids: Tensor, mask: Tensor, generators: list[torch.Generator | None], sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        """[B, T] tokens (padded after the end) and their logprobs."""
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache, step_ids, alive = None, ids, torch.ones(len(ids), dtype=torch.bool, device=self.device)
        tokens, logprobs = [], []
        for _ in range(sampling.max_tokens):
            heart.beat()
            out = self.model(
                input_ids=step_ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            log_p = _processed(out.logits[:, -1].float(), sampling)
            chosen = _draw(log_p, generators, sampling)
            tokens.append(torch.where(alive, chosen, self.pad))
            logprobs.append(log_p.gather(1, chosen[:, None])[:, 0])
            alive = alive & ~torch.isin(chosen, self.eos)
            if not alive.any() or (sampling.stop and self._all_stopped(tokens, sampling)):
                break
            step_ids, positions = chosen[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        return torch.stack(tokens, 1).cpu(), torch.stack(logprobs, 1).cpu()

    def _all_stopped(self, tokens: list[Tensor], sampling: Sampling) -> bool:
        texts = [self.text(ids) for ids in torch.stack(tokens, 1).tolist()]
        return all(any(s in text for s in sampling.stop) for text in texts)

    def _completion(self, tokens: Tensor, logprobs: Tensor, sampling: Sampling) -> Completion:
        ids = tokens.tolist()
        eos = set(self.eos.tolist())
        length = next((i + 1 for i, t in enumerate(ids) if t in eos), len(ids))
        ended = any(t in eos for t in ids)
        if sampling.stop:  # the shortest prefix that contains a stop string, that string included
            for n in range(1, length + 1):
                text = self.text(ids[:n])
                if any(s in text for s in sampling.stop):
                    length, ended = n, True
                    break
        return Completion(
            tokens=np.asarray(ids[:length], np.int32),
            logprobs=logprobs[:length].numpy().astype(np.float32),
            text=self.text(ids[:length]),
            finished=ended,
        )

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        own = dict(self.model.named_parameters())
        received: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for name, tensor in weights:
                if name not in own or name in received:
                    raise SyncError(f"weight sync: {name} is {'sent twice' if name in own else 'unknown'}")
                received[name] = fingerprint(tensor.to(own[name].device, own[name].dtype))
                own[name].copy_(tensor)
        ledger = Ledger()
        for name, sent in received.items():
            ledger.add(name, sent, own[name])
        receipt = Receipt(
            compared=sum(own[name].numel() for name in received),
            wrong=ledger.differing(),
            unsent=[name for name in own if name not in received],
        )
        demand(receipt)
        return receipt

    @torch.no_grad()
    def probe(self, tokens: list[int]) -> list[float]:
        ids = torch.tensor([tokens], device=self.device)
        log_p = self.model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        return [float(x) for x in log_p.gather(1, ids[0, 1:, None])[:, 0]]

    def sleep(self) -> None:
        """Nothing to give back: the copy is small next to the trainer's state."""

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


def _fp32_linear(layer: Any, hidden: Tensor) -> Tensor:
    bias = layer.bias.float() if layer.bias is not None else None
    return torch.nn.functional.linear(hidden.float(), layer.weight.float(), bias)


def _processed(logits: Tensor, sampling: Sampling) -> Tensor:
    """Log-probabilities of what is sampled from: temperature, then the top_p nucleus, renormalised."""
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    if sampling.top_p < 1:
        ordered, index = logits.sort(-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        logits = logits.scatter(-1, index, ordered.masked_fill(before >= sampling.top_p, float("-inf")))
    return logits.log_softmax(-1)


def _draw(log_p: Tensor, generators: list[torch.Generator | None], sampling: Sampling) -> Tensor:
    """One token per row: the mode when greedy, else an exponential race with the row's own generator."""
    if sampling.temperature == 0:
        return log_p.argmax(-1)
    rows = [torch.empty(log_p.shape[1], device=log_p.device) for _ in generators]
    noise = torch.stack([row.exponential_(generator=g) for row, g in zip(rows, generators, strict=True)])
    return (log_p.exp() / noise).argmax(-1)
