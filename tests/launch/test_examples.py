"""The scripts in examples/, followed as they stand: on this machine, which is all the nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fake_slurm
import psutil
import pytest
import yaml
from places import ROOT
from run_helpers import RECIPE, steps_of

from rlvr_cli import compose
from rlvr_cli.core import lost_machines
from rlvr_cli.core.rank_process import free_port
from rlvr_cli.schema import Placement, Recipe

EXAMPLES = ROOT / "examples"
NODE = EXAMPLES / "torchrun" / "node.sh"
BATCH = [EXAMPLES / "slurm" / "train.sbatch", EXAMPLES / "slurm" / "servers.sbatch"]
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.parametrize("script", [NODE, *BATCH], ids=lambda path: path.name)
def test_a_script_is_one(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.access(script, os.X_OK)


# --- Slurm -----------------------------------------------------------------------------------


def directives(script: Path) -> dict[str, str]:
    """`#SBATCH` lines."""
    lines = [line.split() for line in script.read_text().splitlines()]
    words = [line[1].removeprefix("--").partition("=") for line in lines if line[:1] == ["#SBATCH"]]
    return {name: value for name, _, value in words}


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_a_job_asks_for_what_the_run_needs(script: Path) -> None:
    asked = directives(script)
    assert "requeue" in asked and asked["open-mode"] == "append"
    name, _, seconds = asked["signal"].partition("@")
    assert name == "TERM" and int(seconds) >= 300  # to the ranks (not B:), which then save
    gpus = int(asked.get("gpus-per-task", 0)) or int(asked["gpus-per-node"]) / int(asked["ntasks-per-node"])
    assert gpus == 1


STUB = """#!/usr/bin/env bash
case "$*" in
*"bash -c"*) exec sleep 60 ;;
esac
printf '%s\\n' "$@" > "$FAKE_SLURM/ranks"
[ -n "$NEW" ] && echo "$NEW" > "$OUT/checkpoints/latest"
exit "$CODE"
"""


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("code", "new", "requeued"),
    [(0, "step_9", False), (75, "step_9", True), (137, "step_9", True), (1, "", False), (2, "", False)],
    ids=["finished", "stopped", "failed", "failed at once", "mistaken"],
)
def test_a_job_is_queued_again_where_it_has_come_further(
    script: Path, code: int, new: str, requeued: bool, tmp_path: Path
) -> None:
    tools, out = tmp_path / "bin", tmp_path / "my run"
    fake_slurm.install(tools)
    (tools / "srun").write_text(STUB)
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "latest").write_text("step_4\n")
    given = {"RECIPE": "tiny_dapo", "OUT": str(out), "TRAIN_NODES": "1", "GPUS": "2", "TP": "1"}
    given |= {"CODE": str(code), "NEW": new, "PATH": f"{tools}:{PATH}"}
    given |= fake_slurm.variables(4711, tmp_path, ["n1", "n2"])
    done = subprocess.run(
        ["bash", str(script), "trainer.lr=1e-5"], env=os.environ | given, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    asked = (tmp_path / "scontrol").read_text() if (tmp_path / "scontrol").exists() else ""
    assert asked == ("requeue 4711\n" if requeued else "")
    otherwise = "queued again, to go on from step_9" if new else "without a new checkpoint"
    assert {0: "finished", 2: "a mistake"}.get(code, otherwise) in done.stdout
    words = (tmp_path / "ranks").read_text().splitlines()
    assert "--kill-on-bad-exit=1" in words
    train = words.index("rlvr")
    assert words[train : train + 4] == ["rlvr", "train", "tiny_dapo", f"out={out}"]
    if code:
        return
    recipe = compose.load("tiny_dapo", words[train + 4 :])
    assert isinstance(recipe, Recipe) and recipe.trainer.lr == 1e-5
    if script.name == "servers.sbatch":
        assert recipe.rollout.placement is Placement.servers
        assert recipe.rollout.servers.urls == ["http://n2:8710", "http://n2:8711"]


# --- Kubernetes ------------------------------------------------------------------------------


def test_the_pods_of_a_job_are_its_machines() -> None:
    found = yaml.safe_load_all((EXAMPLES / "kubernetes" / "train.yaml").read_text())
    parts: dict[str, Any] = {part["kind"]: part for part in found}
    service, job = parts["Service"], parts["Job"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(values["NNODES"])
    named, head = parts["Job"]["metadata"]["name"], service["metadata"]["name"]
    assert pod["subdomain"] == head and values["HEAD"] == f"{named}-0.{head}"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": named}
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert int(values["RANKS"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert pod["terminationGracePeriodSeconds"] > int(values["SAVE_S"])
    assert pod["restartPolicy"] == "Never"  # a policy on failures needs it
    on_exit = job["podFailurePolicy"]["rules"][0]
    assert on_exit["onExitCodes"]["containerName"] == container["name"] and on_exit["action"] == "FailJob"
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert set(mounts) == {each["name"] for each in pod["volumes"]}
    assert values["OUT"].startswith(mounts["shared"])
    assert f"{mounts['job']}/node.sh" in container["command"][-1]
    assert parts["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    asked = NODE.read_text()
    assert all(f"${name}" in asked or f"${{{name}" in asked for name in ("NODE_RANK", "LOCAL_ADDR", "SAVE_S"))


# --- torchrun --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_mistake_is_told_before_torchrun_starts(tmp_path: Path) -> None:
    given = {"RECIPE": "tiny_dapo", "OUT": str(tmp_path / "run"), "HEAD": "localhost", "NNODES": "2"}
    words = ["bash", str(NODE), "trainer.lrr=1"]
    done = subprocess.run(words, env=os.environ | given | {"PATH": PATH}, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "trainer.lrr" in done.stderr and len(done.stderr.splitlines()) == 1


class Node:
    """One of two machines that follow node.sh: its torchrun, the script's own process, and its rank."""

    def __init__(self, number: int, port: int, folder: Path, more: dict[str, str], *words: str) -> None:
        given = {"HEAD": "127.0.0.1", "LOCAL_ADDR": "127.0.0.1", "PORT": str(port), "NODE_RANK": str(number)}
        given |= {"NNODES": "2", "RANKS": "1", "RECIPE": str(folder / "exact.yaml")}
        given |= {"OUT": str(folder / "run")}
        self.log = folder / f"node{number}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["bash", str(NODE), *words],
                env=os.environ | given | more | {"PATH": PATH},
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def send(self, number: int) -> None:
        """To its torchrun and its rank, torchrun first."""
        with suppress(psutil.NoSuchProcess):  # it has ended
            launcher = psutil.Process(self.process.pid)
            for process in [launcher, *launcher.children(recursive=True)]:
                process.send_signal(number)

    def ended(self, seconds: float) -> int:
        return self.process.wait(seconds)


