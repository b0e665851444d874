"""A trainer of a tiny model's adapters in the tests' own process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlvr_cli.engine import process_group
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model, Precision
from rlvr_cli.schema import Trainer as Settings


@contextmanager
def adapter_trainer(model: Model) -> Iterator[Any]:
    """In fp32; the environment is as it was before, afterwards."""
    before = dict(os.environ)
    process_group.initialise()
    settings = Settings(precision=Precision.fp32, zero_stage=0)
    yield Trainer(model, settings, tokens_per_microbatch=4096, max_grad_norm=1.0)
    # RANK and the like would make later tests' subprocesses take themselves for ranks of this one.
    os.environ.clear()
    os.environ.update(before)
