"""Hydra's launchers (submitit, joblib, ray, ...) as a way to start what is composed already.

A launcher gets a small application of one key, `recipe`: the resolved recipe of a run. What it makes of it
(a Slurm job, a process) is its own affair, and set with `hydra.launcher.*`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.initialize import initialize
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from rlvr_cli.core.errors import UserError, hint, told

PACKAGES = {
    "submitit_slurm": "submitit",
    "submitit_local": "submitit",
    "joblib": "joblib",
    "ray": "ray",
    "rq": "rq",
}
"""Launcher -> the part of its package's name: hydra-<part>-launcher."""


class LauncherFailed(RuntimeError):
    """A launcher has lost a job, or given up: what became of the others is not known here."""


def launchers() -> list[str]:
    """Names of those that are installed."""
    Plugins.instance()  # a launcher's module registers it
    found = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    return sorted(name.removesuffix(".yaml") for name in found)


def check(name: str) -> None:
    """UserError where there is no such launcher: how to install it, or which there are."""
    if name in (known := launchers()):
        return
    part = PACKAGES.get(name)
    advice = f"; pip install hydra-{part}-launcher" if part else hint(name, known)
    raise UserError(f"--launcher: '{name}' is not installed{advice}")


def start(
    name: str,
    recipes: Sequence[Path],
    settings: Sequence[str],
    folder: Path,
    task: Callable[[DictConfig], Any],
) -> list[str | None]:
    """Have `task` called with {recipe: path} for each; returns what went wrong with each, None: nothing.

    `settings`: overrides of `hydra.launcher`; `folder`: for the launcher's own files. LauncherFailed where it
    brings no results.
    """
    ConfigStore.instance().store(name="_sweep_", node={"recipe": None})
    chosen = [f"hydra/launcher={name}", f"hydra.sweep.dir={_text(folder)}", *settings]
    with initialize(version_base="1.3", config_path=None, job_name="rlvr"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            config = hydra.compose_config("_sweep_", chosen, run_mode=RunMode.MULTIRUN, from_shell=False)
            context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
            launcher = Plugins.instance().instantiate_launcher(context, task, config)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"--launcher {name}: {str(error).splitlines()[0]}") from error
        assert isinstance(launcher, Launcher)
        jobs = [[f"recipe={_text(path)}"] for path in recipes]
        try:
            returned = launcher.launch(jobs, initial_job_idx=0)
        except Exception as error:  # each launcher has its own
            raise LauncherFailed(_first_line(error)) from error
    return [_problem(each) for each in returned]


def _problem(returned: Any) -> str | None:
    try:
        with redirect_stderr(StringIO()):  # Hydra names the job's overrides there; who asks has its name
            code = returned.return_value
    except Exception as error:  # whatever the job died of, in a process that may be gone
        return told(error) or type(error).__name__
    return None if code in (0, None) else f"exit code {code}"


def _first_line(error: Exception) -> str:
    """Without the output of a job, which submitit puts below it."""
    return told(next(iter(str(error).splitlines()), "")) or type(error).__name__


def _text(path: Path) -> str:
    escaped = str(path.absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
