"""W&B without a network: a real offline run, the choice of mode, and failures."""

import io
import sys
from pathlib import Path

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.schema import WandbMode
from rlvr_cli.tracking import Tracker, wandb_run

pytestmark = pytest.mark.slow

METRICS = {"reward/mean": 0.41, "actor/lr": 1e-4}


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return monkeypatch


def test_wandb_login_is_found_without_asking(no_login: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not wandb_run.logged_in()
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text("machine other.example login user password x\n")
    assert not wandb_run.logged_in()
    netrc.write_text("machine api.wandb.ai login user password x\n")
    assert wandb_run.logged_in()
    netrc.unlink()
    no_login.setenv("WANDB_API_KEY", "x")
    assert wandb_run.logged_in()


def test_wandb_online_without_login_is_a_users_mistake(no_login: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wandb login"):
        wandb_run.start(
            Settings(wandb=WandbMode.online), tmp_path, name="t", config={}, kind="rl", report=print
        )


def test_wandb_offline_resumes_under_the_same_id(no_login: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for step in (1, 2):
        terminal = io.StringIO()
        with Tracker(
            Settings(),
            out,
            terminal=terminal,
            total_steps=2,
            run_name="t",
            recipe={"mode": WandbMode.auto},
            kind="rl",
        ) as run:
            run.step(step, METRICS)
        assert "offline; upload with: wandb sync" in terminal.getvalue()
    name = (out / "wandb_id").read_text().strip()
    files = sorted((out / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    # Folders are named by the second: a quick second run may share the first one's.
    assert files and all(file.stat().st_size > 0 for file in files)


def test_wandb_that_cannot_be_reached_leaves_an_offline_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_S", 2.0)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    reports: list[str] = []
    run = wandb_run.start(
        Settings(wandb=WandbMode.online), tmp_path, name="t", config={}, kind="rl", report=reports.append
    )
    assert run is not None
    run.log({"a": 1.0}, 1)
    run.finish()
    assert [said.split(" (")[0].split(";")[0] for said in reports] == [
        "W&B does not start online",
        "W&B offline",
    ]
    [file] = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert file.stat().st_size > 0


def test_wandb_failure_is_an_event_and_training_goes_on(no_login: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("no space left")

    no_login.setitem(sys.modules, "wandb", type("wandb", (), {"init": broken, "Settings": dict}))
    terminal = io.StringIO()
    with Tracker(
        Settings(), tmp_path, terminal=terminal, total_steps=2, run_name="t", recipe={}, kind="rl"
    ) as run:
        run.step(1, METRICS)
    assert "W&B does not start offline (no space left)" in terminal.getvalue()

    class Broken:
        def log(self, *_: object) -> None:
            raise ConnectionError("gone")

    reports: list[str] = []
    half = wandb_run.WandbRun(Broken(), reports.append)
    half.log({"a": 1.0}, 1)
    half.log({"a": 1.0}, 2)
    half.finish()
    assert reports == ["W&B stopped (gone); metrics.jsonl goes on"]
