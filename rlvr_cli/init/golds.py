"""The verifier of a task on the answers of the rows, before anything is trained by it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from omegaconf import OmegaConf

from rlvr_cli import verifiers
from rlvr_cli.core.errors import UserError
from rlvr_cli.init.rows import Rows
from rlvr_cli.init.task import Task, words_of
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import Reads, reads

ASKED = 200
"""Golds that are judged."""
LEAST = 0.5
"""Share of them that a verifier must accept to be of use."""


@dataclass(kw_only=True)
class Accepted:
    right: int
    asked: int
    first_refused: str | None = None

    @property
    def said(self) -> str:
        refused = f"; the first it does not: {self.first_refused}" if self.first_refused else ""
        return f"it accepts {self.right} of {self.asked} of them, written as it wants them{refused}"


def accepted(rows: Rows, task: Task) -> Accepted | None:
    """How many golds the verifier itself scores 1; None where it reads none. UserError where hardly any."""
    schema = OmegaConf.structured(verifiers.find(task.verifier["name"]))
    verifier: Any = OmegaConf.to_object(
        OmegaConf.merge(schema, task.verifier)
    )  # as in a recipe: enums of names
    if reads(verifier) is Reads.no_gold or not hasattr(verifier, "gold_responses"):
        return None
    asked = list(islice(rows.answered, ASKED))
    found = Accepted(right=0, asked=len(asked))
    seconds = max(6.0, getattr(verifier, "needs_s", 0.0))
    with Pool({task.key: verifier}, Verification(timeout_s=seconds)) as pool:
        waiting = []
        for row in asked:
            extra = row["extra"] | {"prompt": row["prompt"]}
            fault = verifier.check_gold(row["answer"], extra)
            given = verifier.gold_responses(row["answer"], extra) if fault is None else []
            first = next(iter(given.values())) if isinstance(given, dict) else given
            if fault is None and not first:  # it has no form for a right answer, and no objection
                found.right += 1
                continue
            future = pool.submit(task.key, first[0], row["answer"], extra) if fault is None else None
            waiting.append((row, fault, future))
        for row, fault, future in waiting:
            verdict = future.result() if future is not None else None
            if verdict is not None and verdict.score >= 1:
                found.right += 1
            elif found.first_refused is None:
                why = fault or (verdict.detail or verdict.reason.value if verdict is not None else "")
                found.first_refused = f"{row['answer'][:40]!r} ({why})"
    if asked and found.right < LEAST * len(asked):
        raise UserError(
            f"--data: the verifier {verifier.name} accepts {found.right} of {len(asked)} answers of "
            f"{rows.path} "
            f"(the first it does not: {found.first_refused}); set another --task, or give a reward function "
            "with --reward FILE.py"
        )
    return found


def longest_prompt(rows: Rows, count: Any) -> int:
    """Tokens of the longest problem that was read, by `count(text)`."""
    return max(count(words_of(row)) for row in rows.rows)
