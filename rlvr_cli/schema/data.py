"""Where problems come from, and what is checked before they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.difficulty import Difficulty
from rlvr_cli.schema.labels import Labels


class Chat(Enum):
    auto = "auto"
    always = "always"
    never = "never"


@dataclass(kw_only=True)
class VerifiersBy:
    """Verifiers by what a column of the row says, as verl chooses its scorers by `data_source`."""

    column: str | None = None
    """Column whose value decides; dots look inside nested columns. null: no such routing."""
    map: dict[str, list[str]] = field(default_factory=dict)
    """Value -> keys of `verifiers`, the first of which decides what counts as correct; a value may end in *
    for any rest. A row with a value that is not here stops the run before it starts."""


@dataclass(kw_only=True)
class Source:
    """One set of problems (RL, eval) or examples (SFT)."""

    path: str = MISSING
    """Hub id, `.jsonl` / `.json` / `.parquet` file or folder of them, `synthetic:<family>`,
    `reasoning_gym:<task>` or `verifiers:<task set>`."""
    config: str | None = None
    """Configuration name of a hub data set."""
    split: str = "train"
    """Split of a hub data set or a synthetic family."""
    layout: str | None = None
    """Layout of a benchmark whose rows are put together first (gpqa, livecodebench, ...); null: none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Maps our names (prompt, answer, images, id, ...) to the file's; empty: the layout is recognised."""
    images: str | None = None
    """Folder that the paths of a row's images are relative to; null: the one rlvr runs in."""
    image_urls: str | None = None
    """Folder that keeps images of https addresses, each fetched once; null: a row with an address is left
    out."""
    prompt: str = "{prompt}"
    """Template around the problem text; `{prompt}` is replaced."""
    instructions: list[str] = field(default_factory=list)
    """Lists of phrasings, of which one each, drawn by seed and row, is appended to the prompt: think, answer,
    box, or files with one phrasing a line. Empty: none."""
    system: str | None = None
    """System message; needs a chat template."""
    chat: Chat = Chat.auto
    """Apply the chat template: auto = where the tokenizer has one."""
    shots: int = 0
    """Worked examples before each problem; only for layouts that have them (mbpp, mmlu_pro)."""
    shots_split: str | None = None
    """Where they come from: a split of the data set, or a file."""
    verifiers: list[str] = field(default_factory=list)
    """Keys of `verifiers` that score this source; the first decides what counts as correct. Where
    `columns` maps `verifiers`, a row's own list stands in their place."""
    verifiers_by: VerifiersBy = field(default_factory=VerifiersBy)
    """In the place of `verifiers` where a set mixes problems of several kinds."""
    metrics_by: str | None = None
    """Column whose values have metrics of their own, rewards, verdicts and lengths, as `<name>:<value>`; dots
    look inside nested columns. null: none."""
    environment: str | None = None
    """Key of `environments`: its problems are played in turns with that one; null: one answer to each."""
    weight: float = 1.0
    """Share of prompts drawn from this source, relative to the other sources."""
    teacher_weight: float = 1.0
    """Factor on what the teacher says of answers to this source; 0: its verifiers alone teach."""
    limit: int | None = None
    """Use only the first so many rows."""
    deduplicate: bool = False
    """Keep only the first of rows with the same prompt."""
    trajectories: int | None = None
    """Of fine-tuning: traces of a problem (rows with the same prompt) that train, at most. Each epoch has
    every problem once, with the next of its traces; null: every row once (RaML, 2505.19815)."""
    holdout: float | None = None
    """Prompts that never train and become the bench of this source's name (of sft `eval.source`): below 1
    their share, from 1 on their number. Their text alone decides which; null: none."""
    held_out: bool = False
    """Of a bench: take the prompts that `holdout` keeps from training, in the place of the others."""
    difficulty: Difficulty | None = None
    """Which problems come, and how often, by how often they are solved; null: all, equally often."""
    labels: Labels | None = None
    """Majority labels in the place of gold answers, for the first verifier alone; null: the data's own."""
    options: dict[str, Any] = field(default_factory=dict)
    """Parameters of a synthetic family, e.g. {digits: 3}, or of a layout."""


@dataclass(kw_only=True)
class Hygiene:
    """What is looked for in the problems before training; found, it is reported, and refused if strict."""

    enabled: bool = True
    """Look at all."""
    strict: bool = False
    """Refuse to train on duplicates, gold answers no verifier can use, or problems of the benchmarks."""
    ngram: int = 13
    """Words in a row that a problem must share with one of a benchmark to overlap with it."""
    examples: int = 5
    """Rows of each kind shown in `data_report.json`."""

    def __post_init__(self) -> None:
        if self.ngram < 2:
            raise ValueError(f"hygiene.ngram is {self.ngram}; it must be at least 2")
        if self.examples < 0:
            raise ValueError(f"hygiene.examples is {self.examples}; it must not be negative")
