"""`rlvr explain`: type, default, values, meaning, readers and page of a key, or what a name stands for."""

from __future__ import annotations

import argparse

from rlvr_cli.commands.arguments import parser_of

HELP = """\
examples:
  rlvr explain trainer.lr                 type, default, meaning, which modules read it, which page has it
  rlvr explain trainer                    a section: its keys
  rlvr explain algorithm.kl               a part of the algorithm: its options
  rlvr explain algorithm/kl=loss          an option: its keys
  rlvr explain verifiers.math.units       a verifier's option
  rlvr explain reward/mean                a metric
  rlvr explain actor_rollout_ref.rollout.n   another framework's name: what it is called here
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY", help="a key, section, option, metric or entry")
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="whose plugins and entries count too")


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, HELP, "KEY [RECIPE]")
    add(parser)
    given = parser.parse_args(arguments)
    from rlvr_cli.commands.own_entries import own_entries
    from rlvr_cli.reference.explain import explain

    print("\n".join(explain(given.key, own_entries(given.recipe))))
    return 0
