"""The episodes of one call of the engine: whose turn it is, and what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic

from rlvr_cli.core.episode import Ended, TurnNote
from rlvr_cli.core.types import Completion, Reason, Verdict
from rlvr_cli.environments.environment import Ask, Environment, History, Message, Refusal, Step
from rlvr_cli.environments.workers import Said
from rlvr_cli.episodes import asked
from rlvr_cli.episodes.player import Player, task_of
from rlvr_cli.episodes.rendering import Rendering
from rlvr_cli.episodes.table import BadEnvironment, Table
from rlvr_cli.episodes.transcript import Transcript
from rlvr_cli.rollout.engine import Request, Sampling, derived_seed

WAIT_S = 1.0
"""For an environment, at a time, where the engine has nothing to do."""


class Play:
    """`requests` are played; turns get keys from `first_key` on."""

    def __init__(
        self, table: Table, requests: list[Request], sampling: Sampling, first_key: int, *, by_batch: bool
    ) -> None:
        self._table, self._sampling, self._by_batch = table, sampling, by_batch
        self._next_key = first_key
        self._found: dict[int, list[Completion | None]] = {r.key: [None] * r.samples for r in requests}
        self._waiting = deque(self._player(r, n) for r in requests for n in range(r.samples))
        self._open: dict[int, Player] = {}
        """Number of an episode -> who plays it."""
        self._sampled: dict[int, Player] = {}
        """Key of a turn that the engine has -> whose it is."""

    def _player(self, request: Request, sample: int) -> Player:
        assert request.problem is not None and request.problem.environment is not None
        name = request.problem.environment
        return Player(
            request=request,
            sample=sample,
            name=name,
            environment=self._table.environments[name],
            limit=request.limit(self._sampling),
            seed=None if request.seed is None else request.seed + sample,
        )

    # ------------------------------------------------------------- asked by the engine

    def more(self, idle: bool) -> list[Request]:
        """Turns to sample, as `Engine.generate` asks; `by_batch`: all at once, in the samples' order."""
        self._begin()
        if self._by_batch and not idle:
            return []
        requests = self._hear(0.0)
        while idle and (self._open or self._waiting) and (not requests or self._more_to_come()):
            self._begin()
            requests += self._hear(WAIT_S)
        if self._by_batch:
            requests.sort(key=lambda each: self._sampled[each.key].place)
        return requests

    def _more_to_come(self) -> bool:
        return self._by_batch and len(self._open) > len(self._sampled)

    def turn(self, key: int, completion: Completion) -> None:
        """The engine has sampled a turn: its environment is asked."""
        player = self._sampled.pop(key)
        if player.number not in self._open:  # its environment was lost meanwhile
            return
        player.transcript.model(completion)
        begin, end = player.transcript.spans[-1]
        row = len(player.earlier)
        player.written += completion.text
        note = TurnNote(begin=begin, end=end, text=completion.text, row=row, state=player.state_key)
        player.turns.append(note)
        if player.left_s is not None and player.left_s <= 0:
            self._fail(player, Reason.timeout, f"the episode took over {player.environment.episode_s:g} s")
            return
        last = len(player.turns) >= player.environment.max_turns or self._room(player) <= 0
        turn = player.turn(
            completion.text, last=last, finished=completion.finished, stops=self._sampling.stop
        )
        if player.environment.by_request:
            room = self._room(player)
            turn.sampled = asked.sampled(
                player.transcript, completion, self._sampling, self._table.text, room
            )
        player.cut = not completion.finished
        self._table.workers.step(player.number, turn, player.left_s)

    def whole(self) -> Iterator[tuple[int, list[Completion]]]:
        """Requests of which every sample has been played."""
        for key in list(self._found):
            samples = [sample for sample in self._found[key] if sample is not None]
            if len(samples) == len(self._found[key]):
                del self._found[key]
                yield key, samples

    def end(self) -> None:
        """Break off what is still being played."""
        for number in list(self._open):
            self._table.workers.close(number)
        self._open.clear()

    # ------------------------------------------------------------- what environments say

    def _begin(self) -> None:
        """Open as many episodes as there may be at once."""
        for _ in range(len(self._waiting)):
            player = self._waiting.popleft()
            most = player.environment.concurrency
            if most is not None and sum(each.name == player.name for each in self._open.values()) >= most:
                self._waiting.append(player)
                continue
            player.began = monotonic()
            task = task_of(player.problem, player.seed)
            player.number = self._table.workers.open(player.name, task, player.left_s)
            self._open[player.number] = player

    def _hear(self, wait_s: float) -> list[Request]:
        requests = []
        for said in self._table.workers.heard(wait_s) if self._open else ():
            player = self._open.get(said.episode)
            if player is None:  # of an earlier call that was broken off
                continue
            request = self._said(player, said)
            if request is not None:
                requests.append(request)
        return requests

    def _said(self, player: Player, said: Said) -> Request | None:
        """The next turn, or None where the episode is over."""
        if said.reason is not None:
            self._fail(player, said.reason, said.detail)
            return None
        if player.ending:
            self._earned(player, said.value)
            return None
        if not player.turns:
            return self._first(player, said)
        return self._answered(player, said)

    def _first(self, player: Player, said: Said) -> Request | None:
        """The episode begins."""
        prompt = list(player.request.tokens)
        player.conversation = [dict(message) for message in player.problem.messages]
        if isinstance(said.value, Step):  # in the place of one that was refused
            player.measure(said.value)
        if said.value is not None:
            messages, ask = asked.opening(said.value)
            player.ask, player.own_prompt = ask or Ask(), True
            player.conversation = list(messages)
            try:
                prompt = self._rendering(player).opened(messages)
            except Exception as error:
                return self._refused(player, asked.no_place(error), error)
        if len(prompt) > self._table.most_prompt:
            if player.environment.by_request:
                return self._refused(player, asked.too_long(len(prompt), self._table.most_prompt))
            raise BadEnvironment(
                f"environments.{player.name} begins problem {player.problem.id} with {len(prompt)} tokens, "
                f"and max_prompt_tokens is {self._table.most_prompt}; raise it, or let it say less"
            )
        player.transcript.prompt = prompt
        return self._next(player)

    def _refused(self, player: Player, why: Refusal, error: Exception | None = None) -> Request | None:
        """What was said cannot be asked: its environment hears of it where it can say something else."""
        if not player.environment.by_request:
            if error is not None:
                raise error
            if type(player.environment).out_of_room is Environment.out_of_room:
                self._over(player, Ended.tokens)
            else:
                player.ending = True
                self._table.workers.out_of_room(player.number)
            return None
        turn = asked.refused(len(player.turns), why)
        self._table.workers.step(player.number, turn, player.left_s)
        return None

    def _rendering(self, player: Player) -> Rendering:
        return self._table.renderings[player.name].announcing(player.ask.tools)

    def _next(self, player: Player) -> Request:
        key, self._next_key = self._next_key, self._next_key + 1
        self._sampled[key] = player
        number = len(player.turns)
        limits = (player.environment.turn_tokens, player.ask.max_tokens, self._room(player))
        return Request(
            key=key,
            tokens=player.transcript.ask(),
            samples=1,
            seed=None if player.seed is None else derived_seed(f"{player.seed}:{number}"),
            max_tokens=min(limit for limit in limits if limit is not None),
            stop=[*player.environment.stop, *player.ask.stop],
        )

    def _answered(self, player: Player, said: Said) -> Request | None:
        step = said.value
        if not isinstance(step, Step):
            kind = type(step).__name__
            self._fail(player, Reason.crash, f"step returned {kind}, and an environment returns a Step")
            return None
        player.answered(step, said.seconds)
        if self._room(player) <= 0 and (player.cut or not step.over):
            self._over(player, Ended.tokens)
        elif step.over:
            self._over(player, Ended.done)
        elif len(player.turns) >= player.environment.max_turns:
            self._over(player, Ended.turns)
        else:
            player.ask = step.ask or Ask()
            heard, error = (list(player.conversation), player.written), None
            try:
                missing = self._goes_on(player, step)
            except Exception as raised:
                missing, error = asked.no_place(raised), raised
            if missing is None:
                return self._next(player)
            player.conversation, player.written = heard  # as if it had not been said
            return self._refused(player, missing, error)
        return None

    def _goes_on(self, player: Player, step: Step) -> Refusal | None:
        """Put what was said behind the turn; a refusal where nothing could be sampled after it."""
        rendering, transcript = self._rendering(player), player.transcript
        if step.restart:
            player.conversation, player.written = rendering.harmless(step.restart), ""
            return self._begins_anew(player, player.conversation)
        if step.text:
            added, closing = rendering.plain(step.text), []
            player.written += step.text
        else:
            messages = rendering.harmless(step.messages)
            added = rendering.added(messages, step.calls)
            closing = transcript.closing(self._table.eos, rendering.end)
            conversation = player.told(messages)
            anew = player.environment.history is History.template and not step.calls
            if anew and rendering.opened(conversation) != [*transcript.ids, *closing, *added]:
                return self._begins_anew(player, conversation)
        if len(closing) + len(added) >= self._room(player):
            return asked.too_long(len(closing) + len(added), self._room(player))
        transcript.closed += len(closing)
        transcript.world([*closing, *added])
        player.turns[-1].said = self._table.text.whole(added)
        return None

    def _begins_anew(self, player: Player, messages: list[Message]) -> Refusal | None:
        """Go on in a new sequence; a refusal where it has no room."""
        prompt = self._rendering(player).opened(messages)
        player.turns[-1].said = "\n".join(str(message.get("content")) for message in messages)
        fresh = Transcript(prompt=prompt)
        before, player.transcript = player.transcript, fresh
        player.earlier.append(before)
        if self._room(player) > 0:
            player.own_prompt = True
            return None
        player.transcript = player.earlier.pop()
        return asked.too_long(len(prompt), self._table.most_prompt)

    def _room(self, player: Player) -> int:
        return player.room(self._table.most_prompt)

    # ------------------------------------------------------------- how it ends

    def _earned(self, player: Player, step: Step | None) -> None:
        """At the end of its room."""
        if step is not None:
            note = player.turns[-1]
            note.reward = step.reward if note.reward is None else note.reward + (step.reward or 0.0)
            player.measure(step)
        self._over(player, Ended.tokens)

    def _over(self, player: Player, ended: Ended) -> None:
        self._place(player, player.completion(ended, logprobs=self._sampling.logprobs))

    def _fail(self, player: Player, reason: Reason, detail: str) -> None:
        """The environment's doing: there is no verdict."""
        failure = Verdict(score=0.0, reason=reason, detail=f"environment {player.name}: {detail}")
        made = player.completion(Ended.failed, logprobs=self._sampling.logprobs, failure=failure)
        self._place(player, made)

    def _place(self, player: Player, completion: Completion) -> None:
        self._table.workers.close(player.number)
        del self._open[player.number]
        self._found[player.request.key][player.sample] = completion
