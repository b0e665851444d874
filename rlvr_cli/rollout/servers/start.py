"""The servers of a run at its start: made from its recipe on devices of their own, or found by address."""

from __future__ import annotations

import os
import resource
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.rank_process import free_port
from rlvr_cli.rollout.engine import CPU_SEQUENCES, SyncError
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.servers.channel import NCCL
from rlvr_cli.rollout.servers.client import Client, Gone
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.likeness import about, demand_likeness
from rlvr_cli.rollout.servers.loop import Loop
from rlvr_cli.rollout.servers.meet import Apart, backend_of
from rlvr_cli.rollout.servers.names import SEES, TOKEN
from rlvr_cli.rollout.servers.parcels import Cargo, pack
from rlvr_cli.rollout.servers.replica import Process, Replica, environment
from rlvr_cli.rollout.servers.start_weights import digest, start_weights
from rlvr_cli.rollout.vllm_arguments import adapter_arguments, vllm_arguments
from rlvr_cli.schema import Lora, OnUpdate, Rollout, Transfer

GPU_SEQUENCES = 1024
"""Sequences that vLLM decodes at once on a large GPU, where the recipe does not say."""
AHEAD = 1.25
"""Samples a server is given, of those it decodes at once: the next ones wait there and not here."""
SCALED = ("rank", "alpha", "rank_stabilised")
"""Of adapters: what says by how much they are multiplied."""
FILES = 2**16
"""Open files that a rank may need: every group in flight is a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a rank wants servers for."""

    rollout: Rollout
    engine: dict[str, Any]
    """Keyword arguments of `vllm_arguments`, but for `rollout` and `cuda`."""
    out: Path
    prompts: Prompts = field(default_factory=lambda: Prompts(None))
    """Of a model that sees: what its engines are told of images."""
    lora: Lora | None = None
    """Of the adapters that servers are sent; None: they are sent whole weights."""
    device: torch.device = field(default_factory=distributed.device)
    """The trainer's: threads have a current GPU of their own."""

    def arguments(self, number: int = 0) -> dict[str, Any]:
        """vLLM's, for one of the servers: without seeds, no two may draw the same numbers."""
        engine = self.engine | {"seed": self.engine["seed"] + number}
        made = vllm_arguments(self.rollout, cuda=torch.cuda.is_available(), **engine)
        made |= self.prompts.arguments() | adapter_arguments(self.lora)
        return made | ({"tensor_parallel_size": width} if (width := self.rollout.tensor_parallel) > 1 else {})

    def start_digest(self) -> str | None:
        """Of the model that servers with adapters keep; None: they are sent whole weights."""
        return None if self.lora is None else digest(self.engine["path"], self.engine.get("revision"))

    def client(self, url: str, token: str) -> Client:
        lora = self.lora
        told = {} if lora is None else {name: getattr(lora, name) for name in SCALED}
        return Client(url, token, self.rollout.servers.timeout_s, told)


def open_fleet(wanted: Wanted, loop: Loop) -> tuple[Fleet, str]:
    """The servers, at work with the start model, and the name that begins all stamps of this run's weights.

    Every rank calls it. Servers of the run are led by the first rank of each machine, others by rank 0.
    """
    urls = wanted.rollout.servers.urls
    hosts = distributed.gather(socket.gethostname())
    leader = 0 if urls else hosts.index(hosts[distributed.rank()])
    run = distributed.gather(secrets.token_hex(4))[0]
    more_files()
    fleet: Fleet | None = None
    trouble: Exception | None = None
    shared: tuple[list[tuple[str, str]], str] = ([], "")
    if distributed.rank() == leader:
        token = os.environ.get(TOKEN, "") if urls else secrets.token_hex(16)
        try:
            fleet = loop.run(lead(wanted, run, token, distributed.rank()))
            shared = [(replica.name, replica.client.url) for replica in fleet.replicas], token
        except (UserError, SyncError) as error:
            trouble = error
    outcomes = distributed.gather((shared, None if trouble is None else str(trouble)))
    if trouble is not None:
        raise trouble
    if said := next((said for _, said in outcomes if said is not None), None):
        raise UserError(said)
    if fleet is None:
        fleet = loop.run(follow(wanted, run, *outcomes[leader][0]))
    return fleet, run


async def lead(wanted: Wanted, run: str, token: str, rank: int) -> Fleet:
    """Start or find the servers and give them the start model. UserError where one cannot be had."""
    settings = wanted.rollout.servers
    cargo = Cargo(stamp=f"{run}.0.0")
    kept = wanted.start_digest() if settings.urls else None
    if settings.urls:
        replicas = [found(wanted, url, token) for url in settings.urls]
    else:
        replicas = [started(wanted, number, token, rank) for number in range(count(wanted.rollout))]
    if settings.urls and wanted.lora is None:
        cargo.parcels = pack(start_weights(wanted.engine["path"], wanted.engine.get("revision")))
    fleet = Fleet(replicas, settings, cargo, leads=True, **of_samples(wanted))
    try:
        for replica in replicas:
            await reach(replica, settings.start_s)
            if settings.urls:
                there = await replica.client.about()
                demand_likeness(wanted.arguments(), there, replica.name, wanted.prompts.settings(), kept)
                replica.gpu = bool(there.get("gpu"))
                replica.workers = there["arguments"].get("tensor_parallel_size", 1)
        await equip_all(fleet, wanted.device)
    except BaseException:
        await fleet.close()
        raise
    return fleet


