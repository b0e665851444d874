"""YAML of other people: how much it would make is known before it is made.

A few lines of aliases can stand for gigabytes, and OmegaConf takes a millisecond for each value.
"""

from __future__ import annotations

import yaml

MAX_BYTES = 256 << 10
MAX_NODES = 3_000
"""Keys and values, with aliases written out; a resolved recipe has about 500."""
MAX_LEVELS = 30
"""Of nesting; a recipe has seven."""


def check_yaml(text: str) -> None:
    """ValueError where it is too much, RecursionError where it is nested too deeply or holds itself.

    yaml.YAMLError where it is none.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text)} characters; a recipe has at most {MAX_BYTES}")
    made, sizes = 0, dict[str, int]()
    open_nodes: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = made - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise RecursionError
            made += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, made))
            made += 1
            if len(open_nodes) > MAX_LEVELS:
                raise RecursionError
        elif isinstance(event, yaml.ScalarEvent):
            made += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if made > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} keys and values, aliases (*) written out")
