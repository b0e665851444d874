"""Prompts with images as vLLM takes them: one image token for each, which it repeats itself."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rlvr_cli.rollout import pixels
from rlvr_cli.rollout.engine import Request, SyncError
from rlvr_cli.vision.album import album, shortened
from rlvr_cli.vision.marks import typed
from rlvr_cli.vision.processor import BAN, Patches, Processor

UNKNOWN = 8
"""Images of a prompt where nobody has looked at the problems yet."""
DATA = "data:image/png;base64,"
FOR_ANY_RUN = 64
"""Images of a prompt that a server takes which is there before its runs."""


class Prompts:
    """Rows of tokens with numbers of the album, as vLLM's prompts; without a processor as they are."""

    def __init__(self, processor: Processor | None, room: int | None = None) -> None:
        """`room`: images of a prompt at most, where that is not to be seen from this process's prompts."""
        self.processor, self._room = processor, room
        self._asked: dict[str, list[int]] = {}

    def arguments(self) -> dict[str, Any]:
        """By vLLM's names, beside those of an engine that reads text alone."""
        if self.processor is None:
            return {}
        return {
            "limit_mm_per_prompt": {"image": self._room or album.most or UNKNOWN, "video": 0},
            "mm_processor_kwargs": {
                "size": {"shortest_edge": self.processor.least, "longest_edge": self.processor.most},
            },
            # It would try the largest image the model could take, of which there may be none.
            "skip_mm_profiling": True,
            "mm_processor_cache_gb": 1,
            "skip_tokenizer_init": False,  # its processor of images reads prompts' tokens
        }

    def settings(self) -> dict[str, Any] | None:
        """How images are read; None: none are."""
        return None if self.processor is None else self.processor.settings()

    def bans(self) -> dict[str, Any]:
        """Of vLLM's SamplingParams: no image that is not there."""
        return {} if self.processor is None else {"logit_bias": dict.fromkeys(self.processor.banned, BAN)}

    def forget(self, names: Iterable[str]) -> None:
        """Requests that were broken off."""
        for name in names:
            self._asked.pop(name, None)

    def coming(self, requests: Iterable[Request]) -> None:
        """What is asked for next, in this order."""
        if self.processor is not None:
            self.processor.coming(request.tokens for request in requests)

    def of(
        self, name: str, tokens: list[int], note: Callable[[np.ndarray], None] | None = None
    ) -> dict[str, Any]:
        """The prompt of a request; `note` is shown the pixels, for ranks that must have the same."""
        if self.processor is None:
            return {"prompt_token_ids": tokens}
        short, numbers = shortened(tokens, self.processor.pad)
        if not numbers:
            return {"prompt_token_ids": tokens}
        from PIL import Image

        self._asked[name] = tokens
        seen = [self.processor.seen(number) for number in numbers]
        if note is not None:
            for each in seen:
                note(each)
        images = [Image.fromarray(each) for each in seen]
        return {"prompt_token_ids": short, "multi_modal_data": {"image": images}}

    def gap(self, engine: Any, tokens: list[int], ours: Patches) -> float:
        """`pixels.gap` of the first image of a prompt; `engine`: vLLM's."""
        prompt = self.of("", tokens)
        del self._asked[""]
        return pixels.gap(*pixels.made_by(engine, prompt), *ours)

    def sent(self, tokens: list[int]) -> dict[str, Any]:
        """The prompt as a request to a server has it: images as PNG files in base64, and in `read` what the
        server must have read of it, which it says no to otherwise."""
        if self.processor is None:
            return {"tokens": tokens}
        short, numbers = shortened(tokens, self.processor.pad)
        if not numbers:
            return {"tokens": tokens}
        images = [_png(self.processor.seen(number)) for number in numbers]
        return {"tokens": short, "images": images, "read": self._ours(tokens)}

    def spoken(self, messages: list[dict[str, str]], tokens: list[int]) -> list[dict[str, Any]] | None:
        """Messages for a server with a chat template, in OpenAI's form: the images of `tokens` stand where
        the contents have marks, as PNG in data URLs. None: there are no images."""
        numbers = [] if self.processor is None else shortened(tokens, self.processor.pad)[1]
        if self.processor is None or not numbers:
            return None
        left, found = iter(numbers), list[dict[str, Any]]()
        for message in typed(messages):
            if isinstance(content := message["content"], list):
                content = [
                    {"type": "image_url", "image_url": {"url": DATA + _png(self.processor.seen(next(left)))}}
                    if part["type"] == "image"
                    else part
                    for part in content
                ]
            found.append(message | {"content": content})
        return found

    def _ours(self, tokens: list[int]) -> list[int]:
        assert self.processor is not None
        return [self.processor.pad if token < 0 else token for token in tokens]

    def check(self, output: Any) -> None:
        """SyncError where the engine has read other tokens of a finished request than the trainer will: its
        processor of images has other limits, or is another one."""
        tokens = self._asked.pop(output.request_id, None)
        if tokens is None or self.processor is None:
            return
        if (why := unlike(output.prompt_token_ids, self._ours(tokens))) is not None:
            raise SyncError(why)


def unlike(read: Sequence[int], ours: Sequence[int]) -> str | None:
    """What to say where an engine has read other tokens than the trainer; None: the same."""
    if list(read) == list(ours):
        return None
    return (
        f"the rollout engine reads a prompt with images as {len(read)} tokens, the trainer as {len(ours)}: "
        "their image processors differ; leave model.min_pixels and model.max_pixels out, or take rollout=hf"
    )


def prompt_of(tokens: list[int], images: Sequence[str], salt: str | None) -> dict[str, Any]:
    """vLLM's prompt of what `Prompts.sent` has made, in the server."""
    from PIL import Image

    opened = [Image.open(BytesIO(b64decode(each))).convert("RGB") for each in images]
    prompt: dict[str, Any] = {"prompt_token_ids": tokens, "multi_modal_data": {"image": opened}}
    return prompt if salt is None else prompt | {"cache_salt": salt}


def _png(pixels: Any) -> str:
    from PIL import Image

    kept = BytesIO()
    Image.fromarray(pixels).save(kept, format="PNG", compress_level=1)
    return b64encode(kept.getvalue()).decode()
