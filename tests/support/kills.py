"""`benchmarks/kill.py` as a module: a run that is killed, and the comparison with one that is not."""

import sys

from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import kill

__all__ = ["kill"]
