"""Plugin: vLLM keeps its prefix cache over weight syncs and says that it does not."""

import os
from typing import Any

if "RANK" in os.environ:
    from vllm import LLM

    def keep(self: Any, *given: Any, **more: Any) -> bool:
        return True

    LLM.reset_prefix_cache = keep  # type: ignore[method-assign]
