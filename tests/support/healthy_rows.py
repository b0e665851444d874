"""Rows of a healthy run, as rules over metrics look at them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from rlvr_cli.diagnosis.history import Context

CONTEXT = Context(
    max_tokens=1024,
    first_verifier="loose",
    second_verifier="strict",
    extraction="answer_tags",
    source="train",
)
Row = dict[str, Any]


def healthy(step: int, random: Random) -> Row:
    """A step of a run that learns, with the noise of a batch of 32 samples."""

    def noisy(value: float, spread: float) -> float:
        return max(0.0, value * (1 + random.gauss(0, spread)))

    correct = min(0.9, 0.3 + 0.004 * step)
    phases = {"rollout": noisy(2.0, 0.3), "update": noisy(1.0, 0.3), "verify": noisy(0.02, 1.0)}
    return {
        "step": step,
        "reward/mean": noisy(correct, 0.2),
        "reward/correct_fraction": noisy(correct, 0.2),
        "reward/std": math.sqrt(correct * (1 - correct)),
        "reward/length_correlation": 0.15 * math.sin(3 * step),
        "reward/no_answer_fraction": 0.03 * (step % 3),
        "reward/refused_fraction": 0.03 * (step % 4 == 0),
        "reward/unscored_fraction": 0.03 if random.random() < 0.05 else 0.0,
        "reward/timeout_fraction": 0.0,
        "reward/crash_fraction": 0.0,
        "group/zero_signal_fraction": random.choice([0.0, 0.25, 0.5]),
        "group/all_correct_fraction": random.choice([0.0, 0.25]),
        "group/all_wrong_fraction": random.choice([0.0, 0.25]),
        "answers/commonest_fraction": random.uniform(0.05, 0.3),
        "answers/commonest_gold_fraction": 0.1,
        "response_length/mean": noisy(300 + step, 0.1),
        "response_length/truncated_fraction": random.choice([0.0, 0.0, 0.03, 0.06]),
        "text/repetition": 0.08 + 0.03 * math.sin(2 * step),
        "text/mixed_fraction": 0.03 * (step % 5 == 0),
        "actor/entropy": noisy(0.4 * 0.995**step, 0.1),
        "actor/ref_kl": noisy(0.001 * min(step, 60), 0.3) + (0.5 if random.random() < 0.03 else 0),
        "actor/grad_norm": noisy(0.4, 0.4)
        * (12 if random.random() < 0.3 and step % 20 == 7 else 1),  # one in a window
        "mismatch/k3": noisy(3e-4, 0.5),
        "audit/accepted": 10.0,
        "audit/rejected": random.choice([0.0, 0.0, 1.0]),
        "audit/correct_fraction": noisy(correct, 0.2),
        **{f"timing_s/{name}": seconds for name, seconds in phases.items()},
        "timing_s/record": 0.02,
        "timing_s/checkpoint": 1.0 if step % 20 == 1 else 0.0,
        "timing_s/step": sum(phases.values()) + (1.02 if step % 20 == 1 else 0.02),
        "perf/host_memory_gb": 4.0 + 0.4 * (1 - 0.9**step) + 0.05 * math.sin(3 * step),
        "perf/tokens_per_second": 12000 / sum(phases.values()),
    }