def both(folder: Path, more: dict[str, str], *words: str) -> list[Node]:
    port = free_port()
    return [Node(number, port, folder, more, *words) for number in (0, 1)]


def wait_for(out: Path, steps: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    while not ((out / "metrics.jsonl").exists() and len(steps_of(out)) >= steps):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exact.yaml").write_text(RECIPE)
    return tmp_path


MANY = ("trainer.steps=400", "checkpoint.every=1", "checkpoint.keep=2")


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("lost", "how"), [(1, signal.SIGKILL), (0, signal.SIGSTOP)], ids=["killed", "frozen"]
)
def test_the_loss_of_a_machine_ends_the_others_and_all_start_again(
    lost: int, how: signal.Signals, folder: Path
) -> None:
    """Killed: torchrun and its rank at once. Frozen: HEAD itself closes nothing, and answers nothing."""
    out = folder / "run"
    nodes = both(folder, {}, *MANY)
    try:
        lose(nodes, lost, how, out)
    finally:
        nodes[lost].send(signal.SIGKILL)
    nodes[lost].ended(60)
    done = len(steps_of(out))
    again = both(folder, {}, f"trainer.steps={done + 2}", *MANY[1:])
    assert [node.ended(300) for node in again] == [0, 0], again[0].log.read_text()[-3000:]
    assert [row["step"] for row in steps_of(out)] == list(range(1, done + 3))
    text = again[0].log.read_text() + again[1].log.read_text()
    assert f"continuing {out}" in text and (out / "final").exists()


