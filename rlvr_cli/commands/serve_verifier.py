"""`rlvr serve-verifier`: verifiers behind HTTP."""

from __future__ import annotations

import argparse
import ipaddress
import os
from importlib import import_module
from typing import Any

from rlvr_cli.commands.arguments import add_verifier, parse, parser_of
from rlvr_cli.core.errors import UserError

SERVE = """\
examples:
  rlvr serve-verifier --verifier math
  rlvr serve-verifier my.yaml --port 9000 verification.workers=8
  RLVR_TOKEN=... rlvr serve-verifier --verifier math --host 0.0.0.0 --token-env RLVR_TOKEN

In a recipe, `verifier@verifiers.math: remote` asks the server.
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, SERVE, "[RECIPE | --verifier NAME] [--port N] [key=value ...]")
    add(parser)
    return serve(*parse(parser, arguments))


def add(parser: argparse.ArgumentParser) -> None:
    add_verifier(parser, "entry of the group verifier, without a recipe")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8700, help="port (default 8700; 0: any free one)")
    parser.add_argument(
        "--token-env", metavar="NAME", help="environment variable with the token clients must send"
    )
    parser.add_argument("--max-body-mb", type=float, default=16.0, help="largest request (default 16)")
    parser.add_argument(
        "--max-requests", type=int, default=64, help="requests in work before others get 429 (default 64)"
    )


def serve(options: argparse.Namespace, recipe: str | None, overrides: list[str]) -> int:
    """Put the verifiers of a recipe, or one by its name, behind HTTP until a signal ends it."""
    if (recipe is None) == (options.verifier is None):
        raise UserError("serve-verifier needs either RECIPE or --verifier NAME")
    if recipe is not None and options.option:
        raise UserError("--option is for --verifier; in a recipe, set verifiers.NAME.KEY=VALUE")
    for name, least in (("max_body_mb", 0.001), ("max_requests", 1)):
        if getattr(options, name) < least:
            raise UserError(
                f"--{name.replace('_', '-')} is {getattr(options, name):g}; it must be at least {least}"
            )
    if not 0 <= options.port < 65536:
        raise UserError(f"--port is {options.port}; it must be from 0 to 65535")
    token = _token(options.token_env)
    if token is None and not _is_loopback(options.host):
        raise UserError(
            f"--host {options.host} can be reached by other machines; set a token: --token-env NAME"
        )
    verifiers, verification = _verifiers(options, recipe, overrides)
    from rlvr_cli.compose import find_plugins

    find_plugins.tell()
    for name, verifier in verifiers.items():
        if hasattr(verifier, "verify_group") or getattr(verifier, "whole_groups", False):
            raise UserError(
                f"'{name}' ({verifier.name}) judges all samples of a problem together and a server sees them "
                "one by one; use it in the recipe itself"
            )
        if hasattr(verifier, "of_sample"):
            raise UserError(
                f"'{name}' ({verifier.name}) reads what an environment gave to an episode, and a server gets "
                "texts alone; use it in the recipe itself"
            )
    server = import_module("rlvr_cli.verifiers.server")
    limits = server.Limits(max_body=int(options.max_body_mb * 2**20), max_requests=options.max_requests)
    return int(server.serve(verifiers, verification, options.host, options.port, token, limits))


def _verifiers(options: argparse.Namespace, recipe: str | None, overrides: list[str]) -> tuple[Any, Any]:
    if recipe is None:
        from rlvr_cli.compose.verify import load_verify

        made = load_verify([options.verifier], options.option, None, overrides)
        return made.verifiers, made.verification
    from rlvr_cli import compose
    from rlvr_cli.schema import ExperienceRecipe, Recipe

    typed = compose.load(recipe, overrides)
    if not isinstance(typed, Recipe | ExperienceRecipe):
        raise UserError(f"{recipe} is a recipe of sft, which has no verifiers")
    return typed.verifiers, typed.verification


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise UserError(f"--token-env: the environment variable {variable} is not set")
    return os.environ[variable]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
