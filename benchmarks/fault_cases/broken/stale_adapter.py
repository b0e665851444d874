"""Plugin: vLLM is asked to load adapters as it is by default, which keeps those it knows by their number."""

import os
from typing import Any

if "RANK" in os.environ:
    from rlvr_cli.rollout import adapters

    whole = adapters.LoRARequest

    def request(name: str, number: int, folder: str, load_inplace: bool = False) -> Any:
        return whole(name, number, folder)

    adapters.LoRARequest = request  # type: ignore[assignment,misc]
