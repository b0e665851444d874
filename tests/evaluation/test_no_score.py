"""`rlvr eval` whose judge is down: no score, the cause, exit code 1, and the samples are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_servers import Server, server
from run_helpers import rlvr

from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import TinyModel

pytestmark = pytest.mark.slow
__all__ = ["server"]  # a fixture, which pytest finds by its name
BENCH = """
defaults:
  - /verifier@verifier: judge
  - _self_
source: {path: "synthetic:addition", split: eval, chat: never, options: {digits: 1, size: 6}}
verifier: {base_url: "URL", model: m, retries: 0, wait_s: 1}
k: 2
max_tokens: 4
"""


@pytest.mark.long
def test_a_judge_that_is_down_gives_no_score_and_the_same_command_goes_on(
    tmp_path: Path, server: Server
) -> None:
    make_tiny(
        tmp_path / "model", TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=64), 0
    )
    bench, out = tmp_path / "judged.yaml", tmp_path / "out"
    command = ["eval", "--model", str(tmp_path / "model"), "--bench", str(bench), f"out={out}", "rollout=hf"]
    command += ["tracker.wandb=disabled", "lm_eval=true"]
    bench.write_text(BENCH.replace("URL", "http://127.0.0.1:9/v1"))
    done = rlvr(*command)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    assert (
        "100.0% of the samples have no verdict (crash: the judge at http://127.0.0.1:9/v1: ConnectError"
        in said
    )
    assert "there is no score" in said and "judged: no verdict, mostly crash: the judge" in said
    assert "0.0%" not in said.partition("judged: no verdict")[0].partition("bench")[2].partition("avg@")[2]
    stored = json.loads((out / "judged.json").read_text())
    assert not [name for name in stored["summary"] if "@" in name or name == "score"]
    assert stored["summary"]["crash_fraction"] == 1
    assert all("Connection refused" in cause for cause in stored["missing"])
    samples = [row["responses"] for row in stored["problems"]]
    bench.write_text(BENCH.replace("URL", server.url))
    again = rlvr(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    stored = json.loads((out / "judged.json").read_text())
    assert stored["summary"]["avg@2"] == 1 and [row["responses"] for row in stored["problems"]] == samples
    assert not list(out.glob("*.partial.*")) and len(server.bodies) == 12
