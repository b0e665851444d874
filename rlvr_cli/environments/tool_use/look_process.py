"""`python -m rlvr_cli.environments.tool_use.look_process`: load the tools of a recipe and say what they are.

Pickled settings come in, pickled schemas or a line that says what is wrong go out; what the user's code
prints meanwhile is lost.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError


def main() -> None:
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.path[:], places = pickle.load(sys.stdin.buffer)
        plugins.announce(places)
        pickle.dump(_answer(pickle.load(sys.stdin.buffer)), answers)
    os._exit(0)  # threads that the user's code has started are not waited for


def _answer(settings: Any) -> Any:
    from rlvr_cli.environments.tool_use.kit import Kit

    try:
        if hasattr(settings, "own_schemas"):
            return settings.own_schemas()
        kit = Kit(settings)
        try:
            return kit.all_schemas()
        finally:
            kit.stop()
    except UserError as error:
        return str(error)


if __name__ == "__main__":
    main()
