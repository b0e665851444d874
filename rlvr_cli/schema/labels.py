"""Gold answers of a source that are not its own: what most samples of a model say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING


class LabelsKept(Enum):
    all = "all"
    wrong = "wrong"


@dataclass(kw_only=True)
class Labels:
    """In the place of a source's gold answers, for the verifier that decides what counts as correct: the
    answer that most of a model's samples gave. Spurious Rewards (2506.10947) has both controls."""

    file: str = MISSING
    """Profile that `rlvr profile` has written, whose model voted. Problems without a label are left out."""
    keep: LabelsKept = LabelsKept.all
    """all: each problem that has a label; wrong: those alone whose label is not a right answer."""
