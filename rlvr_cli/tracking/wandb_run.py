"""Weights & Biases: the same metrics, online with a login and offline without one."""

from __future__ import annotations

import netrc
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.schema import WandbMode
from rlvr_cli.tracking.journal import jsonable

INIT_TIMEOUT_S = 30.0
"""How long to wait for a server before the run is kept offline."""


def logged_in() -> bool:
    """Whether W&B would find a key without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = [os.environ.get("NETRC", ""), "~/.netrc", "~/_netrc"]
    files = [Path(name).expanduser() for name in candidates if name]
    for file in files:
        if file.is_file():
            try:
                # hosts, not authenticators(): that one falls back to the file's `default` entry.
                return host in netrc.netrc(file).hosts
            except netrc.NetrcParseError:
                return False
    return False


def _mode(chosen: WandbMode) -> str:
    """online, offline or disabled; auto follows W&B's own WANDB_MODE, then the login."""
    if chosen is WandbMode.online and not logged_in():
        raise UserError(
            "tracker.wandb=online but there is no W&B login: run `wandb login` or set WANDB_API_KEY, "
            "or choose tracker.wandb=offline"
        )
    if chosen is not WandbMode.auto:
        return chosen.value
    named = os.environ.get("WANDB_MODE", "")
    if named in ("offline", "disabled"):
        return named
    return "online" if logged_in() else "offline"


def _run_id(out: Path) -> str:
    """The id kept in the run directory, so that a resumed run continues its curves."""
    path = out / "wandb_id"
    if not path.exists():
        write_atomically(path, secrets.token_hex(4) + "\n")
    return path.read_text().strip()


class WandbRun:
    """A W&B run whose failures are reported once and never stop the training."""

    def __init__(self, run: Any, report: Callable[[str], None]) -> None:
        self._run = run
        self._report = report

    def log(self, metrics: dict[str, float], step: int) -> None:
        # `step` is a metric of its own: W&B's built-in counter silently ignores the steps that a
        # run resumed from an earlier checkpoint does again.
        self._guard(lambda run: run.log({"step": step, **metrics}))

    def summary(self, values: dict[str, Any]) -> None:
        self._guard(lambda run: run.summary.update(values))

    def finish(self, failed: bool = False) -> None:
        self._guard(lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def _guard(self, act: Callable[[Any], object]) -> None:
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:  # a foreign service; metrics.jsonl has everything
            self._run = None
            self._report(f"W&B stopped ({error}); metrics.jsonl goes on")


def _init(settings: Settings, out: Path, mode: str, name: str, config: dict[str, Any], kind: str) -> Any:
    os.environ["WANDB_SILENT"] = "true"  # read at import, before any Settings object exists
    import wandb

    run = wandb.init(
        project=settings.project,
        entity=settings.entity,
        tags=settings.tags,
        job_type=kind,
        name=name,
        id=_run_id(out),
        resume="allow" if mode == "online" else None,
        dir=str(out),
        mode=mode,  # type: ignore[arg-type]
        config=jsonable(config),
        # disable_git: by default W&B uploads the uncommitted changes of the current folder.
        settings=wandb.Settings(
            console="off", silent=True, init_timeout=INIT_TIMEOUT_S, save_code=False, disable_git=True
        ),
    )
    run.define_metric("*", step_metric="step")
    return run


def _forget() -> None:
    """End W&B's service, which would refuse the id of a run that it failed to start."""
    import wandb

    with suppress(Exception):
        wandb.teardown()


def start(
    settings: Settings,
    out: Path,
    *,
    name: str,
    config: dict[str, Any],
    kind: str,
    report: Callable[[str], None],
) -> WandbRun | None:
    """Start or continue the W&B run of a run directory; None when W&B is disabled or fails."""
    mode = _mode(settings.wandb)
    if mode == "disabled":
        return None
    for attempt in ("online", "offline")[mode == "offline" :]:
        try:
            run = _init(settings, out, attempt, name, config, kind)
        except Exception as error:  # no network, refused key, full disk, ...: not ours to stop for
            report(f"W&B does not start {attempt} ({' '.join(str(error).split())})")
            _forget()
            continue
        upload = f"offline; upload with: wandb sync {Path(run.settings.sync_dir)}"
        report(f"W&B {run.url if attempt == 'online' else upload}")
        return WandbRun(run, report)
    return None
