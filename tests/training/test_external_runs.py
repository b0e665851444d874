"""A whole run whose episodes are played by a program of the user's, which rewrites its history on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from run_helpers import rlvr, steps_of

from rlvr_cli.tracking.records import read_records

AGENT = """
import json, os, sys
import httpx

task = json.load(sys.stdin)
if task["id"] == "n0":
    os.kill(os.getpid(), 9)

def said(messages):
    body = {"model": os.environ["OPENAI_MODEL"], "messages": messages, "max_tokens": 2}
    answer = httpx.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body, timeout=300).json()
    return answer["choices"][0]["message"]

first = said(task["prompt"])
second = said([*task["prompt"], first, {"role": "user", "content": "and?"}])
third = said([{"role": "user", "content": "anew"}])
json.dump({"reward": float(task["seed"] % 2), "asked": 3}, open("reward.json", "w"))
"""
RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - environment@environments.agent: external
  - verifier@verifiers.earned: environment
  - rollout: hf
  - trainer: zero0
  - _self_
name: agents
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 96}}
data: {train: {path: PATH, environment: agent, verifiers: [earned], chat: never}}
environments: {agent: {command: [python, agent.py], score: file}}
batch: {prompts_per_step: 3, group_size: 4, tokens_per_microbatch: 200}
rollout: {max_prompt_tokens: 16, max_tokens: 32}
trainer: {steps: 1, lr: 1e-2, precision: fp32}
checkpoint: {every: 1}
eval: {at_start: false}
tracker: {wandb: disabled, tokens: true}
"""


@pytest.mark.slow
def test_a_program_that_forks_and_one_that_is_killed(tmp_path: Path) -> None:
    rows = [{"id": f"n{n}", "prompt": f"{n}?", "answer": f"{n}"} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "agents.yaml").write_text(RECIPE.replace("PATH", str(tmp_path / "rows.jsonl")))
    out = tmp_path / "run"
    done = rlvr("train", str(tmp_path / "agents.yaml"), f"out={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    [step] = steps_of(out)
    assert step["episode/token_violations"] == 0
    assert step["environment/agent/forks"] == 1.0
    assert step["environment/agent/asked"] == 3.0
    assert step["environment/agent/crashes"] == 4
    everything = list(read_records(out))
    failed = {row["failure"][1] for row in everything if "failure" in row}
    why = "ProgramFailed: the program was killed by SIGKILL, without a request that could be served"
    assert failed == {f"environment agent: {why}"}
    records = [row for row in everything if row.get("trainer_logprobs")]
    assert len(records) == 8
    for row in records:
        [earlier] = row["earlier"]
        assert 2 <= sum(earlier["sampled"]) <= 4
        theirs = np.array(row["logprobs"])[np.array(row["sampled"])]
        assert 1 <= len(theirs) <= 2
        assert np.abs(np.array(row["trainer_logprobs"])[-len(theirs) :] - theirs).max() < 1e-4
