"""What a machine with NVIDIA GPUs needs besides them: a driver for the wheels, a compiler for Triton."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rlvr_cli.doctor.check_result import CheckResult, Status

CUDA = 13
"""Major version that the pinned vLLM is built for."""
LEAST_DRIVER = 580
"""NVIDIA's first driver branch for it."""


def driver() -> Iterator[CheckResult]:
    """The driver's version; no finding where nvidia-smi is not there to tell it."""
    import torch

    cuda = torch.version.cuda if torch.cuda.is_available() else None
    for version in ask_driver("driver_version")[:1]:
        yield of_driver(version, cuda)


def ask_driver(what: str) -> list[str]:
    """A property of each GPU the driver lists; none without nvidia-smi."""
    try:
        command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines()]


def of_driver(version: str, cuda: str | None) -> CheckResult:
    """`cuda`: version of the CUDA with which torch sees a GPU; None: it sees none."""
    runs = cuda is not None and int(cuda.split(".")[0]) >= CUDA  # also by NVIDIA's compatibility package
    new = version.split(".")[0].isdigit() and int(version.split(".")[0]) >= LEAST_DRIVER
    detail = f"{version}; vLLM's wheel is built for CUDA {CUDA}, which wants {LEAST_DRIVER} or newer"
    facts = {"driver": version, "least": LEAST_DRIVER}
    if new or runs:
        return CheckResult(name="driver", status=Status.ok, detail=detail, facts=facts)
    fix = f"install NVIDIA driver {LEAST_DRIVER} or newer; until then train without vLLM: rollout=hf"
    return CheckResult(name="driver", status=Status.failed, detail=detail, fix=fix, facts=facts)


def compiler() -> list[CheckResult]:
    """Compile against Python's headers, as Triton and torch.compile do while a run starts."""
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if found is None:
        return _broken(Status.missing, "no C compiler; Triton and torch.compile call one", "apt install gcc")
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").is_file():
        return _broken(Status.missing, f"{headers} has no Python.h", f"apt install {python}-dev")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "check.c"
        source.write_text("#include <Python.h>\nPyObject *check(void) { return PyLong_FromLong(1); }\n")
        words = ["-shared", "-fPIC", f"-I{headers}", "-o", f"{folder}/check.so", str(source)]
        try:
            command = [*found.split(), *words]
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            return _broken(Status.failed, f"{found}: {said[0]}", "apt install gcc libc6-dev, or set CC")
    detail = f"{found} compiles with {headers}/Python.h"
    return [CheckResult(name="compiler", status=Status.ok, detail=detail)]


def _broken(status: Status, detail: str, fix: str) -> list[CheckResult]:
    return [CheckResult(name="compiler", status=status, detail=detail, fix=fix)]
