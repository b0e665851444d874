"""The engine interface on plain transformers: slower than vLLM, runs wherever torch does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.begun import as_it_is, joined, prompt_of, stamps
from rlvr_cli.rollout.engine import (
    CPU_SEQUENCES,
    OnOneRank,
    Request,
    Sampling,
    SyncError,
    demand,
    never,
    nothing_more,
)
from rlvr_cli.rollout.fingerprints import Ledger, Receipt, fingerprint
from rlvr_cli.rollout.hf_images import ahead, allowed, auto_class, inputs
from rlvr_cli.rollout.hf_routes import HFRoutes
from rlvr_cli.rollout.pixels import gap
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.schema import Precision, Rollout
from rlvr_cli.vision.album import album
from rlvr_cli.vision.processor import Patches, processor_of


class HFEngine(OnOneRank):
    """A copy of the model, decoded with a KV cache in batches of `rollout.max_num_seqs` sequences."""

    beside = False
    by_batch = True
    """The last bits of a sample's logprobs depend on what is decoded with it."""

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
        frozen_tower: bool = True,
    ) -> None:
        """`frozen_tower` is for engines that remember images; this one looks at each again."""
        self.device = (
            torch.device("cuda", torch.cuda.current_device())
            if torch.cuda.is_available()
            else torch.device("cpu")
        )
        self.processor = processor_of(tokenizer)
        model: Any = auto_class(self.processor).from_pretrained(
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
        self.version, self.stamped = 0, rollout.max_staleness > 0
        self.routes = HFRoutes(self.model) if rollout.routing_replay.recorded else None

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        waiting = list(requests)
        while waiting or (waiting := more(True)):
            # Neighbours in length are decoded together, so that little is padded.
            waiting.sort(key=lambda r: max(len(prompt_of(r, s)) for s in range(r.samples)))
            batch = [waiting.pop(0)]
            while waiting and sum(r.samples for r in batch) + waiting[0].samples <= self.max_num_seqs:
                batch.append(waiting.pop(0))
            if self.processor is not None:
                self.processor.coming(request.tokens for request in batch)
            yield from self._decode(batch, sampling, enough)
            waiting += more(False)

    @torch.no_grad()
    def _decode(
        self, requests: list[Request], sampling: Sampling, enough: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Completion]]]:
        rows = [(r, s) for r in requests for s in range(r.samples) if r.left(sampling, s)]
        limits = torch.tensor([r.left(sampling, s) for r, s in rows], device=self.device)
        stops = [sampling.of_request(r).stop for r, _ in rows]
        tokens: list[Tensor] = []
        logprobs: list[Tensor] = []
        waiting = {r.key: r for r in requests}
        for chosen, log_p, alive in self._tokens(rows, sampling) if rows and not enough() else ():
            tokens.append(chosen)
            logprobs.append(log_p)
            stopped = self._stopped(tokens, stops) if any(stops) else [False] * len(rows)
            if all(stopped):
                break
            if enough is never:
                continue
            runs = (alive & (len(tokens) < limits)).tolist()
            going = {r.key for (r, _), on, stop in zip(rows, runs, stopped, strict=True) if on and not stop}
            for key in [key for key in waiting if key not in going]:
                yield (
                    key,
                    self._samples(
                        waiting.pop(key), rows, _laid(tokens, rows), _laid(logprobs, rows), sampling
                    ),
                )
            if enough():
                break
        tokens_BT, logprobs_BT = _laid(tokens, rows), _laid(logprobs, rows)
        for key, request in waiting.items():
            yield key, self._samples(request, rows, tokens_BT, logprobs_BT, sampling)

    def _tokens(
        self, rows: list[tuple[Request, int]], sampling: Sampling
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """One after the other: tokens [B] (padding after the end), their logprobs, and which rows go on."""
        prompts = [prompt_of(r, s) for r, s in rows]
        # Each sample draws from its own generator, whatever it is batched with.
        seeds = [r.seed_of(s) for r, s in rows]
        generators = [
            torch.Generator(self.device).manual_seed(seed % 2**63) if seed is not None else None
            for seed in seeds
        ]
        width = max(len(p) for p in prompts)
        step_ids = torch.full((len(prompts), width), self.pad, device=self.device)
        mask = torch.zeros_like(step_ids)
        for row, prompt in enumerate(prompts):
            step_ids[row, width - len(prompt) :] = torch.tensor(prompt, device=self.device)
            mask[row, width - len(prompt) :] = 1
        given = inputs(self.model, self.processor, step_ids, (mask.cumsum(1) - 1).clamp(min=0))
        cache, alive = None, torch.ones(len(rows), dtype=torch.bool, device=self.device)
        recorder = self.routes if sampling.routes else None
        if recorder is not None:
            recorder.begin()
        for _ in range(max(r.left(sampling, s) for r, s in rows)):
            heart.beat()
            now = {"attention_mask": mask, "past_key_values": cache, "use_cache": True}
            logits_BTV, cache = ahead(self.model, self.processor, **given, **now)
            if recorder is not None:
                recorder.keep(len(rows))
            log_p = _processed(allowed(logits_BTV[:, -1].float(), self.processor), sampling)
            chosen = _draw(log_p, generators, sampling)
            token = torch.where(alive, chosen, self.pad)
            alive = alive & ~torch.isin(chosen, self.eos)
            yield token, log_p.gather(1, chosen[:, None])[:, 0], alive
            if not alive.any():
                return
            given = {"input_ids": chosen[:, None], "position_ids": given["position_ids"][..., -1:] + 1}
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)

    def _samples(
        self,
        request: Request,
        rows: list[tuple[Request, int]],
        tokens_BT: Tensor,
        logprobs_BT: Tensor,
        sampling: Sampling,
    ) -> list[Completion]:
        """A request's samples as far as they are: finished, full or partial."""
        places = {s: row for row, (r, s) in enumerate(rows) if r is request}
        found = []
        for sample in range(request.samples):
            if sample not in places:
                found.append(as_it_is(request, sample, self.text))
                continue
            row, left = places[sample], request.left(sampling, sample)
            stop = sampling.of_request(request).stop
            rest = self._completion(tokens_BT[row, :left], logprobs_BT[row, :left], stop)
            rest.partial = not rest.finished and len(rest.tokens) < left
            if self.routes is not None and sampling.routes:
                rest.routes = self.routes.of(row, len(prompt_of(request, sample)), len(rest.tokens))
            found.append(joined(request, sample, rest, self.text, stop))
        return found

    def _stopped(self, tokens: list[Tensor], stops: list[list[str]]) -> list[bool]:
        """Which rows have a stop string of theirs."""
        texts = [self.text(ids) for ids in torch.stack(tokens, 1).tolist()]
        return [any(s in text for s in stop) for text, stop in zip(texts, stops, strict=True)]

    def _completion(self, tokens: Tensor, logprobs: Tensor, stop: list[str]) -> Completion:
        ids = tokens.tolist()
        eos = set(self.eos.tolist())
        length = next((i + 1 for i, t in enumerate(ids) if t in eos), len(ids))
        ended = any(t in eos for t in ids)
        if stop:  # the shortest prefix that contains a stop string, that string included
            for n in range(1, length + 1):
                text = self.text(ids[:n])
                if any(s in text for s in stop):
                    length, ended = n, True
                    break
        return Completion(
            tokens=np.asarray(ids[:length], np.int32),
            logprobs=logprobs[:length].numpy().astype(np.float32),
            text=self.text(ids[:length]),
            finished=ended,
            versions=stamps(length, self.version if self.stamped else None),
        )

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        self.version = version
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
        made = inputs(self.model, self.processor, ids, torch.arange(len(tokens), device=self.device)[None])
        logits_BTV, _ = ahead(self.model, self.processor, **made, use_cache=False)
        log_p = logits_BTV[0, :-1].float().log_softmax(-1)
        if self.processor is not None:
            ids = ids.where(ids >= 0, self.processor.pad)
        return [float(x) for x in log_p.gather(1, ids[0, 1:, None])[:, 0]]

    def image_gap(self, tokens: list[int], ours: Patches) -> float:
        assert self.processor is not None
        pixels_pn, grid = self.processor.patches(album.numbers(tokens)[0])
        return gap(torch.from_numpy(pixels_pn), grid, *ours)

    def sleep(self) -> None:
        """Nothing to give back: the copy is small next to the trainer's state."""

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


def _laid(steps: list[Tensor], rows: Sized) -> Tensor:
    """[B, T] of T tensors [B], on the CPU."""
    return torch.stack(steps, 1).cpu() if steps else torch.empty(len(rows), 0)


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
