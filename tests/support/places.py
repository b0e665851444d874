"""Where things are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Of the checkout."""
SUPPORT = ROOT / "tests" / "support"
GOLDEN = ROOT / "tests" / "golden"
PACKAGE = ROOT / "rlvr_cli"
