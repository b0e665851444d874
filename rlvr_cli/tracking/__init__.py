"""What a run leaves behind and shows: metrics, events, rollouts, curves, W&B and the terminal."""

from rlvr_cli.tracking.console import Sample
from rlvr_cli.tracking.environment import environment, versions, write_environment
from rlvr_cli.tracking.journal import read_metrics
from rlvr_cli.tracking.plots import curves
from rlvr_cli.tracking.records import RolloutRecords, read_records
from rlvr_cli.tracking.results import print_results
from rlvr_cli.tracking.timing import Timer
from rlvr_cli.tracking.tracker import Tracker

__all__ = [
    "RolloutRecords",
    "Sample",
    "Timer",
    "Tracker",
    "curves",
    "environment",
    "print_results",
    "read_metrics",
    "read_records",
    "versions",
    "write_environment",
]
