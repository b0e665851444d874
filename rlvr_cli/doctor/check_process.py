"""One rank of a check: `python -m rlvr_cli.doctor.check_process ENTRY DESCRIPTOR PARENT`."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from rlvr_cli.core.rank_process import die_with_parent


def child(entry: str, descriptor: int, parent: int) -> None:
    """One rank of a check: call the function, send findings or an error, wait to be ended.

    Waiting keeps a rank that is done first from taking the others' connections away.
    """
    die_with_parent(parent)
    module, function = entry.split(":")
    reply: dict[str, Any]
    try:
        reply = {"findings": [asdict(finding) for finding in getattr(import_module(module), function)()]}
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        reply = {"error": text if len(text) < 400 else f"{text[:400]} ..."}
    Connection(descriptor, readable=False).send_bytes(json.dumps(reply).encode())
    while True:
        signal.pause()


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
