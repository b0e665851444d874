"""The README's own words: its commands for somebody's own data, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from places import ROOT

from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import TinyModel

README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_your_own_data_in_five_minutes(tmp_path: Path) -> None:
    """A jsonl of 200 rows like the one that is shown, and a tiny model, which learns nothing in so short a
    time."""
    [row] = re.findall(r"```json\n(.*)\n```", README)
    shown, rng = json.loads(row), Random(0)
    prompt, answer = shown
    rows = [(rng.randint(10, 99), rng.randint(10, 99)) for _ in range(200)]
    lines = [json.dumps({prompt: f"{a}+{b}=", answer: str(a + b)}) for a, b in rows]
    (tmp_path / "problems.jsonl").write_text("\n".join([row, *lines]) + "\n")
    make_tiny(tmp_path / "my_model", TinyModel(hidden_size=64, layers=2), 0)
    [commands] = re.findall(r"<!-- test: own data -->\n```sh\n(.*?)```", README, re.DOTALL)
    here = tmp_path / "bin"
    here.mkdir()
    (here / "rlvr").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m rlvr_cli "$@"\n')
    (here / "rlvr").chmod(0o755)
    paths = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env=os.environ | paths | {"WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "it accepts 200 of 200 of them" in done.stdout  # so many are asked
    run = tmp_path / "runs" / "mine"
    for file in ("final/config.json", "curves.png", "report.html", "eval/problems.json", "recipe.yaml"):
        assert (run / file).is_file(), file
    result = json.loads((run / "eval" / "problems.json").read_text())
    trained = {
        json.loads(line)["problem"]
        for file in (run / "rollouts").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    }
    held = {each["id"] for each in result["problems"]}
    assert held and trained and not held & trained
