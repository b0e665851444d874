"""Who judges which problem."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.types import Problem


def check_routes(found: list[Problem], verifiers: dict[str, Any]) -> None:
    """Every problem is scored by somebody, and not only let through."""
    for problem in found:
        where = f"data.{problem.source}: row {problem.id}"
        for name in problem.verifiers:
            if name not in verifiers:
                raise UserError(f"{where} names the verifier '{name}'{hint(name, verifiers)}")
        if all(getattr(verifiers[name], "gate", False) for name in problem.verifiers):
            raise UserError(
                f"{where} has no verifier that scores it"
                f"{', only gates: ' + ', '.join(problem.verifiers) if problem.verifiers else ''}"
            )
