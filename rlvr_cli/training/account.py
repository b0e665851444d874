"""A run directory and its recipe: what the rules make of the run. Loads no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rlvr_cli.diagnosis.account import Account, Rollouts, account
from rlvr_cli.diagnosis.history import context_of
from rlvr_cli.evaluation.stored_results import problems_of
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking.journal import read_metrics
from rlvr_cli.tracking.records import read_records, record_steps


def account_of(run: Path, stages: list[Recipe]) -> Account:
    """Of what is in the directory at this moment; `stages`: the recipe in each of its stages.

    OSError, ValueError: a file cannot be read.
    """
    return account(
        stages[0].diagnosis,
        [context_of(stage) for stage in stages],
        read_metrics(run),
        problems_of(run),
        Rollouts(steps=record_steps(run), read=cache(lambda step: list(read_records(run, step)))),
    )
