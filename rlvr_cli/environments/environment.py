"""What an environment is asked, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

Message = dict[str, Any]
"""`role` and `content`; of a tool perhaps `name` and `tool_call_id`, as chat templates take them."""


class History(Enum):
    keep = "keep"
    template = "template"


@dataclass(slots=True, kw_only=True)
class Task:
    """A problem, as its environment gets it."""

    id: str
    prompt: list[Message]
    """As messages: the problem's text, in the source's template, and its system message."""
    question: str
    """Its text as the data set has it, before any template; of messages the last one of the user."""
    answer: str
    """Gold answer; "" where there is none."""
    golds: list[str]
    """All gold answers, of which any counts."""
    row: dict[str, Any]
    """The other columns of the data set."""
    seed: int
    """For what the environment draws: another for each episode, the same whenever the step is run again."""


@dataclass(slots=True, kw_only=True)
class Ask:
    """What an environment with `by_request` wants of a turn."""

    tools: list[dict[str, Any]] | None = None
    """Announced by the prompt of a sequence that begins; null: the tools of `schemas`."""
    max_tokens: int | None = None
    """Fewer than there may be."""
    stop: list[str] = field(default_factory=list)
    """Strings that end it besides those of the run."""


@dataclass(slots=True, kw_only=True)
class Opening:
    """How an episode begins, where `reset` has more to say than messages."""

    messages: list[Message]
    ask: Ask = field(default_factory=Ask)


@dataclass(slots=True, kw_only=True)
class Sampled:
    """A turn as it was sampled, for environments with `by_request`."""

    prompt: list[int]
    """Ids of all that stood before it."""
    tokens: list[int]
    pieces: list[str]
    """Text of each token."""
    logprobs: list[float]
    """Empty where the run records none."""
    temperature: float
    top_p: float
    room: int
    """Tokens that may follow."""


@dataclass(slots=True, kw_only=True)
class Refusal:
    """Why what an environment with `by_request` has said cannot be asked."""

    text: str
    too_long: bool
    """It has no room; else the chat template has no place for it."""


@dataclass(slots=True, kw_only=True)
class Turn:
    """What the policy has just written."""

    text: str
    """Without the token that ended it; other special tokens are part of it (`<think>`, `[TOOL_CALLS]`).
    Where a prompt opens a thought (`...<think>`) the text begins within it."""
    number: int
    """Of this turn in its episode, from 1 on."""
    last: bool
    """No turn follows, whatever is said."""
    finished: bool
    """It ended by itself or at a stop string; False: at its limit of tokens."""
    stopped_by: str | None = None
    """The stop string at its end, if one is there."""
    sampled: Sampled | None = None
    """Of environments with `by_request`."""
    refused: Refusal | None = None
    """Nothing was written: what the environment said last cannot be asked. Environments with `by_request`
    say something else then; for others it is the end."""


@dataclass(slots=True, kw_only=True)
class Step:
    """What the environment makes of a turn. Where it says nothing the episode is over."""

    messages: list[Message] = field(default_factory=list)
    """What it says, in the words of the chat template: results of tools, or what a user says."""
    calls: list[Message] = field(default_factory=list)
    """The tool calls that `messages` are the results of, as templates take them: {"type": "function",
    "function": {"name": ..., "arguments": {...}}}, with an `id` where results have one."""
    text: str = ""
    """In the place of `messages`: what is put behind the turn as it is, within the assistant's turn."""
    restart: list[Message] = field(default_factory=list)
    """In their place: the conversation from its beginning, where its history is another than what was sampled
    and said. The policy goes on in a new sequence, whose prompt this is; what it sampled before trains in the
    old one."""
    ask: Ask | None = None
    """What is wanted of the next turn."""
    done: bool = False
    """The episode is over; what is said besides is recorded and not sampled from."""
    reward: float | None = None
    """Of this turn; an episode's is their sum. None: this turn earns nothing."""
    measures: dict[str, float] = field(default_factory=dict)
    """Added up over the episode. `found` becomes the metric `environment/<name>/found`, the mean over the
    episodes that have it; a name with a `/` (`tool/calls`) is a metric as it is, the sum over all."""
    notes: dict[str, str] = field(default_factory=dict)
    """What else the records of this turn should hold."""
    state: str | None = None
    """Where the policy is now, for advantages that compare turns from the same state: where it is equal in
    two episodes of a problem, as much can still be earned. None: all that was said and written."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.messages, self.text, self.restart))) > 1:
            raise ValueError("a step says one of messages, text and restart")

    @property
    def spoken(self) -> str:
        """What it says, as a reader sees it."""
        return self.text or "\n".join(str(message.get("content")) for message in self.messages)

    @property
    def over(self) -> bool:
        return self.done or not (self.messages or self.text or self.restart)


@dataclass(kw_only=True)
class Environment:
    """Base of all environments: what they have in common, and an environment that says nothing.

    Fields are the keys of the recipe's section. A worker has a copy (copy.copy) for each episode, so that
    what `reset` and `step` write into `self` is the episode's own; what `warm` has loaded all of a worker
    share.

    `reset`, `step` and `close` may be coroutines or plain methods; plain ones run in a thread each and may
    wait. An exception is the episode's end without a verdict (`crash`), and so is a call that takes longer
    than `step_s` (`timeout`): what the policy has caused is to be answered with a message instead.
    """

    name: str = "environment"
    max_turns: int = 8
    """Turns of the policy; after the last the episode ends, whatever the environment says."""
    turn_tokens: int | None = None
    """Tokens of one turn; null: what is left of `rollout.max_tokens`, which is the whole episode's, with what
    the environment says."""
    history: History = History.keep
    """What the policy sees of its earlier turns once a user says more. keep: all that it wrote; template:
    what the chat template leaves of them (some drop old thoughts), in a new sequence where that is less."""
    concurrency: int | None = None
    """Episodes at once; null: all of a step."""
    start_s: float = 600.0
    """Seconds a worker may take to load what it needs."""
    step_s: float = 60.0
    """Seconds a call of the environment may take."""
    episode_s: float | None = None
    """Seconds an episode may take; null: any time. One that takes longer has no verdict."""
    workers: int = 1
    """Processes that run its episodes; each runs any number of them at once."""
    stop: ClassVar[tuple[str, ...]] = ()
    """Strings that end a turn besides those of the recipe; the string is the turn's last part."""
    by_request: ClassVar[bool] = False
    """Its turns are answers to requests of somebody who is told what they were sampled from and whether they
    can be had: turns have `sampled` and `refused`."""

    def __post_init__(self) -> None:
        for key in ("max_turns", "turn_tokens", "concurrency", "workers"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key} is {value}; it must be at least 1")
        for key in ("start_s", "step_s", "episode_s"):
            if (seconds := getattr(self, key)) is not None and seconds <= 0:
                raise ValueError(f"{key} is {seconds}; it must be above 0")

    # In the trainer's process, before anything is sampled.

    def choose_syntax(self, chat_template: str | None) -> None:
        """Look at the template of the run's tokenizer, before `ready`."""

    def ready(self) -> None:
        """UserError where something it needs is missing on this machine."""

    def schemas(self) -> list[dict[str, Any]]:
        """Tools that the prompt announces, in the form of OpenAI's `tools`; none by default."""
        return []

    # In a worker.

    def warm(self) -> None:
        """Load what all episodes share; once, before the first. UserError ends the run in one line."""

    def keeps(self, task: Task) -> Any:
        """Whether a problem is to be trained on: asked once, before the first step; False leaves it out."""
        return True

    def reset(self, task: Task) -> Any:
        """Begin an episode: what the policy sees first as a list of messages, in the place of the task's
        prompt; None: the prompt as it is."""
        return None

    def step(self, turn: Turn) -> Any:
        """Answer a turn: a `Step`."""
        return Step(done=True)

    def script(self, task: Task) -> Any:
        """Turns that earn all there is, as a list of texts, for the preflight; None: it knows none. Asked
        after `reset`."""
        return None

    def out_of_room(self) -> Any:
        """What was said last does not fit any more, and the policy cannot answer: a `Step` whose reward and
        measures still count; None: nothing does."""
        return None

    def close(self) -> Any:
        """The episode is over, by itself or not."""
        return None
