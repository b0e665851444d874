"""The environments of a recipe: which problems they take part in, and an engine that plays with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.environments.environment import Environment
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.driver import Episodes
from rlvr_cli.episodes.player import task_of
from rlvr_cli.rollout import Engine
from rlvr_cli.schema import Bench


@dataclass(slots=True, kw_only=True)
class Environments:
    """All that a run plays with, by the names that problems give them."""

    found: dict[str, Environment] = field(default_factory=dict)
    tools: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Name -> what its prompts announce."""
    of_benches: dict[str, str] = field(default_factory=dict)
    """Bench -> name of its environment."""
    workers: Workers | None = None

    @classmethod
    def of(
        cls, own: Mapping[str, Environment], benches: Mapping[str, Bench], tokenizer: Any, out: Path
    ) -> Environments:
        """`own`: a recipe's `environments`. A bench that has the same one shares it. Their processes are
        started. `out`: the run directory, whose logs/ has what environments print. UserError where one of
        them misses something on this machine."""
        made = cls(found=dict(own))
        for name, bench in benches.items():
            if (wanted := bench.environment) is None:
                continue
            same = next((key for key, each in made.found.items() if each == wanted), None)
            made.of_benches[name] = same or f"eval.{name}"
            made.found.setdefault(made.of_benches[name], wanted)
        for name, each in made.found.items():
            with said_of(name):
                each.choose_syntax(getattr(tokenizer, "chat_template", None))
                each.ready()
                made.tools[name] = each.schemas()
        if made.found:
            made.workers = Workers(made.found, out_of_rank(out))
        return made

    def stops(self) -> list[str]:
        """Strings that end a turn of any of them."""
        return [string for each in self.found.values() for string in each.stop]

    def kept(self, name: str, found: list[Problem], seed: int) -> list[Problem]:
        """Those of the problems that the environment `name` keeps for training; all ranks call it."""
        if self.workers is None or type(self.found[name]).keeps is Environment.keeps:
            return found
        share = found[distributed.rank() :: distributed.world_size()]
        kept = self.workers.kept(name, [task_of(problem, seed) for problem in share])
        mine = [problem.id for problem, keeps in zip(share, kept, strict=True) if keeps]
        ids = {each for part in distributed.gather(mine) for each in part}
        return [problem for problem in found if problem.id in ids]

    def engine(self, engine: Engine, tokenizer: Any, eos: list[int], most_prompt: int) -> Engine:
        """The engine, which then plays episodes where there are environments, and ends them with itself.
        `most_prompt`: tokens of a first prompt."""
        if self.workers is None:
            return engine
        return Episodes(
            engine,
            self.found,
            self.workers,
            tools=self.tools,
            tokenizer=tokenizer,
            eos=eos,
            most_prompt=most_prompt,
        )


def out_of_rank(out: Path) -> Path:
    """Where this rank's environments print."""
    return out / "logs" if distributed.world_size() == 1 else out / "logs" / f"rank{distributed.rank()}"


@contextmanager
def said_of(name: str) -> Iterator[None]:
    """A UserError within it says which environment it is about."""
    try:
        yield
    except UserError as error:
        if str(error).startswith("environments."):
            raise
        raise UserError(f"environments.{name}: {error}") from error
