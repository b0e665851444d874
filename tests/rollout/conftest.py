"""vLLM in the tests' own process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def what_is_frozen_stays_frozen() -> Iterator[None]:
    """vLLM freezes what there is when an engine starts, and thaws it three times at its end.

    Each of its collections would go through everything that the tests' process has imported: half a second.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "unfreeze", lambda: None)
        yield
