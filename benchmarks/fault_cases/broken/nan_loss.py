"""Plugin: from the fifth step on the loss is not a number."""

import os
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.training import loop

    calls: list[int] = []
    objective, train_step = loop.objective, loop.train_step

    def spoiled(algorithm: Any, *given: Any) -> Any:
        loss, metrics = objective(algorithm, *given)
        return (loss * float("nan") if calls[-1] >= 4 else loss), metrics

    def noted(parts: Any) -> None:
        calls.append(parts.step)
        train_step(parts)

    loop.objective, loop.train_step = spoiled, noted
