"""Environments whose turns are answers to requests (`by_request`): what they want, and what they are told."""

from __future__ import annotations

from rlvr_cli.core.types import Completion
from rlvr_cli.environments.environment import Ask, Message, Opening, Refusal, Sampled, Step, Turn
from rlvr_cli.episodes.rendering import TemplateRefuses
from rlvr_cli.episodes.transcript import Transcript
from rlvr_cli.rollout.engine import Sampling
from rlvr_cli.rollout.text import ResponseText


def opening(value: Opening | Step | list[Message]) -> tuple[list[Message], Ask | None]:
    """Messages an episode begins with; a Step: in the place of an opening that was refused."""
    if isinstance(value, Opening):
        return value.messages, value.ask
    return (value.restart, value.ask) if isinstance(value, Step) else (value, None)


def sampled(
    transcript: Transcript, completion: Completion, sampling: Sampling, text: ResponseText, room: int
) -> Sampled:
    """The last turn of a transcript, as its environment sees it."""
    tokens = completion.tokens.tolist()
    begin, _ = transcript.spans[-1]
    return Sampled(
        prompt=[*transcript.prompt, *transcript.tokens[:begin]],
        tokens=tokens,
        pieces=[text.whole([token]) for token in tokens],
        logprobs=completion.logprobs.tolist() if sampling.logprobs else [],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        room=max(0, room),
    )


def too_long(tokens: int, room: int) -> Refusal:
    """No room for what was said."""
    return Refusal(
        text=f"the messages have {tokens} tokens, and the episode has room for {room}", too_long=True
    )


def no_place(error: Exception) -> Refusal:
    """The chat template raises what it likes."""
    text = str(error) if isinstance(error, TemplateRefuses) else f"the chat template: {error}"
    return Refusal(text=" ".join(text.split())[:500], too_long=False)


def refused(number: int, why: Refusal) -> Turn:
    """Nothing is sampled; `number`: of the turns so far."""
    return Turn(text="", number=number, last=False, finished=False, refused=why)
