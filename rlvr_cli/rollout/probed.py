"""The transformers engine with a one-token verifier that reads its cache while it samples.

Every `every` tokens, and after its last one, each sample is probed: one forward pass of one token, whose keys
and values are not kept. What a rule drops is taken out of the batch and of the cache at once. Samples that
have ended go through the model with their last token, which else nobody would look at, and leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.probes import Probes
from rlvr_cli.core.types import Completion
from rlvr_cli.otv.pruning import Race
from rlvr_cli.otv.verifier import OneTokenVerifier
from rlvr_cli.rollout.engine import Request, Sampling
from rlvr_cli.rollout.hf import HFEngine, _draw, _processed

MakeRace = Callable[[int, int], Race]
"""(samples of a problem, most tokens of one) -> its race."""


@dataclass(slots=True, kw_only=True)
class Live:
    """A sample that is being sampled."""

    request: Request
    number: int
    generator: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    probes: Probes = field(default_factory=Probes)
    ended: bool = False


class ProbedEngine(HFEngine):
    """`generate` yields completions with `probes`. Requests are answered whole: none is begun before, and
    nobody asks for less than all."""

    verifier: OneTokenVerifier
    every: int
    race: MakeRace

    def watch(self, verifier: OneTokenVerifier, every: int, race: MakeRace) -> ProbedEngine:
        """Probe every so many tokens; the samples of each problem are a race."""
        self.verifier, self.every, self.race = verifier, every, race
        return self

    @torch.no_grad()
    def _decode(
        self, requests: list[Request], sampling: Sampling, enough: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Completion]]]:
        samples = [
            Live(request=r, number=s, generator=self._generator(r.seed_of(s)))
            for r in requests
            for s in range(r.samples)
        ]
        races = {r.key: self.race(r.samples, r.limit(sampling)) for r in requests}
        live, cache, ids_BT, mask_BT = samples, None, *self._prompts(samples)
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        while live:
            heart.beat()
            out = self.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            dropped = self._probe(live, cache, mask_BT, races)
            keep = [
                n
                for n, each in enumerate(live)
                if not each.ended and each.number not in dropped[each.request.key]
            ]
            if len(keep) < len(live):
                chosen = torch.tensor(keep, dtype=torch.int64, device=self.device)
                cache.batch_select_indices(chosen)
                mask_BT, positions_BT = mask_BT[chosen], positions_BT[chosen]
                live, logits_BV = [live[n] for n in keep], out.logits[chosen, -1]
            else:
                logits_BV = out.logits[:, -1]
            if live:
                ids_BT = self._next(live, logits_BV, sampling)
                positions_BT = positions_BT[:, -1:] + 1
                mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(live), 1)], 1)
        for each in samples:  # one that had ended may have been dropped later
            each.probes.dropped = each.number in races[each.request.key].dropped
        for request in requests:
            yield request.key, [self._whole(each, sampling) for each in samples if each.request is request]

    def _generator(self, seed: int | None) -> torch.Generator | None:
        return None if seed is None else torch.Generator(self.device).manual_seed(seed % 2**63)

    def _prompts(self, samples: list[Live]) -> tuple[Tensor, Tensor]:
        """Prompts padded on the left, and which tokens are any."""
        width = max(len(each.request.tokens) for each in samples)
        ids_BT = torch.full((len(samples), width), self.pad, device=self.device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, each in enumerate(samples):
            prompt = each.request.tokens
            ids_BT[row, width - len(prompt) :] = torch.tensor(prompt, device=self.device)
            mask_BT[row, width - len(prompt) :] = 1
        return ids_BT, mask_BT

    def _probe(
        self, live: list[Live], cache: Any, mask_BT: Tensor, races: dict[int, Race]
    ) -> dict[int, set[int]]:
        """Probe whose turn it is; request's key -> which of its samples are dropped."""
        tokens = len(live[0].tokens)  # all in the cache, and the same for all
        if tokens and (tokens % self.every == 0 or any(each.ended for each in live)):
            asked = [n for n, each in enumerate(live) if each.ended or tokens % self.every == 0]
            said_B = self.verifier.verify(cache, mask_BT.bool()).tolist()
            for n in asked:
                live[n].probes.tokens.append(tokens)
                live[n].probes.confidences.append(said_B[n])
            for key in dict.fromkeys(live[n].request.key for n in asked):
                mine = [live[n] for n in asked if live[n].request.key == key]
                found = {each.number: each.probes.confidences[-1] for each in mine}
                races[key].see(tokens, found, [each.number for each in mine if each.ended])
        return {key: race.dropped for key, race in races.items()}

    def _next(self, live: list[Live], logits_BV: Tensor, sampling: Sampling) -> Tensor:
        """Draw a token for each; [B, 1]."""
        log_p_BV = _processed(logits_BV.float(), sampling)
        chosen_B = _draw(log_p_BV, [each.generator for each in live], sampling)
        said_B = log_p_BV.gather(1, chosen_B[:, None])[:, 0].tolist()
        eos = set(self.eos.tolist())
        for each, token, logprob in zip(live, chosen_B.tolist(), said_B, strict=True):
            each.tokens.append(token)
            each.logprobs.append(logprob)
            stop = sampling.of_request(each.request).stop
            text = self.text(each.tokens) if stop else ""
            full = len(each.tokens) >= each.request.limit(sampling)
            each.ended = token in eos or full or any(s in text for s in stop)
        return chosen_B[:, None]

    def _whole(self, each: Live, sampling: Sampling) -> Completion:
        stop = sampling.of_request(each.request).stop
        found = self._completion(torch.tensor(each.tokens), torch.tensor(each.logprobs), stop)
        found.logprobs = np.asarray(each.logprobs, np.float32)[: len(found.tokens)]
        found.probes = each.probes
        return found
