"""One sample of a request while it is played, and what its environment is told of the problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from zlib import crc32

import numpy as np

from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Problem, Verdict
from rlvr_cli.environments.environment import Ask, Environment, Message, Step, Task, Turn
from rlvr_cli.episodes.transcript import Transcript
from rlvr_cli.rollout.engine import Request, derived_seed


@dataclass(slots=True, kw_only=True, eq=False)
class Player:
    """One sample of a request while it is played."""

    request: Request
    sample: int
    name: str
    environment: Environment
    limit: int
    """Tokens after the first prompt."""
    seed: int | None
    number: int = 0
    """Of its episode among the workers'."""
    began: float = 0.0
    transcript: Transcript = field(default_factory=partial(Transcript, prompt=[]))
    """The sequence it is in."""
    earlier: list[Transcript] = field(default_factory=list)
    """Those before it."""
    own_prompt: bool = False
    """The environment has begun the sequence with other messages than the problem's."""
    turns: list[TurnNote] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    cut: bool = False
    """The last turn did not end by itself."""
    ending: bool = False
    """It has no room, and is asked what it has earned."""
    conversation: list[Message] = field(default_factory=list)
    """What was said and written up to the policy's last message."""
    written: str = ""
    """That message, so far."""
    ask: Ask = field(default_factory=Ask)
    """What its environment wants of the next turn."""
    state: str | None = None
    """What its environment says the policy is in."""

    @property
    def problem(self) -> Problem:
        assert self.request.problem is not None
        return self.request.problem

    @property
    def place(self) -> tuple[int, int]:
        """Among all samples that were asked for together."""
        return self.request.key, self.sample

    @property
    def left_s(self) -> float | None:
        limit = self.environment.episode_s
        return None if limit is None else self.began + limit - monotonic()

    @property
    def state_key(self) -> int:
        """Of the state in which the turn that is sampled began."""
        return self.transcript.given[-1][1] if self.state is None else crc32(self.state.encode())

    def told(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation, once this is said to what the policy has written."""
        self.conversation += [{"role": "assistant", "content": self.written}, *messages]
        self.written = ""
        return self.conversation

    def turn(self, text: str, *, last: bool, finished: bool, stops: Sequence[str] = ()) -> Turn:
        """The turn that was written last, as its environment gets it; `stops`: more strings that end one."""
        strings = (*self.environment.stop, *self.ask.stop, *stops)
        stopped_by = next((string for string in strings if text.endswith(string)), None)
        return Turn(text=text, number=len(self.turns), last=last, finished=finished, stopped_by=stopped_by)

    def answered(self, step: Step, seconds: float) -> None:
        """Take in what the environment made of the turn that was written last."""
        note = self.turns[-1]
        note.reward, note.notes = step.reward, step.notes
        self.state = step.state
        note.seconds += seconds
        if step.over:
            note.said = step.spoken
        self.measure(step)

    def measure(self, step: Step) -> None:
        for name, value in step.measures.items():
            self.measures[name] = self.measures.get(name, 0.0) + value

    def completion(self, ended: Ended, *, logprobs: bool, failure: Verdict | None = None) -> Completion:
        """The sample as the trainer takes it; `failure`: why there is no verdict."""
        transcripts = [*self.earlier, self.transcript]
        text, finished = self.turns[-1].text if self.turns else "", ended is not Ended.tokens
        *earlier, made = [each.completion(text, finished=finished, logprobs=logprobs) for each in transcripts]
        if self.own_prompt:
            for row, transcript in zip((*earlier, made), transcripts, strict=True):
                row.prompt = np.asarray(transcript.prompt, np.int32)
        rewards = [turn.reward for turn in self.turns if turn.reward is not None]
        made.earlier = earlier
        made.episode = Episode(
            environment=self.name,
            ended=ended,
            turns=self.turns,
            reward=sum(rewards) if rewards and failure is None else None,
            measures=self.measures,
            failure=failure,
            closed=sum(each.closed for each in transcripts),
            violations=sum(each.violations() for each in transcripts),
            seconds=monotonic() - self.began,
        )
        return made

    def room(self, most_prompt: int) -> int:
        """Tokens that may follow, of the episode and of its sequence, whose prompt may have `most_prompt`."""
        spent = sum(len(each.tokens) for each in (*self.earlier, self.transcript))
        here = len(self.transcript.prompt) + len(self.transcript.tokens)
        return min(self.limit - spent, most_prompt + self.limit - here)


def question_of(problem: Problem) -> str:
    """Its text as the data set has it."""
    found = problem.extra.get("prompt", problem.prompt)
    if isinstance(found, str):
        return found
    return next((str(m["content"]) for m in reversed(found) if m.get("role") == "user"), "")


def task_of(problem: Problem, seed: int | None) -> Task:
    """What the environment is told of the problem; `seed`: of the sample."""
    of = f"{seed}:task" if seed is not None else f"{problem.id}:{monotonic()}"
    return Task(
        id=problem.id,
        prompt=[dict(message) for message in problem.messages],
        question=question_of(problem),
        answer=problem.answer,
        golds=problem.golds,
        row={key: value for key, value in problem.extra.items() if key != "prompt"},
        seed=derived_seed(of),
    )
