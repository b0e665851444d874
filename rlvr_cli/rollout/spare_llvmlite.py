"""numba's library beside vLLM, which takes it for what it is not."""

from __future__ import annotations

import sys
from typing import Any


def spare_llvmlite() -> None:
    """Have llvmlite's library object, where numba has been imported, say that it has no `__dict__`.

    It claims to have any attribute. vLLM 0.32 looks through all modules for kernels, takes that for a dict
    and fails.
    """
    library = getattr(sys.modules.get("llvmlite.binding.ffi"), "_lib_wrapper", None)
    if library is None or hasattr(library, "is_spared"):
        return
    found = library.__getattr__

    def attribute(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return found(self, name)

    library.__getattr__, library.is_spared = attribute, True
