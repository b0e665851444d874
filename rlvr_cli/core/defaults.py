"""What a key of the schema holds where nobody sets it."""

from __future__ import annotations

from dataclasses import MISSING, Field
from typing import Any


def default_of(field: Field[Any], required: Any = MISSING) -> Any:
    """Of a dataclass's field; `required` where somebody has to set it."""
    if field.default_factory is not MISSING:
        return field.default_factory()
    return required if field.default is MISSING else field.default
