"""`rlvr VERB [RECIPE] [key=value ...]`: finds the verb's file, and turns a user's mistake into one line.

A verb's file is imported when it is asked for, and imports neither torch nor hydra before it needs them.
"""

from __future__ import annotations

import sys
from importlib import import_module

from rlvr_cli import __version__
from rlvr_cli.commands.verbs import module_of, overview, verbs
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError, hint, told


def main(arguments: list[str] | None = None) -> int:
    """Run a command line (default: this process's); returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return run(arguments)
    except UserError as error:
        print(f"rlvr: error: {told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of `rlvr recipes list | head` has left
        sys.stderr.close()
        return 0


def run(arguments: list[str]) -> int:
    """As `main`; mistakes are raised."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(), end="")
        return 0
    verb, *rest = arguments
    if verb == "--version":
        print(f"rlvr {__version__}")
        return 0
    if (module := module_of(verb)) is not None:
        return int(import_module(f"rlvr_cli.commands.{module}").run(verb, rest))
    if verb.endswith(".yaml") or verb in shipped_recipes.recipes():
        raise UserError(f"'{verb}' is a recipe; a verb comes first: rlvr train {verb}")
    raise UserError(f"there is no verb '{verb}'{hint(verb, [*verbs(), 'help'], 'verbs')}")
