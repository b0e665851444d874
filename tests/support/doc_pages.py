"""Pages of the documentation on verifiers."""

from __future__ import annotations

from typing import Any

import yaml
from places import ROOT

from rlvr_cli import verifiers
from rlvr_cli.core import shipped_recipes

CONTROLS = ("always", "contains", "incorrect", "majority", "random")
LIBRARY = ("logic_rl", "reasoning_steps", "repetition", "tag_count")
SHARED = (*CONTROLS, *LIBRARY)
"""Those that share a page."""


def _page(name: str) -> str:
    return "controls" if name in CONTROLS else "reward_library" if name in LIBRARY else name


VERIFIER_PAGES = {name: ROOT / "docs" / "verifiers" / f"{_page(name)}.md" for name in verifiers.names()}


def entry_of(entry: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((shipped_recipes.CONF / "verifier" / f"{entry}.yaml").read_text())
    return tree
