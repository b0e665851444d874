"""`python -m rlvr_cli` is `rlvr`."""

import sys

from rlvr_cli.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
