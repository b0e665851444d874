"""What environments share whose turns answer the requests of a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Opening, Step, Task, Turn
from rlvr_cli.environments.gateway.episode import Served
from rlvr_cli.environments.gateway.program import Address, Program
from rlvr_cli.environments.gateway.score import Failed, Score
from rlvr_cli.environments.gateway.turns import Turns
from rlvr_cli.environments.tool_calls import Grammar, Syntax, syntax_of

if TYPE_CHECKING:
    from rlvr_cli.environments.gateway.server import Gateway


@dataclass(kw_only=True)
class Hosted(Environment):
    """Base of these; one has `_program`, and its own `warm`, which calls `open_gateway`."""

    max_turns: int = 32
    step_s: float = 600.0
    """Seconds between an answer and the program's next request or its end."""
    score: Score = Score.verifier
    """Where the reward comes from."""
    failed: Failed = Failed.crash
    """What becomes of an episode whose program raises, or ends with another exit code than 0."""
    grace_s: float = 10.0
    """Seconds a program has to end by itself once it has been refused a turn for good."""
    model: str = "policy"
    """What programs are told that the model is called; any name is answered."""
    syntax: Syntax = Syntax.auto
    """How calls of tools are written; auto: as the model's chat template prints them."""
    repair: bool = False
    """Read calls with trailing commas, code fences or arguments in quotation marks as they were meant."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` is nothing else."""
    by_request: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.failed is Failed.zero and self.score is Score.verifier:
            raise ValueError("failed: zero has no use with score: verifier, which judges the last turn")
        if not 0 < self.grace_s < self.step_s:
            raise ValueError(
                f"grace_s is {self.grace_s}; it must be above 0 and below {self.step_s} (step_s)"
            )
        if self.syntax is Syntax.tags:
            raise ValueError("syntax: tags is answered within a turn, which no request can do; take another")

    # In the trainer's process.

    def choose_syntax(self, chat_template: str | None) -> None:
        """Have what the policy's chat template prints; where that is nothing known, requests may bring no
        tools."""
        if self.syntax is Syntax.auto:
            self.syntax = syntax_of(chat_template) or Syntax.auto

    def ready(self) -> None:
        if find_spec("aiohttp") is None:
            raise UserError(f"environment {self.name} needs the package aiohttp, which comes with vLLM")

    # In a worker.

    def open_gateway(self) -> None:
        """For all episodes of this worker."""
        from rlvr_cli.environments.gateway.server import Gateway

        self._gateway: Gateway = Gateway(self.model)

    def _program(self, task: Task) -> Program:
        """What is run for an episode."""
        raise NotImplementedError

    async def reset(self, task: Task) -> Opening:
        """Start the program, and wait for what it asks first."""
        program = self._program(task)
        session = await self._gateway.open(posts=self.score is Score.posted)
        grammar = Grammar(syntax=self.syntax, parameters={}, repair=self.repair, thinking=self.thinking)
        self._served = Served(session, program, Turns(grammar), self.score, self.failed, self.grace_s)
        address = Address(base_url=self._gateway.url(session), api_key=session.key, model=self.model)
        return await self._served.first(asdict(task), address)

    async def step(self, turn: Turn) -> Step:
        """Answer the program, and wait for what it asks next, or for its end."""
        return await self._served.after(turn)

    async def close(self) -> None:
        if (served := vars(self).pop("_served", None)) is not None:
            self._gateway.close(served.session)
            await served.close()
