"""Where the documentation lies: `docs/` of a checkout, which a wheel brings along."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"  # a link to the docs/ of a checkout; a folder in a wheel
SCHEMA = DOCS / "recipe.schema.json"
"""JSON schema of recipes (draft 2020-12), for editors."""
MODELINE = "# yaml-language-server:"
"""How the line begins that tells editors the schema of a YAML file."""


def editor_line() -> str:
    """The first line of a recipe outside the package: editors then complete and check its keys."""
    return f"{MODELINE} $schema={SCHEMA.resolve()}"
