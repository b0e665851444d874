"""An engine that plays episodes: many at once, each with its environment, over one rollout engine.

It stands in the engine's place, so that everything which asks for samples gets episodes where the problem has
an environment, and what the engine gives where it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.environments.environment import Environment
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.play import Play
from rlvr_cli.episodes.rendering import Rendering
from rlvr_cli.episodes.scripted import scripted
from rlvr_cli.episodes.table import Table
from rlvr_cli.rollout.engine import Engine, Request, Sampling, never, nothing_more

if TYPE_CHECKING:
    from torch import Tensor

    from rlvr_cli.rollout.fingerprints import Receipt
    from rlvr_cli.vision.processor import Patches


def is_played(request: Request) -> bool:
    """Whether an environment takes part in it."""
    return request.problem is not None and request.problem.environment is not None


class Episodes:
    """`environments` by the names problems give them; `workers`, their processes, end when it is closed."""

    beside = False

    def __init__(
        self,
        engine: Engine,
        environments: Mapping[str, Environment],
        workers: Workers,
        *,
        tools: Mapping[str, Sequence[dict[str, Any]]],
        tokenizer: Any,
        eos: list[int],
        most_prompt: int,
    ) -> None:
        """`tools`: what each announces in its prompts; `eos`: tokens that end a turn; `most_prompt`: tokens
        of the first prompt."""
        self._engine = engine
        self.text = engine.text
        self._table = Table(
            environments=dict(environments),
            workers=workers,
            renderings={name: Rendering(tokenizer, eos, tools=tools[name]) for name in environments},
            text=engine.text,
            eos=eos,
            most_prompt=most_prompt,
        )

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        played: list[Request] = []
        plain: list[Request] = []
        for request in requests:
            (played if is_played(request) else plain).append(request)
        if not played:
            yield from self._engine.generate(requests, sampling, enough, more)
            return
        assert enough is never and more is nothing_more, "episodes are played to their end"
        first_key = 1 + max(request.key for request in requests)
        by_batch = getattr(self._engine, "by_batch", False)
        play = Play(self._table, played, sampling, first_key, by_batch=by_batch)
        try:
            for key, completions in self._engine.generate(plain, sampling, more=play.more):
                if key < first_key:
                    yield key, completions
                else:
                    play.turn(key, completions[0])
                    yield from play.whole()
            yield from play.whole()
        finally:  # also where the caller stops early
            play.end()

    def scripted(self, problems: list[Problem]) -> list[Completion | None]:
        """Problems of one environment, played by its own scripts, without the engine; None: it has none."""
        return scripted(self._table, problems)

    @property
    def leader(self) -> bool:
        return self._engine.leader

    def agreed(self, answer: bool) -> bool:
        return self._engine.agreed(answer)

    @property
    def share(self) -> tuple[int, int]:
        return self._engine.share

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        return self._engine.load(weights, version)

    def probe(self, tokens: list[int]) -> list[float]:
        return self._engine.probe(tokens)

    def image_gap(self, tokens: list[int], ours: Patches) -> float | None:
        return self._engine.image_gap(tokens, ours)

    def sleep(self) -> None:
        self._engine.sleep()

    def wake(self) -> None:
        self._engine.wake()

    def measures(self) -> dict[str, float]:
        """Metrics of the engine, and of the environments' processes."""
        own = {"environment/workers_replaced": float(self._table.workers.replaced)}
        return own | getattr(self._engine, "measures", dict)()

    def close(self) -> None:
        self._table.workers.end()
        self._engine.close()
