"""Texts with places in curly brackets that are filled in."""

from __future__ import annotations

import re


def fill(template: str, values: dict[str, str]) -> str:
    """In one pass: a response that says {answer} must not be given the answer."""
    places = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({places})\}}", lambda field: values[field[1]], template)
