"""Stage 3: two ranks with ZeRO-3, a real vocabulary and unequal lengths, against one rank with ZeRO-0.

Each with sequences of its own, and both with pieces of the same (`trainer.sequence_parallel`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from gpu_checks.findings import FAILED, Findings, off
from gpu_checks.numerics import trainer_of
from gpu_checks.shapes import batch, config, likelihood, write_model
from rlvr_cli.core import distributed
from rlvr_cli.core.rank_process import free_port, rank_environment
from rlvr_cli.engine import process_group
from rlvr_cli.schema import Precision

VOCABULARY = 152_064
LIMITS = {Precision.fp32: 1e-4, Precision.bf16: 0.03}
PATIENCE_S = 60.0
SHARED = ", shared rows"


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    """One process for ZeRO-0, then two for ZeRO-3; this one only compares."""
    shape = config("0.5B", tiny=tiny, num_hidden_layers=2, vocab_size=VOCABULARY)
    path = write_model(folder / "ranks", shape, torch.float32)
    patience = PATIENCE_S * (3 if tiny else 1)
    name = f"two ranks, ZeRO-3, vocabulary {VOCABULARY:,}, unequal lengths"
    one, two = (ranks(path, count=count, tiny=tiny, patience=patience) for count in (1, 2))
    if isinstance(one, str) or isinstance(two, str):
        findings.add(name, FAILED, str(one if isinstance(one, str) else two))
        return
    for precision, limit in LIMITS.items():
        for shared in ("", SHARED):
            kind = precision.value
            gaps = {key: off(two[kind + shared][key], one[kind][key]) for key in ("loss", "grad_norm")}
            said = ", ".join(f"{key} off {gap:.1e}" for key, gap in gaps.items())
            said += f" from ZeRO-0 on one rank (at most {limit:g})"
            findings.check(f"{name}, {kind}{shared}", max(gaps.values()) <= limit, said, **gaps)


def ranks(path: Path, *, count: int, tiny: bool, patience: float) -> dict[str, dict[str, float]] | str:
    """By precision, loss and gradient norm of an update by `count` ranks; or what went wrong.

    Of several also with rows that they share.
    """
    into, port = path / f"{count}.json", free_port()
    command = [sys.executable, __file__, str(path), str(int(tiny)), str(into)]
    root = Path(__file__).parents[2]
    paths = {"PYTHONPATH": f"{root}:{root / 'benchmarks'}"}
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | paths | rank_environment(number, count, port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        said = [process.communicate(timeout=patience)[1] for process in processes]
    except subprocess.TimeoutExpired:
        return f"{count} ranks have not finished within {patience:.0f} s"
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            return text.strip().splitlines()[-1] if text.strip() else f"exit code {process.returncode}"
    return json.loads(into.read_text())  # type: ignore[no-any-return]


def rank(path: Path, *, tiny: bool, into: Path) -> None:
    """One rank. The ranks' shares have several chunks of logits and one, whatever the chunks' size."""
    process_group.initialise()
    trained = [400, 5] if tiny else [3000, 5]
    lengths = [max(trained) + 10] * 2
    sample = batch(lengths, trained, VOCABULARY)
    stage = 3 if distributed.world_size() > 1 else 0
    found = {}
    for precision in LIMITS:
        for together in sorted({1, distributed.world_size()}):
            trainer = trainer_of(path, precision, stage, lengths[0], together)
            kind = precision.value + (SHARED if together > 1 else "")
            found[kind] = trainer.update(sample, likelihood, lr=0.0)
    if distributed.rank() == 0:
        into.write_text(json.dumps(found))


if __name__ == "__main__":
    rank(Path(sys.argv[1]), tiny=sys.argv[2] == "1", into=Path(sys.argv[3]))
