"""`rlvr eval` with a verifier of a plugin and one of a file, and the same samples judged anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from own_code import VERIFIER
from run_helpers import rlvr

BENCH = """\
source: {{path: "synthetic:addition", split: eval, chat: never, options: {{size: 8}}}}
verifier: {{{}}}
k: 2
max_tokens: 6
"""
REWARD = """\
from utils import ONE

def compute_score(solution_str, ground_truth):
    return {"score": ONE * len(solution_str), "acc": True}
"""


@pytest.mark.slow
def test_a_plugin_and_a_file_judge_and_judge_anew(tmp_path: Path, tiny_path: Path) -> None:
    files = {
        "loud.py": VERIFIER,
        "reward.py": REWARD,
        "utils.py": "ONE = 1.0\n",
        "shout.yaml": BENCH.format("name: shout"),
        "length.yaml": BENCH.format(f"name: python, path: {tmp_path / 'reward.py'}"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    benches = f"{tmp_path / 'shout.yaml'},{tmp_path / 'length.yaml'}"
    words = ["eval", "--model", str(tiny_path), "--bench", benches, f"plugins=[{tmp_path / 'loud.py'}]"]
    small = ["rollout=hf", "rollout.max_num_seqs=8", "verification.workers=1"]
    first = rlvr(*words, *small, f"out={tmp_path / 'results'}")
    assert first.returncode == 0, first.stderr
    stored = {
        name: json.loads((tmp_path / "results" / f"{name}.json").read_text()) for name in ("shout", "length")
    }
    keys = {name: [row["key"] for row in result["code"]] for name, result in stored.items()}
    assert keys == {"shout": ["plugins.loud"], "length": ["verifier.path", "verifier.path/utils.py"]}
    assert stored["length"]["summary"]["avg@2"] == 1.0

    (tmp_path / "utils.py").write_text("ONE = 'no number'\n")
    (tmp_path / "loud.py").unlink()
    moved = (tmp_path / "results").rename(tmp_path / "moved")
    again = rlvr("eval", "--from", str(moved), "verification.workers=1")
    assert again.returncode == 0, again.stderr
    for name, result in stored.items():
        anew = json.loads((moved / "rescored" / f"{name}.json").read_text())
        assert anew["summary"] == result["summary"] and anew["problems"] == result["problems"]
        assert [row["sha256"] for row in anew["code"]] == [row["sha256"] for row in result["code"]]
        assert [row["path"] for row in anew["code"]] == [row["path"] for row in result["code"]]
    compared = rlvr("eval", "compare", str(moved / "length.json"), str(moved / "rescored" / "length.json"))
    assert compared.returncode == 0, compared.stderr
