"""The recipe as text: short, commented, every value one that this data and this model have decided."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rlvr_cli.init.golds import Accepted
from rlvr_cli.init.model import ModelFacts
from rlvr_cli.init.rows import Rows
from rlvr_cli.init.sizes import Sizes
from rlvr_cli.init.task import Task


def text_of(
    name: str, rows: Rows, model: ModelFacts, task: Task, sizes: Sizes, golds: Accepted | None, reward: str
) -> str:
    """YAML of a recipe called `name`."""
    build = _rl if task.verifier else _sft
    return _head(rows, model, task, golds, reward) + "\n".join(
        _aligned(line) for line in build(name, rows, model, task, sizes).split("\n")
    )


def _aligned(line: str) -> str:
    """Comments behind a tab begin in the same column."""
    value, tab, comment = line.partition("\t")
    return f"{value:<{COLUMN}}{comment}" if tab else line


def _head(rows: Rows, model: ModelFacts, task: Task, golds: Accepted | None, reward: str) -> str:
    shown = ", ".join(
        f"{ours} in '{theirs}'" for ours, theirs in (rows.columns if task.verifier else rows.examples).items()
    )
    said = f"{task.why}; {golds.said}" if golds else task.why
    lines = [
        f"# {'Reinforcement learning' if task.verifier else 'Fine-tuning'} on {rows.path} with "
        f"{model.given}: "
        "written by `rlvr init`, and yours to change.",
        f"# The data: {counted(rows)}; {shown}.",
        *(f"# {line}." for line in (f"Task {task.name}: {said}", reward) if line),
        f"# The model: {model.said}.",
    ]
    return "\n".join(lines) + "\n"


def counted(rows: Rows) -> str:
    return f"{'' if rows.exact else 'at least '}{rows.count:,} rows"


def _rl(name: str, rows: Rows, model: ModelFacts, task: Task, sizes: Sizes) -> str:
    key = key_of(rows.path)
    settings = ", ".join(f"{option}: {_yaml(value)}" for option, value in task.verifier.items())
    holdout = f"{sizes.holdout:g}"
    share = "this share of the prompts never trains" if sizes.holdout < 1 else "so many prompts never train"
    return f"""\
defaults:
  - algorithm: grpo
  - rollout: {sizes.engine}
  - trainer: {"zero2" if sizes.gpus > 1 else "zero0"}
  - override algorithm/kl: none\t# no reference model; `rlvr list options kl` has others
  - _self_

name: {name}\t# the run is written to runs/{name}
{_model(model, sizes)}
data:
  {key}:
    path: {_yaml(rows.path)}
    columns: {_columns(rows.columns)}
    prompt: {_yaml(task.prompt)}{_asked(task)}
    verifiers: [{task.key}]
    holdout: {holdout}\t# {share}: they are the bench `{key}`

verifiers:
  {task.key}: {{ {settings} }}

batch:
  prompts_per_step: {sizes.prompts}\t# each with a group of
  group_size: {sizes.group}\t# responses
rollout:
  max_prompt_tokens: {sizes.prompt_tokens}\t# longer problems are left out and counted
  max_tokens: {sizes.response_tokens}\t# longer responses are cut
trainer:
  steps: {sizes.steps}\t# {_passes(rows, sizes)}
  lr: {sizes.rate:g}
  precision: {sizes.precision}

eval:
  every: {sizes.every}
  benches:
    {key}: {{ k: {sizes.k} }}\t# samples of each held-out problem
checkpoint:
  every: {sizes.every}
"""


def _asked(task: Task) -> str:
    """What to do where the model was tuned on problems without such a request: it would answer otherwise."""
    if task.prompt == "{prompt}":
        return ""
    return "\n    # 'prompt: \"{prompt}\"' for a model that was tuned on problems as they stand"


def _sft(name: str, rows: Rows, model: ModelFacts, task: Task, sizes: Sizes) -> str:
    key = key_of(rows.path)
    longest = min(model.positions or 4096, 4096)
    return f"""\
defaults:
  - algorithm: sft
  - trainer: {"zero2" if sizes.gpus > 1 else "zero0"}
  - _self_

name: {name}\t# the run is written to runs/{name}
{_model(model, sizes)}
data:
  {key}:
    path: {_yaml(rows.path)}
    columns: {_columns(rows.examples)}
    holdout: {sizes.holdout:g}\t# never trained; their loss is measured

batch:
  examples_per_step: {sizes.prompts}
algorithm:
  max_length: {longest}\t# tokens; longer examples are left out and counted
trainer:
  steps: {sizes.steps}\t# {_passes(rows, sizes)}
  lr: {sizes.rate:g}
  precision: {sizes.precision}

eval:
  every: {sizes.every}
checkpoint:
  every: {sizes.every}
"""


def _model(model: ModelFacts, sizes: Sizes) -> str:
    lines = ["model:", f"  path: {_yaml(model.given)}"]
    if sizes.checkpointing:
        lines.append("  gradient_checkpointing: true")
    if sizes.lora:
        lines.append("  lora: { rank: 32, alpha: 64 }")
    if sizes.memory:
        lines[0] += f"\t# {sizes.memory}"
    return "\n".join(lines)


def _passes(rows: Rows, sizes: Sizes) -> str:
    held = rows.count * sizes.holdout if sizes.holdout < 1 else sizes.holdout
    return f"about {sizes.steps * sizes.prompts / max(1, rows.count - held):.1f} passes over the rows"


def _columns(columns: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{ours}: {_yaml(theirs)}" for ours, theirs in columns.items()) + " }"


def _yaml(value: Any) -> str:
    """A value on one line; JSON's spelling where YAML would read plain text otherwise."""
    if (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z./_][\w./-]*", value)
        and value.lower() not in AMBIGUOUS
    ):
        return value
    return json.dumps(value, ensure_ascii=False)


COLUMN = 40
AMBIGUOUS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "."}


def key_of(path: str) -> str:
    """What the source and its bench are called: the file's name."""
    stem = Path(path.rstrip("/")).name.partition(".")[0]
    found = re.sub(r"\W+", "_", stem).strip("_")[:40]
    return found if found and not found[0].isdigit() else f"data_{found}".rstrip("_")
