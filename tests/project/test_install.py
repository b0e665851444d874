"""What the Makefile and `pip install .` promise, as far as a machine without other indexes can show it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from places import ROOT

TORCH = (ROOT / "requirements" / "torch-cpu.txt").read_text().strip()
VERSION = TORCH.partition("==")[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {name: (ROOT / "requirements" / f"{name}.lock").read_text() for name in ("cpu", "gpu")}


def index(folder: Path, version: str, origin: str) -> str:
    """A package index with one wheel of torch, which says where it is from; its address."""
    name = f"torch-{version}"
    files = {
        "torch.py": f"origin = {origin!r}\n",
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{name}.dist-info/RECORD"] = "\n".join([*rows, f"{name}.dist-info/RECORD,,"]) + "\n"
    home = folder / "torch"
    home.mkdir(parents=True)
    with ZipFile(home / f"{name}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    link = f"{name}-py3-none-any.whl"
    (home / "index.html").write_text(f'<a href="{link.replace("+", "%2B")}">{link}</a>')
    return folder.as_uri()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("install") / "venv"


def make_torch(venv: Path, configured: str, pytorch: str) -> subprocess.CompletedProcess[str]:
    """The Makefile's step for torch, with nothing configured but `configured` as the package index."""
    (venv / ".torch").unlink(missing_ok=True)
    for left in venv.glob("lib/python*/site-packages/torch*"):
        subprocess.run(["rm", "-r", str(left)], check=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return subprocess.run(
        [
            "make",
            f"VENV={venv}",
            f"PYTHON={sys.executable}",
            f"TORCH_CPU_INDEX={pytorch}",
            str(venv / ".torch"),
        ],
        cwd=ROOT,
        env=clean | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": configured},
        capture_output=True,
        text=True,
    )


def origin(venv: Path) -> str:
    code = "import torch; print(torch.origin)"
    return subprocess.run(
        [str(venv / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.slow
def test_torch_comes_from_the_configured_index_where_that_has_its_cpu_build(venv, tmp_path):
    configured = index(tmp_path / "configured", VERSION, "configured")
    done = make_torch(venv, configured, (tmp_path / "nowhere").as_uri())
    assert done.returncode == 0, done.stderr
    assert origin(venv) == "configured" and "PyTorch" not in done.stdout


@pytest.mark.slow
def test_torch_comes_from_pytorch_where_the_configured_index_lacks_its_cpu_build(venv, tmp_path):
    plain = index(tmp_path / "plain", VERSION.partition("+")[0], "plain")  # the CUDA build is no substitute
    done = make_torch(venv, plain, index(tmp_path / "pytorch", VERSION, "pytorch"))
    assert done.returncode == 0, done.stderr
    assert origin(venv) == "pytorch"
    assert f"{TORCH} is not on the configured package index; taking it from" in done.stdout


@pytest.mark.slow
def test_where_neither_has_it_make_says_so_and_leaves_nothing_that_looks_finished(venv, tmp_path):
    plain = index(tmp_path / "plain", VERSION.partition("+")[0], "plain")
    done = make_torch(venv, plain, (tmp_path / "nowhere").as_uri())
    assert done.returncode != 0 and TORCH in done.stderr
    assert not (venv / ".torch").exists() and not (venv / ".ready").exists()


def test_without_a_fitting_python_make_says_what_it_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "PYTHON=", f"VENV={tmp_path}/v", "setup"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("rlvr needs Python 3.11 or 3.12: make PYTHON=")
    assert not (tmp_path / "v").exists()


def test_only_torch_is_ever_taken_from_another_index() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    elsewhere = [line.strip() for line in lines if "--index-url" in line or "--extra-index-url" in line]
    assert elsewhere == ["$(BIN)/pip install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) -r $<; } \\"]
    assert len((ROOT / "requirements" / "torch-cpu.txt").read_text().splitlines()) == 1


def pins(lock: str) -> dict[str, str]:
    """Package -> version, names as the index writes them."""
    rows = [line for line in lock.splitlines() if line and not line.startswith("#")]
    found = {re.sub(r"[-_.]+", "-", row.partition("==")[0]).lower(): row.partition("==")[2] for row in rows}
    assert len(found) == len(rows) and all(found.values())
    return found


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_locks_are_what_the_project_asks_for(kind: str) -> None:
    extras = PROJECT["optional-dependencies"]
    found = pins(LOCKS[kind]) | ({"torch": VERSION} if kind == "cpu" else {})
    for line in [*PROJECT["dependencies"], *extras[kind], *extras["dev"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(found[wanted.name.lower()]), line


def test_what_is_not_vllm_is_the_same_in_both_locks() -> None:
    """A result on a CPU says something about a GPU only where they run the same libraries."""
    cpu, gpu = pins(LOCKS["cpu"]), pins(LOCKS["gpu"])
    for line in PROJECT["dependencies"]:
        name = Requirement(line).name.lower()
        if name != "torch":
            assert cpu[name] == gpu[name], name


WITHOUT_VLLM = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vllm":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "vllm" else find(name, package)
from rlvr_cli.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_vllm_verify_and_plan_work_and_training_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"response": "\\\\boxed{5}", "answer": "5"}\n')

    def rlvr(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_VLLM, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert rlvr("--help").returncode == 0
    assert "100.0%" in rlvr("verify", "cases.jsonl", "--verifier", "math").stdout
    assert "fits: peak" in rlvr("plan", "tiny_dapo", "model.path=builtin:tiny", "--gpu", "h100").stdout
    refused = rlvr("dapo", "tiny_dapo", "model.path=builtin:tiny")
    assert refused.returncode == 2
    assert "pip install '.[gpu]' in the checkout, or make setup in the checkout for CPUs" in refused.stderr
