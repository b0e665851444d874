"""`rlvr rollout-server`: one vLLM server for `rollout.placement=servers` of another process or machine."""

from __future__ import annotations

import argparse
import ipaddress
import os
from dataclasses import replace
from importlib import import_module
from typing import Any

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.server_token import TOKEN

SERVE = """\
examples:
  rlvr rollout-server my.yaml
  RLVR_SERVER_TOKEN=... rlvr rollout-server my.yaml --host 0.0.0.0 --port 8711

and the run, with the same recipe (and the same RLVR_SERVER_TOKEN):
  rlvr train my.yaml rollout.placement=servers 'rollout.servers.urls=["http://127.0.0.1:8710"]'

The recipe says how the engine is made: model, lengths, precision, memory. Who has the token, or without
one who is on this machine, can replace its weights: give it to the run alone.
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, SERVE, "RECIPE [--port N] [--host ADDRESS] [key=value ...]")
    add(parser)
    options, recipe, overrides = parse(parser, arguments)
    if recipe is None:
        raise UserError("rollout-server needs the RECIPE whose samples it is to give")
    return serve(options, recipe, overrides)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8710, help="port (default 8710; 0: any free one)")


def composed(given: str, overrides: list[str]) -> Any:
    """The recipe as it is, or as a run with servers has it, which alone takes some settings
    (`rollout.overlap=beside`). UserError, of the recipe as it is, where neither goes."""
    from rlvr_cli import compose

    try:
        return compose.load(given, overrides)
    except UserError as error:
        try:
            return compose.load(given, ["rollout.placement=servers", *overrides])
        except UserError:
            raise error from None


def serve(options: argparse.Namespace, given: str, overrides: list[str]) -> int:
    """Start the server and wait until a signal ends it, or it ends itself."""
    if not 0 <= options.port < 65536:
        raise UserError(f"--port is {options.port}; it must be from 0 to 65535")
    if not os.environ.get(TOKEN) and not is_loopback(options.host):
        raise UserError(
            f"--host {options.host} can be reached by other machines, which could replace the weights; set "
            f"the environment variable {TOKEN} to a token here and where the run is started"
        )
    from rlvr_cli.compose import find_plugins
    from rlvr_cli.core.model_paths import resolve_model
    from rlvr_cli.core.rank_process import library_defaults
    from rlvr_cli.launch import prerequisites
    from rlvr_cli.schema import Placement, Recipe, RolloutEngine

    recipe = composed(given, overrides)
    if not isinstance(recipe, Recipe):
        raise UserError(f"{given} samples nothing in training; rollout-server takes a recipe of an algorithm")
    if recipe.rollout.engine is not RolloutEngine.vllm:
        raise UserError("rollout-server starts vLLM, and rollout.engine is hf; set rollout=vllm")
    rollout = recipe.rollout
    if (
        rollout.placement is Placement.in_process or rollout.servers.urls
    ):  # it is a server, and looks for none
        own = type(rollout.servers)(start_s=rollout.servers.start_s, threads=rollout.servers.threads)
        rollout = replace(rollout, servers=own)
    prerequisites.check_engine(rollout)
    find_plugins.tell()
    model = replace(recipe.model, path=resolve_model(recipe.model.path))
    os.environ.update(library_defaults(1, prerequisites.count_gpus()))
    server = import_module("rlvr_cli.training.rollout_server")
    return int(server.serve(replace(recipe, model=model, rollout=rollout), options.host, options.port))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
