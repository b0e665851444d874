"""How far sampling may run ahead of training: AReaL's admission, and what a step cannot leave for later."""

from __future__ import annotations

from collections.abc import Iterable


def capacity(
    *, running: int, accepted: int, version: int, staleness: int, prompts: int, most: int | None = None
) -> int:
    """Prompts that may be begun now (below 1: none), so that what is sampled does not get too old.

    min(most - running, (staleness + version + 1) * prompts - (accepted + running)), the rule of AReaL
    (2505.24298; areal/infra/staleness_manager.py). `running`: groups begun and unfinished. `accepted`: groups
    that have trained since the start or wait for it; `version` steps of `prompts` groups have.
    """
    room = (staleness + version + 1) * prompts - (accepted + running)
    return room if most is None else min(most - running, room)


def cannot_wait(oldest: Iterable[int], *, version: int, staleness: int, prompts: int) -> int:
    """Of the groups in flight, the oldest first, how many the step at `version` has to take.

    `oldest`: the version of each group's oldest token; it may train at versions up to that plus `staleness`.
    Each later step has places for `prompts` groups: those whose places would not suffice are due now.
    """
    due = 0
    for number, first in enumerate(sorted(oldest), start=1):
        later_steps = max(0, first + staleness - version)
        due = max(due, number - later_steps * prompts)
    return due
