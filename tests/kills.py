"""`benchmarks/kill.py` as a module: a run that is killed, and the comparison with one that is not."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import kill

__all__ = ["kill"]
