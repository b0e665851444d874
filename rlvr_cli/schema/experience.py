"""Recipes that learn a library of experiences: a frozen model, and texts it reads before each problem."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from rlvr_cli.schema.data import Source
from rlvr_cli.schema.recipes import EvalRecipe, Server, ServerApi


class LibraryForm(Enum):
    merge = "merge"
    update = "update"


@dataclass(kw_only=True)
class Experience:
    """Stands in the place of an algorithm in a recipe that learns a library of experiences."""

    name: str = "experience"
    """Says that experiences are learned, and no weights."""
    form: LibraryForm = LibraryForm.merge
    """How the library is edited. merge: groups propose to add or modify, a plan modifies and merges; update:
    groups give insights, which add, update or delete, and a plan settles conflicts (docs/experience.md)."""
    steps: int = 3
    """Edits of the library, each after `batch.prompts_per_step` problems."""
    max_operations: int = 1
    """Most operations (of form=update, insights) that one problem proposes in a step."""
    max_words: int = 32
    """Longest experience; an answer with a longer one is not used, and asked for again."""
    attempts: int = 3
    """Answers of the editor that are looked at before a question is given up; the plan given up, the library
    stays as it was in that step."""
    ground_truth: bool = True
    """The editor sees the gold answer, and only problems whose rollouts differ in score are kept. false: it
    sees none, and every problem with two rollouts is kept; verifiers must need no gold (majority)."""
    agent_objective: str = "Solve the problem and state its final answer."
    """What the model is to do, as the editor is told."""
    learning_objective: str = "Solve more problems of this kind correctly."
    """What the library is to make better, as the editor is told."""
    prompts: str | None = None
    """Folder with prompts of your own, in the place of the packaged ones of the same name; null: none."""
    call_budget: int | None = None
    """Calls of models in all, after which no further one begins; null: no limit."""
    token_budget: int | None = None
    """Tokens of prompts and answers in all, after which no further call begins; null: no limit."""

    def __post_init__(self) -> None:
        for key in ("steps", "max_operations", "max_words", "attempts"):
            if getattr(self, key) < 1:
                raise ValueError(f"algorithm.{key} is {getattr(self, key)}; it must be at least 1")
        for key in ("call_budget", "token_budget"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"algorithm.{key} is {value}; it must be at least 1")


@dataclass(kw_only=True)
class ExperienceBatch:
    """How many problems and rollouts one edit of the library comes from."""

    problems: int | None = None
    """Problems drawn once from the data, which the steps then go through again and again; null: all."""
    prompts_per_step: int = 100
    """Problems of a step."""
    group_size: int = 5
    """Rollouts of each problem in a step."""

    def __post_init__(self) -> None:
        for key, low in (("problems", 1), ("prompts_per_step", 1), ("group_size", 2)):
            value = getattr(self, key)
            if value is not None and value < low:
                raise ValueError(f"batch.{key} is {value}; it must be at least {low}")


@dataclass(kw_only=True)
class Editor:
    """Who reads rollouts and edits the library: the model itself, or another one on a server."""

    url: str | None = None
    """Base URL up to `/v1` of a server that is sent chat messages; null: the model that samples, on its
    engine or server."""
    model: str | None = None
    """Name of the model there."""
    key: str = "OPENAI_API_KEY"
    """Environment variable that holds the server's key; need not be set."""
    connections: int = 32
    """Requests at once."""
    timeout_s: float = 600.0
    """Longest wait for one answer."""
    temperature: float = 0.7
    """Of its answers; 0 is greedy."""
    max_tokens: int = 8192
    """Longest answer; one that is cut off is looked at as it is."""
    max_prompt_tokens: int = 32768
    """Longest question where the model samples on an engine of this process; with a longer one a rollout, or
    a group, is left out. On a server its own limits count."""
    max_chars: int = 40_000
    """Longer rollouts are shown to it without their beginning."""

    def __post_init__(self) -> None:
        if self.url is not None and not self.model:
            raise ValueError("editor.model is not set: give the name of the model at editor.url")
        if self.url is not None and not re.match(r"https?://[^/\s]", self.url):
            raise ValueError(f"editor.url is '{self.url}'; it must begin with http:// or https://")
        for key in ("connections", "timeout_s", "max_tokens", "max_prompt_tokens", "max_chars"):
            if getattr(self, key) <= 0:
                raise ValueError(f"editor.{key} is {getattr(self, key)}; it must be above 0")
        if self.temperature < 0:
            raise ValueError(f"editor.temperature is {self.temperature}; it must be at least 0")
        if self.url is None:
            usual = Editor.__dataclass_fields__
            for key in ("model", "key", "connections", "timeout_s"):
                if getattr(self, key) != usual[key].default:
                    raise ValueError(
                        f"editor.{key} is set, and editor.url is null: the model that samples edits too; set "
                        "editor.url, or leave it out"
                    )

    def server(self) -> Server:
        """As a client of chat servers takes it."""
        return Server(
            url=self.url,
            api=ServerApi.chat,
            model=self.model,
            key=self.key,
            connections=self.connections,
            timeout_s=self.timeout_s,
        )


@dataclass(kw_only=True)
class ExperienceRecipe(EvalRecipe):
    """Root of `rlvr experience`."""

    OF_EVAL: ClassVar[tuple[str, ...]] = (
        "benches",
        "rescore",
        "samples",
        "lm_eval",
        "contamination",
        "select",
    )
    """Keys of an evaluation that have no place here."""

    name: str = "experience"
    out: str = "runs/${name}"
    ranks: int = 1
    """Processes that sample: one. Several GPUs are used by servers."""
    algorithm: Experience = field(default_factory=Experience)
    data: dict[str, Source] = field(default_factory=dict)
    batch: ExperienceBatch = field(default_factory=ExperienceBatch)
    verifiers: dict[str, Any] = field(default_factory=dict)
    editor: Editor = field(default_factory=Editor)
