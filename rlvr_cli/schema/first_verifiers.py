"""Which verifiers decide what is correct."""

from __future__ import annotations

from rlvr_cli.schema.data import Source


def first_verifiers(source: Source) -> list[str]:
    """Names of those that do so for rows of a source: the first of its list, or of each list that a column
    routes to. Empty where rows name their own."""
    lists = [source.verifiers, *source.verifiers_by.map.values()]
    return list(dict.fromkeys(names[0] for names in lists if names))
