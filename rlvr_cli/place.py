"""A process's place among the ranks: the variables by which torch.distributed finds the others."""

from __future__ import annotations

import socket


def rank_environment(number: int, count: int, port: int) -> dict[str, str]:
    """Those of rank `number` of `count` on this machine, who meet at `port`."""
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
