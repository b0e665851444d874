"""Hydra's launchers start the runs and say what became of each; a job out of time leaves a checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from run_helpers import SFT_RECIPE, rlvr, steps_of

from rlvr_cli.compose import launchers

LOSING = """
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

class Losing(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        self.task = task_function

    def launch(self, job_overrides, initial_job_idx):
        [[recipe], _] = job_overrides
        self.task(OmegaConf.create({"recipe": recipe.partition("=")[2].strip('"')}))
        raise RuntimeError("Job 7 has not produced any output (state: TIMEOUT)\\nError stream:\\nlong")
"""


def test_a_launcher_that_loses_a_job_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit does where a job was killed: it brings no results at all."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "losing.py").write_text(LOSING)
    monkeypatch.syspath_prepend(tmp_path)
    Plugins.instance().register(import_module("hydra_plugins.losing").Losing)
    target = {"_target_": "hydra_plugins.losing.Losing"}
    ConfigStore.instance().store(group="hydra/launcher", name="losing", node=target, provider="test")
    seen: list[str] = []
    recipes = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    with pytest.raises(launchers.LauncherFailed) as lost:
        launchers.start("losing", recipes, [], tmp_path / "own", lambda config: seen.append(config.recipe))
    assert seen == [str(recipes[0])]
    assert str(lost.value) == "Job 7 has not produced any output (state: TIMEOUT)"


def states(folder: Path) -> dict[str, tuple[str, str | None]]:
    rows = json.loads((folder / "sweep.json").read_text())["runs"]
    return {row["name"]: (row["state"], row["cause"]) for row in rows}


SUBMITIT = pytest.param(
    "submitit_local",
    marks=pytest.mark.skipif(
        find_spec("submitit") is None, reason="hydra-submitit-launcher is not installed"
    ),
)


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", SUBMITIT])
def test_a_launcher_of_hydras_starts_the_runs(launcher: str, tmp_path: Path) -> None:
    """One of the runs cannot start: its place is taken by a file. The cause comes back from its job."""
    (tmp_path / "mine.yaml").write_text(SFT_RECIPE)
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "seed1").write_text("in the way\n")
    words = [str(tmp_path / "mine.yaml"), "seed=0,1", "trainer.steps=2", f"out={folder}"]
    done = rlvr("sweep", *words, "--launcher", launcher)
    assert done.returncode == 1, done.stdout + done.stderr
    found = states(folder)
    assert found["seed0"] == ("finished", None) and found["seed1"][0] == "failed"
    assert "seed1 cannot be written: File exists" in str(found["seed1"][1])
    assert f"seed1: failed: {found['seed1'][1]}" in done.stdout and "Traceback" not in done.stderr
    (folder / "seed1").unlink()
    again = rlvr("sweep", *words, "--launcher", launcher)
    assert again.returncode == 0 and f"next: rlvr report {folder}" in again.stderr, again.stderr
    assert states(folder) == {"seed0": ("finished", None), "seed1": ("finished", None)}


TASK = """
import signal, sys
from types import SimpleNamespace
from rlvr_cli.sweep.task import train
signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(3))  # as submitit where a job's time is up
train(SimpleNamespace(recipe=sys.argv[1]))
"""


@pytest.mark.long
def test_a_job_whose_time_is_up_leaves_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SFT_RECIPE + f"out: {tmp_path / 'run'}\n")
    recipe = tmp_path / "run" / "recipe.yaml"
    assert rlvr("train", str(tmp_path / "mine.yaml"), "trainer.steps=1").returncode == 0
    resolved = recipe.read_text().replace("steps: 1\n", "steps: 100000\n")
    (tmp_path / "long.yaml").write_text(resolved)
    job = subprocess.Popen([sys.executable, "-c", TASK, str(tmp_path / "long.yaml")], stdout=subprocess.PIPE)
    end = time.monotonic() + 120
    while len(steps_of(tmp_path / "run")) < 5:
        assert job.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGUSR2)
    assert job.wait(60) == 3
    last = steps_of(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step_{last}").is_dir() and last >= 5
