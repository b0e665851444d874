"""What was probably meant by a key that is not there."""

from __future__ import annotations

import difflib

from omegaconf import DictConfig, OmegaConf

from rlvr_cli import algorithms


def elsewhere(key: str, schema: DictConfig) -> str:
    """Said of `algorithm.kl.coef` where kl=none: the chosen option has no such key, but others do."""
    top, axis, field = ([*key.split("."), "", ""])[:3]
    if top != "algorithm" or axis not in algorithms.PARTS or key.count(".") != 2:
        return ""
    having = [name for name, cls in algorithms.options(axis).items() if field in OmegaConf.structured(cls)]
    if not having:
        return ""
    chosen = schema.algorithm[axis].name
    return f": algorithm.{axis}={chosen} has none; choose algorithm/{axis}={' or '.join(having)}"


def nearest(key: str, schema: DictConfig) -> str:
    """The known key that was probably meant: by its last part, in the same section if there is one."""
    known = _paths(schema)
    section, _, last = key.rpartition(".")
    siblings = {path.rpartition(".")[2]: path for path in known if path.rpartition(".")[0] == section}
    near = difflib.get_close_matches(last, siblings, n=1)
    if near:
        return f"; did you mean '{siblings[near[0]]}'?"
    top = section.split(".")[0]
    for pool in ([path for path in known if path.split(".")[0] == top], known):
        same = [path for path in pool if path.rpartition(".")[2] == last]
        near = same[:1] or difflib.get_close_matches(key, pool, n=1, cutoff=0.75)
        if near:
            return f"; did you mean '{near[0]}'?"
    return f"; keys there: {', '.join(siblings)}" if siblings else ""


def _paths(node: DictConfig, prefix: str = "") -> list[str]:
    """Dotted keys of every section and value."""
    found = []
    for key in node:
        path = f"{prefix}{key!s}"
        found.append(path)
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing()):
            found += _paths(child, f"{path}.")
    return found