async def equip_all(fleet: Fleet, device: torch.device) -> None:
    """All servers hold the current weights, and the way in which the next ones come is known. `device`: the
    trainer's.

    UserError where the recipe wants groups and one does not come about.
    """
    settings = fleet.settings
    gpus = [torch.cuda.is_available(), *(replica.gpu for replica in fleet.replicas)]
    fleet.backend = backend_of(settings.transfer, gpus)
    if fleet.backend == NCCL:
        fleet.device = device
    try:
        for replica in fleet.replicas:
            await fleet.equip(replica)
    except Apart as error:
        if settings.transfer is Transfer.broadcast:
            raise UserError(str(error)) from error
        fleet.backend = None
        fleet.news.append(str(error))
        for replica in fleet.replicas:
            await fleet.equip(replica)


async def follow(wanted: Wanted, run: str, servers: list[tuple[str, str]], token: str) -> Fleet:
    """Servers that another rank leads."""
    settings = wanted.rollout.servers
    replicas = [Replica(name=name, client=wanted.client(url, token)) for name, url in servers]
    cargo = Cargo(stamp=f"{run}.0.0")
    fleet = Fleet(replicas, settings, cargo, leads=False, **of_samples(wanted))
    for replica in replicas:
        replica.up.set()
    return fleet


def started(wanted: Wanted, number: int, token: str, rank: int) -> Replica:
    """Server `number` of this machine: the process runs when this returns, the server not yet."""
    port, arguments = free_port(), wanted.arguments(number)
    variables = variables_of(wanted, arguments, token, number)
    log = wanted.out / "logs" / (f"server{number}.log" if rank == 0 else f"server{rank}.{number}.log")
    start: Callable[[], Process] = partial(
        Process, arguments, variables, host="127.0.0.1", port=port, log=log.absolute()
    )
    client = wanted.client(f"http://127.0.0.1:{port}", token)
    return Replica(
        name=f"server {number}",
        client=client,
        start=start,
        process=start(),
        gpu=torch.cuda.is_available(),
        workers=wanted.rollout.tensor_parallel,
    )


def variables_of(
    wanted: Wanted, arguments: dict[str, Any], token: str, number: int = 0, digest: str | None = None
) -> dict[str, str]:
    """The environment of a server's processes; `digest`: of its start model, for runs that keep it."""
    gpus, cores = gpus_of(wanted.rollout, number), threads(wanted.rollout)
    says = about(arguments, wanted.prompts.settings(), gpu=gpus is not None) | {"start": digest}
    variables = environment(os.environ, says, token, gpus=gpus, threads=cores)
    return variables if wanted.prompts.processor is None else variables | {SEES: "1"}


def found(wanted: Wanted, url: str, token: str) -> Replica:
    client = wanted.client(url, token)
    return Replica(name=client.url, client=client, upload=True)


async def reach(replica: Replica, limit_s: float) -> None:
    """Until it answers for the first time. UserError where it does not."""
    try:
        await replica.answers(limit_s, heart.beat)
    except Gone as gone:
        raise UserError(f"{replica.name} did not start: {gone}{replica.where_to_look()}") from gone
    except TimeoutError:
        raise UserError(
            f"{replica.name} has not answered for {limit_s:g} s (rollout.servers.start_s); "
            + ("is it running?" if replica.process is None else "it is still starting")
            + replica.where_to_look()
        ) from None


def count(rollout: Rollout) -> int:
    return rollout.servers.started(rollout.tensor_parallel)


def gpus_of(rollout: Rollout, number: int) -> list[int] | None:
    """GPUs of one server as this process counts them; None without any. UserError where they are too few."""
    if not torch.cuda.is_available():
        return None
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    width = rollout.tensor_parallel
    needed, there = count(rollout) * width, torch.cuda.device_count()
    gpus = rollout.servers.gpus or list(range(ranks, ranks + needed))
    if max(gpus) >= there:
        raise UserError(
            f"rollout.servers: GPU {max(gpus)} is wanted for a server, and this process sees {there}; "
            f"{ranks} ranks and {needed} GPUs of servers need {ranks + needed}: lower trainer.ranks or "
            "rollout.servers.count"
        )
    if min(gpus) < ranks:
        raise UserError(
            f"rollout.servers.gpus has GPU {min(gpus)}, which is rank {min(gpus)}'s; leave it out"
        )
    return gpus[number * width : (number + 1) * width]


def threads(rollout: Rollout) -> int:
    """Of one server on CPUs: the trainer waits while servers sample, so they share all cores."""
    return rollout.servers.threads or max(1, len(os.sched_getaffinity(0)) // max(1, count(rollout)))


def room(rollout: Rollout) -> int:
    """Samples that one server is given at once."""
    default = GPU_SEQUENCES if torch.cuda.is_available() else CPU_SEQUENCES
    return int(AHEAD * (rollout.max_num_seqs or default))


def of_samples(wanted: Wanted) -> dict[str, Any]:
    """What a fleet is told of the samples."""
    keeps = wanted.rollout.on_update is OnUpdate.keep
    return {"room": room(wanted.rollout), "keeps": keeps, "sees": wanted.prompts.processor is not None}


def more_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
