"""Any agent: a program gets an OpenAI-compatible address, and what it asks for are the turns of the policy.

The program is a command or a Python function. A request that goes on from what has been said and sampled goes
on in the same sequence; one with another history begins a new sequence of the same episode (`forks`).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import origins
from rlvr_cli.environments.environment import Task
from rlvr_cli.environments.gateway.hosted import Hosted
from rlvr_cli.environments.gateway.program import Command, Function, Program
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.verifiers.user_code.load import Unusable, load


@dataclass(kw_only=True)
class External(Hosted):
    name: str = "external"
    command: Any = None  # str | list[str]: a union that omegaconf knows no type for
    """The program: a list of words, or one text that is split like a shell's. Words that name files beside
    the recipe or in the working directory become absolute; `python` is the run's own."""
    function: str | None = None
    """In its place: `file.py:function` or `package.module:function`, async or plain, which is called with
    (task, base_url, api_key, model)."""
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

    # In the trainer's process.

    def ready(self) -> None:
        super().ready()
        if self.command is not None and self.command[0] != "python" and not shutil.which(self.command[0]):
            raise UserError(f"command: there is no program {self.command[0]}")

    # In a worker.

    def warm(self) -> None:
        self.warm_with(None if self.function is None else _loaded(Entry.parse(self.function)))

    def warm_with(self, function: Callable[..., Any] | None) -> None:
        """With this one as the program; None: the command."""
        self.open_gateway()
        self._call = function

    def _program(self, task: Task) -> Program:
        return Command(self.command) if self._call is None else Function(self._call)


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
