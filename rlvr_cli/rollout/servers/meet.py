"""How a run and a server come together in a process group: the trainer says where, the workers join."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import asdict
from urllib.parse import urlsplit

import torch

from rlvr_cli.rollout.servers.channel import (
    GLOO,
    INTERFACE,
    NCCL,
    Channel,
    Meeting,
    address_towards,
    first_line,
    in_thread,
)
from rlvr_cli.rollout.servers.client import Client, Gone
from rlvr_cli.schema import Transfer


class Apart(Gone):
    """The server answers, and no group with it comes about."""


def backend_of(transfer: Transfer, gpus: list[bool]) -> str | None:
    """What groups are made of; None: weights go by parcels. `gpus`: who has one, trainer and servers."""
    if transfer is Transfer.memory or (transfer is Transfer.auto and not all(gpus)):
        return None
    return NCCL if all(gpus) else GLOO


def said(backend: str | None, transfer: Transfer, adapters: bool = False) -> str:
    """A line for the start of a run; `adapters`: they are sent, and no other weights."""
    sent = "adapters" if adapters else "weights"
    if backend is None:
        return f"{sent} go to servers through host memory (rollout.servers.transfer={transfer.value})"
    way = "NCCL, from GPU to GPU" if backend == NCCL else "gloo, between CPUs"
    return f"{sent} are broadcast to servers by {way} (rollout.servers.transfer={transfer.value})"


async def meet(client: Client, workers: int, backend: str, device: torch.device, limit_s: float) -> Channel:
    """A new group of this process and the workers of a server, in the place of any before.

    At the address from which this machine reaches the server: that is the way back. Apart where it does not
    come about, Gone where the server does not answer.
    """
    where = urlsplit(client.url)
    try:
        host = address_towards(str(where.hostname), where.port or (443 if where.scheme == "https" else 80))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, 0), family=family)
    except OSError as error:
        raise apart(client.url, backend, str(error)) from error
    port = listening.getsockname()[1]
    meeting = Meeting(host=host, port=port, size=1 + workers, backend=backend, timeout_s=limit_s)
    opening = in_thread(lambda: Channel(meeting, 0, device, listening))
    answer = asyncio.ensure_future(client.begin(asdict(meeting)))
    try:
        channel, _ = await asyncio.gather(opening, answer)
    except (Gone, RuntimeError) as error:
        answer.cancel()
        if isinstance(error, Gone) and not error.answered:
            raise
        raise apart(client.url, backend, f"at {host}:{port}: {first_line(error)}") from error
    return channel


def apart(url: str, backend: str, why: str) -> Apart:
    return Apart(
        f"weights cannot be broadcast to {url} by {backend}, {why}; open all ports between the two machines, "
        f"set {INTERFACE} and NCCL_SOCKET_IFNAME on both to the interface that joins them, or set "
        "rollout.servers.transfer=memory"
    )
