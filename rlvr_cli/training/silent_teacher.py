"""A step that ends because its teacher is silent has not been: its prompts come again after a resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rlvr_cli.core import rng
from rlvr_cli.training.dynamic_sampling import put_back
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.teacher_server import NoTeacher, ServerTeacher


@contextmanager
def taken_back(parts: Parts) -> Iterator[None]:
    """Put sampler and random generators back where a teacher on a server fails within the block.

    A run that samples ahead has its samples no longer: their prompts are passed over.
    """
    on_server = parts.lessons is not None and isinstance(parts.lessons.teacher, ServerTeacher)
    start = (parts.sampler.state(), rng.state()) if on_server and parts.ahead is None else None
    try:
        yield
    except NoTeacher:
        if start is not None:
            put_back(parts.sampler, start)
        raise
