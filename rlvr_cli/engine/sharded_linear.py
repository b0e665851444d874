"""torch's linear layer while a module under ZeRO-3 works, and as it was for everybody else.

torch keeps a view of the weight for the backward pass, and with it the whole weight that ZeRO-3 has gathered
for the layer. DeepSpeed's own function gathers it anew instead. Left to itself DeepSpeed puts it in torch's
place for good (`memory_efficient_linear`), where the rollout engine in the same process would run it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch
from deepspeed.runtime.zero.linear import zero3_linear_wrap

Method = TypeVar("Method", bound=Callable[..., Any])


@contextmanager
def sharded_linear() -> Iterator[None]:
    """`torch.nn.functional.linear` is ZeRO-3's, until the block ends."""
    functional: Any = torch.nn.functional
    before = functional.linear
    functional.linear = zero3_linear_wrap
    try:
        yield
    finally:
        functional.linear = before


def with_sharded_linear(method: Method) -> Method:
    """A method that runs the module forward, and backward: recomputing must do what was done before."""

    @wraps(method)
    def working(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.settings.zero_stage != 3:
            return method(self, *args, **kwargs)
        with sharded_linear():
            return method(self, *args, **kwargs)

    return working  # type: ignore[return-value]
