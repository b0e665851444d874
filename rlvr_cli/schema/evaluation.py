"""Benches, during training and by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.data import Source


@dataclass(kw_only=True)
class Bench:
    """A benchmark: where its problems come from, how they are asked and how often."""

    source: Source = MISSING
    verifier: Any = MISSING
    """One entry like those of `verifiers`."""
    tracked: dict[str, Any] = field(default_factory=dict)
    """Verifiers of responses alone (contains, language, length, ...) that judge every sample too, as metrics:
    name -> an entry like those of `verifiers`. No score is changed."""
    environment: Any = None
    """One entry like those of `environments`; null: one answer to each problem."""
    k: int = 1
    """Samples per problem."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Samples come from the likeliest tokens that have this share together."""
    max_tokens: int = 1024
    """Longest response; longer ones are cut off and judged as they are."""
    max_prompt_tokens: int | None = None
    """Problems with a longer prompt are left out and counted; null: `rollout.max_prompt_tokens`."""
    stop: list[str] = field(default_factory=list)
    """Strings that end a response besides the end-of-sequence token."""
    seed: int = 0
    """Of the samples, and of what a layout shuffles."""
    experiences: str | None = None
    """Library of `rlvr experience` that the model reads before each problem: its file, or the run that
    learned it; null: none."""
    pass_at: list[int] = field(default_factory=list)
    """The j of the pass@j to report; empty: powers of two up to k, and k."""
    majority: bool = True
    """Report maj@j; off where answers cannot be compared as text (programs, essays)."""
    problems: int | None = None
    """How many there are, for the list; another number found is warned of. null: not known."""
    note: str = ""
    """Origin, licence and protocol, for the reader."""


@dataclass(kw_only=True)
class Eval:
    """Benchmarks during training."""

    benches: dict[str, Bench] = field(default_factory=dict)
    """Add one with `+bench@eval.benches.aime24=aime24`."""
    every: int | None = None
    """Steps between evaluations; null: none in between."""
    at_start: bool = True
    """Before the first step."""
    at_end: bool = True
    """After the last."""
