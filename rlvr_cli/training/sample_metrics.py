"""Means over all ranks' samples: of verdicts, of a column's values, of texts. Told in one gather."""

from __future__ import annotations

from collections.abc import Mapping

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group
from rlvr_cli.sampling.wording import means, merged
from rlvr_cli.schema import Source
from rlvr_cli.training.metrics import verifier_means, verifier_sums
from rlvr_cli.training.source_metrics import sums_by_value
from rlvr_cli.training.texts import repetition_correlation, repetition_sums, text_sums


def sample_metrics(mine: list[Group], data: Mapping[str, Source]) -> dict[str, float]:
    """`reward/*`, `text/*` and those by `data.<name>.metrics_by`; all ranks must call it."""
    own = verifier_sums(mine), sums_by_value(mine, data), text_sums(mine), repetition_sums(mine)
    verdicts, values, texts, loops = (merged(parts) for parts in zip(*distributed.gather(own), strict=True))
    by_value = {name: total / count for name, (total, count) in sorted(values.items())}
    return verifier_means(verdicts) | by_value | means(texts) | repetition_correlation(loops)
