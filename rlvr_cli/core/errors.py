"""Exceptions by what follows: a user's mistake ends a command, some failures are not worth a restart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, where (file and key or row), and what to do. One line, no traceback."""


class Hopeless(RuntimeError):
    """The run has decided to end: started again from its newest checkpoint, it would end the same way."""


class RunFailed(RuntimeError):
    """A run that was started from Python has ended without success: the cause, and where its log is."""


def told(message: object) -> str:
    """A message on one line, control characters written out: a file's name must not steer the terminal."""
    line = " ".join(str(message).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def hint(word: str, known: Iterable[str], label: str = "available") -> str:
    """The nearest known word, or all of them when none is near; to be put behind a message."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; {label}: {', '.join(known) or 'none'}"
