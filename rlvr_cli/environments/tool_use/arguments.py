"""Whether the arguments of a call fit the tool's schema, and if not, what the policy is told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from json import dumps, loads
from typing import Any

from rlvr_cli.core.errors import UserError

MOST_COMPLAINTS = 3
SHOWN = 200
"""Characters of one."""


def complaint(parameters: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, on a line; None: they fit."""
    errors = _validator(dumps(parameters, sort_keys=True)).iter_errors(arguments)
    said = [f"{_where(error)}{error.message[:SHOWN]}" for error in errors]
    if not said:
        return None
    return "; ".join(sorted(said)[:MOST_COMPLAINTS])


def check_schema(name: str, parameters: Mapping[str, Any]) -> None:
    """UserError where arguments of the tool `name` cannot be checked by its schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(_standard(parameters))
    except SchemaError as error:
        raise UserError(
            f"the schema of '{name}' is no JSON schema: {_where(error)}{error.message}"
        ) from error


def _where(error: Any) -> str:
    return "".join(f"{part}: " for part in error.absolute_path)


@lru_cache(maxsize=1024)
def _validator(parameters: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    schema = _standard(loads(parameters))
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return Draft202012Validator(schema, registry=Registry())  # nothing is fetched from anywhere


def _standard(node: Any) -> Any:
    """With `nullable`, which is OpenAPI's, written as JSON schema has it."""
    if isinstance(node, list):
        return [_standard(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: _standard(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is True:
        return {"anyOf": [found, {"type": "null"}]}
    return found
