"""Prompts with images as vLLM takes them: one image token for each, which it repeats itself."""

from __future__ import annotations

from typing import Any

from rlvr_cli.rollout.engine import SyncError
from rlvr_cli.vision.album import album, shortened
from rlvr_cli.vision.processor import BAN, Processor

UNKNOWN = 8
"""Images of a prompt where nobody has looked at the problems yet."""


class Prompts:
    """Rows of tokens with numbers of the album, as vLLM's prompts; without a processor as they are."""

    def __init__(self, processor: Processor | None) -> None:
        self.processor = processor
        self._asked: dict[str, list[int]] = {}

    def arguments(self) -> dict[str, Any]:
        """By vLLM's names, beside those of an engine that reads text alone."""
        if self.processor is None:
            return {}
        return {
            "limit_mm_per_prompt": {"image": album.most or UNKNOWN, "video": 0},
            "mm_processor_kwargs": {
                "size": {"shortest_edge": self.processor.least, "longest_edge": self.processor.most},
            },
            # It would try the largest image the model could take, of which there may be none.
            "skip_mm_profiling": True,
            "mm_processor_cache_gb": 1,
            "skip_tokenizer_init": False,  # its processor of images reads prompts' tokens
        }

    def bans(self) -> dict[str, Any]:
        """Of vLLM's SamplingParams: no image that is not there."""
        return {} if self.processor is None else {"logit_bias": dict.fromkeys(self.processor.banned, BAN)}

    def forget(self) -> None:
        """Requests that were broken off."""
        self._asked.clear()

    def of(self, name: str, tokens: list[int]) -> dict[str, Any]:
        """The prompt of a request."""
        if self.processor is None:
            return {"prompt_token_ids": tokens}
        short, numbers = shortened(tokens, self.processor.pad)
        if not numbers:
            return {"prompt_token_ids": tokens}
        from PIL import Image

        self._asked[name] = tokens
        images = [Image.fromarray(self.processor.seen(number)) for number in numbers]
        return {"prompt_token_ids": short, "multi_modal_data": {"image": images}}

    def check(self, output: Any) -> None:
        """SyncError where the engine has read other tokens of a finished request than the trainer will: its
        processor of images has other limits, or is another one."""
        tokens = self._asked.pop(output.request_id, None)
        if tokens is None or self.processor is None:
            return
        ours = [self.processor.pad if token < 0 else token for token in tokens]
        if list(output.prompt_token_ids) != ours:
            raise SyncError(
                "the rollout engine reads a prompt with images as "
                f"{len(output.prompt_token_ids)} tokens, the trainer as {len(ours)}: their image processors "
                "differ; leave model.min_pixels and model.max_pixels out, or take rollout=hf"
            )
