"""vLLM's requests sample by sample: each can be ended as far as it is, and go on later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.begun import as_it_is, joined, prompt_of
from rlvr_cli.rollout.engine import Request, Sampling
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.rollout.turns import Turns


@dataclass(slots=True, kw_only=True)
class Apart:
    """The samples of some requests in a vLLM engine."""

    engine: Any
    """An LLMEngine that is stepped in this process."""
    sampling: Sampling
    text: ResponseText
    completion: Callable[[Any], Completion]
    """Of an output of vLLM's."""
    add: Callable[[str, list[int], Request, int], str]
    """Hands (name, tokens, request, sample) to the engine; returns the engine's own name."""
    prompts: Prompts
    """Which `add` makes for the engine."""
    turns: Turns
    running: dict[str, tuple[Request, int, str]] = field(default_factory=dict)
    """Name -> request, sample, and what the engine calls it."""
    found: dict[int, list[Completion | None]] = field(default_factory=dict)
    """Request key -> samples that are done."""

    def generate(
        self, requests: list[Request], enough: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Completion]]]:
        """As `Generator.generate`."""
        with self.turns.asking():
            for request in requests:
                self._begin(request)
        yield from self._whole([request.key for request in requests])
        try:
            while self.running and not enough():
                heart.beat()
                self.turns.give_way()
                for output in self.turns.step(self.running):
                    yield from self._whole([self._done(output)])
            with self.turns.asking():
                for output in self.turns.arrived(self.running):
                    self._done(output)
                for request, sample, name in self.running.values():
                    self._place(request, sample, self._so_far(name))
        finally:  # also where the caller stops early
            if self.running:
                with self.turns.asking():
                    self.engine.abort_request(list(self.running))
                self.prompts.forget(self.running)
        yield from self._whole(list(self.found))

    def _done(self, output: Any) -> int:
        """Take in a finished output; its request's key."""
        self.prompts.check(output)
        request, sample, _ = self.running.pop(output.request_id)
        self._place(request, sample, self.completion(output.outputs[0]))
        return request.key

    def _begin(self, request: Request) -> None:
        self.found[request.key] = [None] * request.samples
        for sample in range(request.samples):
            if not request.left(self.sampling, sample):
                self.found[request.key][sample] = as_it_is(request, sample, self.text)
                continue
            name = f"{request.key}/{sample}"
            own = self.add(name, prompt_of(request, sample), request, sample)
            self.running[name] = request, sample, own

    def _place(self, request: Request, sample: int, rest: Completion) -> None:
        whole = joined(request, sample, rest, self.text, self.sampling.of_request(request).stop)
        self.found[request.key][sample] = whole

    def _whole(self, keys: list[int]) -> Iterator[tuple[int, list[Completion]]]:
        """Of these requests those whose every sample is there."""
        for key in keys:
            samples = [sample for sample in self.found[key] if sample is not None]
            if len(samples) == len(self.found[key]):
                del self.found[key]
                yield key, samples

    def _so_far(self, name: str) -> Completion:
        """A sample that is not done, from vLLM's output processor, which gives out final outputs only."""
        state = self.engine.output_processor.request_states[name]
        tokens = list(state.detokenizer.output_token_ids)
        output = SimpleNamespace(
            token_ids=tokens,
            logprobs=state.logprobs_processor.logprobs,
            finish_reason=None,
            weight_versions=state._weight_version_spans(),
        )
        return replace(self.completion(output), text="", finished=False, partial=True)
