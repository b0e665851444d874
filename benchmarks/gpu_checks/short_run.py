"""Stage 2: a short GRPO run by the command line, with ZeRO-3 and an engine that sleeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gpu_checks.findings import Findings

STEPS = 4
MISMATCH = 0.1
"""Most that sampled tokens' logprobs in bf16 may differ on average between engine and trainer."""
SIZES = {
    False: "hidden_size: 1024, layers: 8, heads: 16, kv_heads: 4",
    True: "hidden_size: 64, layers: 2, heads: 2, kv_heads: 1",
}


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    out = folder / "grpo"
    command = [sys.executable, "-m", "rlvr_cli", "grpo", "smoke", "rollout=vllm", f"out={out}"]
    command += [
        f"trainer.precision={'fp32' if findings.rehearsal else 'bf16'}",
        "trainer.zero_stage=3",
        f"trainer.steps={STEPS}",
        "trainer.ranks=1",
        "rollout.gpu_memory_utilization=0.3",
        "rollout.kv_cache_gb=0.25",
        f"model.tiny={{{SIZES[tiny]}, max_positions: 512}}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in lines(out / "metrics.jsonl")]
    gaps = [row["mismatch/mean_abs"] for row in rows if "timing_s/step" in row]
    if done.returncode or len(gaps) != STEPS:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        findings.check("a short GRPO run", False, f"exit code {done.returncode}: {words[-1]}")
        return
    said = f"{STEPS} steps with ZeRO-3, sampled logprobs off by {max(gaps):.1e} at most (limit {MISMATCH:g})"
    findings.check("a short GRPO run", max(gaps) <= MISMATCH, said, mismatch=max(gaps))


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