def lose(nodes: list[Node], lost: int, how: signal.Signals, out: Path) -> None:
    """In the middle of the run; returns when the other one has ended."""
    wait_for(out, 3, nodes[0].process)
    nodes[lost].send(how)
    began, left = time.monotonic(), nodes[1 - lost]
    limit = lost_machines.LOST_S + lost_machines.BEAT_S + 60  # and the end of torchrun
    assert left.ended(limit) not in (0, 75)
    print(f"{how.name}: the other one has ended after {time.monotonic() - began:.0f} s")
    if how is signal.SIGSTOP:
        assert "no sign of life from rank " in left.log.read_text()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_machine_that_is_told_to_stop_saves_with_the_others(folder: Path) -> None:
    """As Kubernetes does before it takes a machine away; and without c10d."""
    out = folder / "run"
    more = {"RDZV": "static"}
    nodes = both(folder, more, *MANY[:1])
    wait_for(out, 2, nodes[0].process)
    nodes[1].process.send_signal(signal.SIGTERM)
    assert all(node.ended(120) not in (0, 2) for node in nodes)
    done = len(steps_of(out))
    assert (out / "checkpoints" / "latest").read_text() == f"step_{done}\n"
    again = both(folder, more, f"trainer.steps={done + 1}")
    assert [node.ended(300) for node in again] == [0, 0], again[0].log.read_text()[-3000:]
    assert [row["step"] for row in steps_of(out)] == list(range(1, done + 2))


def batch(script: Path, folder: Path, more: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    """The job, whose two nodes are this machine."""
    tools = folder / "bin"
    if not tools.exists():
        fake_slurm.install(tools)
    given = {"RECIPE": str(folder / "exact.yaml"), "OUT": str(folder / "run"), "PATH": f"{tools}:{PATH}"}
    given |= fake_slurm.variables(4711, folder, ["localhost", "localhost"]) | more
    return subprocess.Popen(["bash", str(script), *words], env=os.environ | given, start_new_session=True)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_batch_job_that_is_told_to_stop_is_queued_again_and_goes_on(folder: Path) -> None:
    out = folder / "run"
    job = batch(BATCH[0], folder, {}, "trainer.steps=400")
    wait_for(out, 2, job)
    for number in (folder / "tasks0").read_text().split():  # what --signal=TERM@600 does
        os.kill(int(number), signal.SIGTERM)
    assert job.wait(120) == 75
    assert (folder / "scontrol").read_text() == "requeue 4711\n"
    done = len(steps_of(out))
    assert batch(BATCH[0], folder, {}, f"trainer.steps={done + 1}").wait(300) == 0
    assert [row["step"] for row in steps_of(out)] == list(range(1, done + 2))
    assert (folder / "scontrol").read_text() == "requeue 4711\n" and (out / "final").exists()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ranks_and_servers_on_nodes_of_their_own(folder: Path) -> None:
    recipe = RECIPE.replace("rollout: hf", "rollout: vllm").replace("steps: 3", "steps: 2")
    (folder / "exact.yaml").write_text(
        recipe.replace("max_tokens: 12}", "max_tokens: 12, kv_cache_gb: 0.25}")
    )
    more = {"TRAIN_NODES": "1", "GPUS": "1", "PORT": str(free_port())}
    job = batch(BATCH[1], folder, more, "preflight.enabled=false")
    assert job.wait(600) == 0
    assert len(steps_of(folder / "run")) == 2 and (folder / "run" / "final").exists()
    recorded = compose.read(folder / "run" / "recipe.yaml")
    assert isinstance(recorded, Recipe) and recorded.rollout.placement is Placement.servers
    [server] = (folder / "tasks1").read_text().split()
    assert not psutil.pid_exists(int(server))  # it ends with the run
