"""`make reference`: writes what is made from the schema, docs/reference.md and docs/recipe.schema.json."""

from __future__ import annotations

from rlvr_cli.core.documentation import DOCS, SCHEMA
from rlvr_cli.core.files import write_atomically
from rlvr_cli.reference import json_schema, markdown
from rlvr_cli.reference.pages import GENERATED

write_atomically(DOCS / GENERATED, markdown.page())
write_atomically(SCHEMA, json_schema.text())
