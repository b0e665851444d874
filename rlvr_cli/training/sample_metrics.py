"""Means over all ranks' samples: of verdicts, of a column's values, of texts, of ends. Told in one gather."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group
from rlvr_cli.sampling.wording import Sums, add, means, merged
from rlvr_cli.schema import Source
from rlvr_cli.training.metrics import verifier_means, verifier_sums
from rlvr_cli.training.source_metrics import sums_by_value
from rlvr_cli.training.texts import repetition_correlation, repetition_sums, text_sums


def sample_metrics(mine: list[Group], data: Mapping[str, Source]) -> dict[str, float]:
    """`reward/*`, `text/*` and those by `data.<name>.metrics_by`; all ranks must call it."""
    own = verifier_sums(mine), sums_by_value(mine, data), text_sums(mine), repetition_sums(mine), ends(mine)
    verdicts, values, texts, loops, ended = (
        merged(parts) for parts in zip(*distributed.gather(own), strict=True)
    )
    by_value = {name: total / count for name, (total, count) in sorted(values.items())}
    said = means(texts) | repetition_correlation(loops) | means(ended, "response_length/")
    return verifier_means(verdicts) | by_value | said


def ends(mine: list[Group]) -> Sums:
    """How likely the policy made the token with which a response ended by itself; not of episodes, which an
    environment ends."""
    found: Sums = {}
    for completion in (each for group in mine for each in group.completions):
        if completion.finished and completion.episode is None and len(completion.logprobs):
            add(found, "end_probability", math.exp(float(completion.logprobs[-1])))
    return found
