"""`rlvr profile`: how often the start model solves each problem of a recipe. Nothing is trained."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.external_ranks import joined_ranks

PROFILE = """\
Samples every problem of the recipe's data k times, as training would, and writes a row for each: pass@k,
score, response length, kinds of verdicts. `data.<source>.difficulty` then chooses by it. A profile that was
killed goes on with the same command; one that is there is only added to.

examples:
  rlvr profile my.yaml
  rlvr profile my.yaml -k 8 --limit 1000 -o problems.profile.parquet
  rlvr profile my.yaml model.path=runs/mine rollout.max_tokens=4096
  rlvr profile my.yaml --server http://localhost:8000/v1
  rlvr train my.yaml 'data.train.difficulty={file: problems.profile.jsonl, band: [0.1, 0.9]}'
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, PROFILE, "[RECIPE] [-k N] [-o FILE] [key=value ...]")
    add(parser)
    return profile(*parse(parser, arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", type=int, default=16, metavar="N", help="samples of each problem (16)")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="the profile, .jsonl or .parquet (<data>.profile.jsonl beside the only data file, else "
        "<name>.profile.jsonl)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N problems of each source")
    parser.add_argument("--server", metavar="URL", help="sample from an OpenAI-compatible server")


def profile(options: argparse.Namespace, path: str | None, overrides: list[str]) -> int:
    """Measure; the folder `<file>.parts` holds what is finished until all is."""
    from rlvr_cli.compose.profile import load_profile
    from rlvr_cli.launch.start import launch

    recipe = load_profile(
        path, overrides, k=options.k, limit=options.limit, file=options.out, server=options.server
    )
    if joined_ranks(os.environ) is not None:
        raise UserError("rlvr profile starts its ranks itself; leave torchrun or srun out")
    assert recipe.out is not None
    parts = Path(recipe.out)
    code = 1
    try:
        code = launch(recipe)
    finally:  # also where a server is gone
        if code and any(parts.glob("*.partial.*")):
            print(f"rlvr: finished problems are kept in {parts}: the same command goes on", file=sys.stderr)
    if code == 0:
        shutil.rmtree(parts)
        print(f"rlvr: {recipe.file}", file=sys.stderr)
    return code
