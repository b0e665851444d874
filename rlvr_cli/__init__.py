"""rlvr: reinforcement learning from verifiable rewards, driven by YAML recipes.

For Python: `load_recipe`, `train`, `evaluate`, `verify`, `open_run` (docs/python.md). They stand in `api.py`,
which is imported when one of its names is looked up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Results",
    "Run",
    "RunFailed",
    "UserError",
    "evaluate",
    "load_recipe",
    "open_run",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from rlvr_cli.api import Results, Run, evaluate, load_recipe, open_run, train, verify
    from rlvr_cli.core.errors import RunFailed, UserError
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        home = "core.errors" if name in ("RunFailed", "UserError") else "api"
        return getattr(import_module(f"{__name__}.{home}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
