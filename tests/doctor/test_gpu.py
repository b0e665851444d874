"""What is said of drivers and compilers, which a machine without GPUs can have as well."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from rlvr_cli.doctor import gpu
from rlvr_cli.doctor.check_result import Status
from rlvr_cli.doctor.run_checks import ON_GPUS, ask


@pytest.mark.parametrize(
    ("version", "cuda", "status"),
    [
        ("580.65.06", "13.0", Status.ok),
        ("590.1", None, Status.ok),
        ("575.57.08", None, Status.failed),
        ("535.183.01", "12.4", Status.failed),  # a torch of one's own: vLLM's wheel does not load
        ("535.183.01", "13.0", Status.ok),  # NVIDIA's compatibility package
        ("[N/A]", None, Status.failed),
    ],
)
def test_drivers_for_the_cuda_of_the_wheels(version: str, cuda: str | None, status: Status) -> None:
    found = gpu.of_driver(version, cuda)
    assert (found.status, found.blocks) == (status, status is Status.failed)
    assert found.detail.startswith(f"{version}; vLLM's wheel is built for CUDA 13, which wants 580")
    assert ("driver 580 or newer" in found.fix) == found.blocks


def test_what_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.ask_driver("name") == []
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "$1"; echo " B "\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpu.ask_driver("name") == ["--query-gpu=name", "B"]


def test_a_compiler_with_headers() -> None:
    """As the doctor asks: in a process of its own."""
    [check] = [check for check in ON_GPUS if check.name == "compiler"]
    [found] = ask(check, gpus=0)
    assert found.status is Status.ok and found.detail.endswith("/Python.h")


def test_compilers_that_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    [found] = gpu.compiler()
    assert found.status is Status.failed and found.blocks and found.detail.startswith("/bin/false: ")
    monkeypatch.delenv("CC")
    with monkeypatch.context() as patched:
        patched.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
        [found] = gpu.compiler()
        assert found.detail == f"{tmp_path} has no Python.h" and found.fix.endswith("-dev") and found.blocks
    monkeypatch.setenv("PATH", str(tmp_path))
    [found] = gpu.compiler()
    assert found.status is Status.missing and found.fix == "apt install gcc" and found.blocks
