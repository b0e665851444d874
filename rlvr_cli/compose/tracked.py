"""Verifiers that a bench tracks: those alone that judge each response by itself, without a gold answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlvr_cli.schema import Bench
from rlvr_cli.verifiers.several_golds import Reads, reads

TOGETHER = ("verify_group", "of_group", "of_sample", "whole_groups", "wants_rows")


def check_tracked(benches: Mapping[str, Bench], prefix: str) -> None:
    """ValueError, key first, for the first that does more."""
    for name, bench in benches.items():
        for key, verifier in bench.tracked.items():
            where = f"{prefix}.{name}.tracked.{key}"
            if not re.fullmatch(r"\w+", key):
                raise ValueError(f"{where}: a metric is called so; use letters, digits and _")
            if any(getattr(verifier, each, None) for each in TOGETHER):
                raise ValueError(
                    f"{where}: {verifier.name} judges more than one response by itself; take contains, "
                    "language, length, format or repetition"
                )
            outside = hasattr(verifier, "limits")
            if outside or reads(verifier) is not Reads.no_gold:
                does = "asks another program" if outside else "reads gold answers"
                raise ValueError(
                    f"{where}: {verifier.name} {does}, and only what looks at the response alone is tracked; "
                    "make it the verifier of a bench of its own"
                )
