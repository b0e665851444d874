"""Any agent: a program gets an OpenAI-compatible address, and what it asks for are the turns of the policy.

The program is a command or a Python function. A request that goes on from what has been said and sampled goes
on in the same sequence; one with another history begins a new sequence of the same episode (`forks`).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import origins
from rlvr_cli.environments.environment import Environment, Opening, Step, Task, Turn
from rlvr_cli.environments.gateway.episode import Served
from rlvr_cli.environments.gateway.program import Address, Command, Function, Program
from rlvr_cli.environments.gateway.score import Failed, Score
from rlvr_cli.environments.gateway.turns import Turns
from rlvr_cli.environments.tool_calls import Grammar, Syntax, syntax_of
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.verifiers.user_code.load import Unusable, load

if TYPE_CHECKING:
    from rlvr_cli.environments.gateway.server import Gateway


@dataclass(kw_only=True)
class External(Environment):
    name: str = "external"
    max_turns: int = 32
    step_s: float = 600.0
    """Seconds between an answer and the program's next request or its end."""
    command: Any = None  # str | list[str]: a union that omegaconf knows no type for
    """The program: a list of words, or one text that is split like a shell's. Words that name files beside
    the recipe or in the working directory become absolute; `python` is the run's own."""
    function: str | None = None
    """In its place: `file.py:function` or `package.module:function`, async or plain, which is called with
    (task, base_url, api_key, model)."""
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
    code_lists: ClassVar[tuple[str, ...]] = ("function",)
    code_words: ClassVar[tuple[str, ...]] = ("command",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.command, str):
            self.command = shlex.split(self.command)
        if (self.command is None) == (self.function is None):
            raise ValueError("command is a program, function one in Python: set one of the two")
        if self.command is not None and not (
            isinstance(self.command, list) and self.command and all(isinstance(w, str) for w in self.command)
        ):
            raise ValueError("command must be a text, or a list of texts with at least one")
        if self.function is not None and Entry.parse(self.function).function is None:
            raise ValueError(f"function: '{self.function}' does not say which; write file.py:function")
        if self.score is Score.returned and self.command is not None:
            raise ValueError(
                "score: returned belongs to function; with command take file, posted or verifier"
            )
        if self.score is Score.file and self.function is not None:
            raise ValueError(
                "score: file belongs to command; with function take returned, posted or verifier"
            )
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
            raise UserError("environment external needs the package aiohttp, which comes with vLLM")
        if self.command is not None and self.command[0] != "python" and not shutil.which(self.command[0]):
            raise UserError(f"command: there is no program {self.command[0]}")

    # In a worker.

    def warm(self) -> None:
        self.warm_with(None if self.function is None else _loaded(Entry.parse(self.function)))

    def warm_with(self, function: Callable[..., Any] | None) -> None:
        """With this one as the program; None: the command."""
        from rlvr_cli.environments.gateway.server import Gateway

        self._gateway: Gateway = Gateway(self.model)
        self._call = function

    async def reset(self, task: Task) -> Opening:
        """Start the program, and wait for what it asks first."""
        session = await self._gateway.open(posts=self.score is Score.posted)
        grammar = Grammar(syntax=self.syntax, parameters={}, repair=self.repair, thinking=self.thinking)
        program: Program = Command(self.command) if self._call is None else Function(self._call)
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


def _loaded(entry: Entry) -> Callable[..., Any]:
    try:
        text = b"" if entry.path is None else Path(entry.path).read_bytes()
        paths = [] if entry.path is None else origins(Path(entry.path).resolve())
        folders = [str(path.parent) for path in paths] or [str(Path.cwd())]
        found: Callable[..., Any] = load(entry.path, text, entry.module, str(entry.function), folders)[1]
    except OSError as error:
        raise UserError(f"function: {entry.path}: {error.strerror}") from error
    except Unusable as error:
        raise UserError(f"function: {error}") from error
    return found
