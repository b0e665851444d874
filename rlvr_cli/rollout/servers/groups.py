"""Server side of sampling: the samples of one prompt in one request, each answered when it is done.

They go to vLLM's engine client in this process, past its routes: those take a request for each sample, check
every number of it, and answer with several lines of JSON for every token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from rlvr_cli.rollout.pixels import demand_same_pixels
from rlvr_cli.rollout.seen import prompt_of, unlike
from rlvr_cli.rollout.servers.frames import frame

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """vLLM does not take what was asked for; nothing has been answered."""


async def sample(engine: Any, receive: Receive, send: Send) -> None:
    """Answer a group's request with frames. `engine`: vLLM's client of its engine.

    Who is gone before the end wants nothing more of it. Refused with vLLM's reason.
    """
    from vllm.exceptions import VLLMClientError

    asked = json.loads(await whole(receive))
    samples = [asyncio.create_task(_sample(engine, asked, one)) for one in asked["samples"]]
    leaving: asyncio.Future[Any] = asyncio.ensure_future(receive())  # the body is there: this is the end
    waiting: set[asyncio.Future[Any]] = {leaving, *samples}
    started = False
    try:
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if leaving in done:
                return
            frames = b"".join(task.result() for task in done)
            if not started:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                started = True
            await send({"type": "http.response.body", "body": frames, "more_body": len(waiting) > 1})
    except (TypeError, ValueError, VLLMClientError) as error:
        if started:
            raise
        raise Refused(str(error)) from error
    finally:
        for task in (leaving, *samples):
            task.cancel()
        await asyncio.gather(leaving, *samples, return_exceptions=True)


async def _sample(engine: Any, asked: dict[str, Any], one: dict[str, Any]) -> bytes:
    """The frame of one sample; vLLM drops its request where this is cancelled."""
    from vllm import SamplingParams
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind

    from rlvr_cli.rollout.adapters import loaded

    params = SamplingParams(
        **asked["params"],
        logit_bias={int(token): bias for token, bias in asked.get("bias", {}).items()} or None,
        max_tokens=one["max_tokens"],
        seed=one["seed"],
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    tokens: Any = [*asked["tokens"], *one["begun"]]
    if images := asked.get("images"):
        prompt: Any = prompt_of(tokens, images, asked["salt"])
        if (sent := asked.get("pixels")) is not None:
            demand_same_pixels(engine, prompt, sent)
    else:
        prompt = tokens_input(tokens, cache_salt=asked["salt"])
    name = name_of(asked["name"], one["number"])
    lora = loaded() if asked["adapter"] else None
    [final] = [each async for each in engine.generate(prompt, params, name, lora_request=lora)]
    [output] = final.outputs
    if output.finish_reason == "error":
        raise RuntimeError("vLLM could not sample a request; its log says why")
    if images and (why := unlike(final.prompt_token_ids, [*asked["read"], *one["begun"]])) is not None:
        raise ValueError(why)
    return frame(
        number=one["number"],
        tokens=output.token_ids,
        logprobs=output.logprobs.logprobs if output.logprobs is not None else [],
        prompt_logprobs=final.prompt_logprobs.logprobs if final.prompt_logprobs is not None else [],
        finish=output.finish_reason,
        versions=[(span.version, span.start, span.end) for span in output.weight_versions or ()],
    )


async def abort(engine: Any, receive: Receive) -> None:
    """End the samples that are named: each is answered with the tokens it has."""
    asked = json.loads(await whole(receive))
    await engine.abort([name_of(group, number) for group, numbers in asked.items() for number in numbers])


def name_of(group: str, number: int) -> str:
    """What vLLM calls a sample."""
    return f"{group}/{number}"


async def whole(receive: Receive) -> bytes:
    """The body of a request."""
    return b"".join([piece async for piece in pieces(receive)])


async def pieces(receive: Receive) -> AsyncIterator[bytes]:
    """The body of a request as it comes, also where its sender leaves in the middle."""
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
