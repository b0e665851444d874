"""Files of tensors, read without running what they hold.

torch's files are pickles, which name functions to call. Here only tensors and plain values are made of them,
and objects of the classes that a caller names: whoever writes into a run's folder runs nothing by it.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlvr_cli.core.errors import UserError


def read(
    file: str | Path, classes: Sequence[type] = (), *, map_location: Any = "cpu", mmap: bool = False
) -> Any:
    """What torch.save wrote. `mmap`: tensors stay on the disk until they are used.

    Raises UserError where the file holds anything but tensors, plain values and objects of `classes`.
    """
    try:
        with torch.serialization.safe_globals(list(classes)):
            return torch.load(file, map_location=map_location, mmap=mmap, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        named = re.search(r"(?:GLOBAL|global:?) ([\w.]+)", str(error))
        what = f"holds {named[1]}, which is neither a tensor nor a plain value" if named else "cannot be read"
        raise UserError(
            f"{file} {what}: rlvr wrote no such checkpoint, and nothing of it was run; put back the file as "
            "it was written, or start anew with another out="
        ) from error
