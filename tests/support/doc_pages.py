"""Pages of the documentation on verifiers."""

from __future__ import annotations

from typing import Any

import yaml
from places import ROOT

from rlvr_cli import verifiers
from rlvr_cli.core import shipped_recipes

CONTROLS = ("always", "incorrect", "majority", "random")


VERIFIER_PAGES = {
    name: ROOT / "docs" / "verifiers" / f"{'controls' if name in CONTROLS else name}.md"
    for name in verifiers.names()
}


def entry_of(entry: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((shipped_recipes.CONF / "verifier" / f"{entry}.yaml").read_text())
    return tree
