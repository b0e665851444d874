"""`python -m rlvr_cli.verifiers.user_code.look_process`: import a user's function and say how it is called.

A pickled question comes in, a pickled answer goes out; what the user's code prints meanwhile is lost, and
what it does to this process harms nobody.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

from rlvr_cli.verifiers.user_code.function import UserFunction
from rlvr_cli.verifiers.user_code.inspect_code import Found
from rlvr_cli.verifiers.user_code.load import Unusable


def answer_to(what: str, settings: Any, text: bytes, *case: Any) -> Any:
    """(answer,), or a line that says why there is none."""
    try:
        function = UserFunction(settings, text)
        if what == "render":
            return ((function.render(case[0]), function.missing_columns(case[0])),)
    except Unusable as error:
        return str(error)
    found = Found(
        convention=function.convention,
        seen=function.seen,
        asynchronous=function.asynchronous,
        line=function.signature.line,
        text=text,
    )
    return (found,)


def main() -> None:
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.path[:] = pickle.load(sys.stdin.buffer)
        what, question = pickle.load(sys.stdin.buffer)
        pickle.dump(answer_to(what, *question), answers)
    os._exit(0)  # threads that the user's code has started are not waited for


if __name__ == "__main__":
    main()
