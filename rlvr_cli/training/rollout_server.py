"""A rollout server of its own for a recipe: what `rlvr rollout-server` runs."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
from pathlib import Path
from types import FrameType

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.rank_process import free_port
from rlvr_cli.core.stop_signals import taken
from rlvr_cli.engine.model import load_config
from rlvr_cli.evaluation.bench import with_stops
from rlvr_cli.rollout.seen import FOR_ANY_RUN, Prompts
from rlvr_cli.rollout.servers import start
from rlvr_cli.rollout.servers.client import Client
from rlvr_cli.rollout.servers.names import TOKEN
from rlvr_cli.rollout.servers.replica import Process, Replica
from rlvr_cli.sampling.start_model import check_even, local_model
from rlvr_cli.schema import Recipe, RolloutLora
from rlvr_cli.training.assemble import positions_needed
from rlvr_cli.training.weight_sync import engine_precision
from rlvr_cli.vision.processor import load_processor

LOOK_S = 0.2


def serve(recipe: Recipe, host: str, port: int) -> int:
    """Until a signal ends it (0) or it has ended (UserError). What vLLM writes goes to the terminal."""
    with tempfile.TemporaryDirectory(prefix="rlvr-start-") as folder:  # of `builtin:tiny`
        process, client = started(recipe, host, port, Path(folder))
        asked = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            asked.set()

        with taken(stop):
            try:
                asyncio.run(ready(process, client, recipe.rollout.servers.start_s, asked))
                while not asked.wait(LOOK_S):
                    if (how := process.ended()) is not None:
                        raise UserError(f"the server has ended: {how}")
            finally:
                process.end()
    return 0


def started(recipe: Recipe, host: str, port: int, folder: Path) -> tuple[Process, Client]:
    """The server's processes, as a run of this recipe would start them, and what speaks with them."""
    model = local_model(recipe.model, folder, recipe.seed)
    check_even(recipe.rollout, model)
    played = (*recipe.environments.values(), *(bench.environment for bench in recipe.eval.benches.values()))
    stops = [string for each in played if each is not None for string in each.stop]
    wanted = start.Wanted(
        rollout=with_stops(recipe.rollout, recipe.eval.benches, stops),
        engine={
            "path": model.path,
            "seed": recipe.seed,
            "precision": engine_precision(recipe),
            "max_model_len": positions_needed(recipe, model),
            "revision": model.revision,
            "trust_remote_code": model.trust_remote_code,
            "overrides": model.overrides,
            "fp32_head": model.fp32_head,
        },
        out=folder,
        lora=model.lora if recipe.rollout.lora is RolloutLora.adapter else None,
        prompts=Prompts(load_processor(model, load_config(model)), FOR_ANY_RUN),
    )
    arguments, token = wanted.arguments(), os.environ.get(TOKEN, "")
    os.environ.setdefault("LOCAL_WORLD_SIZE", "0")  # no rank shares this process's GPUs
    variables = start.variables_of(wanted, arguments, token, digest=wanted.start_digest())
    port = port or free_port()
    check_free(host, port)
    process = Process(arguments, variables, host=host, port=port)
    where = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    client = Client(f"http://{f'[{where}]' if ':' in where else where}:{port}", token, timeout_s=10.0)
    return process, client


def check_free(host: str, port: int) -> None:
    """UserError where the server could not listen: vLLM would say so after half a minute, in many lines."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}; take another (--port 0: any)"
        ) from error


async def ready(process: Process, client: Client, limit_s: float, asked: threading.Event) -> None:
    """Say where it is once it answers, unless a signal comes first. UserError where it does not."""
    replica = Replica(name="the server", client=client, process=process)
    reached = asyncio.create_task(start.reach(replica, limit_s))
    while not reached.done() and not asked.is_set():
        await asyncio.sleep(LOOK_S)
    if not reached.done():
        reached.cancel()
    else:
        reached.result()
        print(f"rlvr: rollout server at {client.url}", flush=True)
    await client.close()
