"""Real parts on the CPU: one tiny model for the whole session, quiet and single-threaded."""

from __future__ import annotations

import gc
import logging
import os

# Before torch, vLLM or DeepSpeed are imported anywhere.
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from rlvr_cli.schema import TinyModel

LONGEST = (
    "test_learning",
    "test_compose",
    "test_python",
    "test_engine",
    "test_rollout",
    "test_doctor",
    "test_readme",
    "test_launch",
    "test_exactness",
    "test_universal",
    "test_runs",
    "test_restarts",
    "test_true_vocabulary",
    "test_pool",
    "test_models",
    "test_shared_runs",
    "test_preflight_runs",
    "test_servers",
    "test_planning",
    "test_nonfinite",
    "test_hostile",
    "test_report",
    "test_diagnosis_runs",
    "test_why_runs",
    "test_unjudged",
    "test_ahead_runs",
    "test_awkward_data",
    "test_kill",
    "test_vocabulary",
    "test_docs",
    "test_ifeval",
)
"""Files that take twenty seconds or more begin first: one that begins last keeps one core busy to the end."""

# pytest sets its handler of logs up anew for each phase of each test: it is off (pyproject.toml). With none,
# Python would print the warnings of libraries to stderr, which tests read.
logging.getLogger().addHandler(logging.NullHandler())
gc.disable()  # until all is collected: modules and thousands of tests, of which nothing is garbage


def pytest_collection_finish() -> None:
    """What is there stays to the end; each search for garbage would go over a million objects again."""
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    said = "share of each hypothesis test's examples to try, ten at least; make test-fast tries a quarter"
    parser.addoption("--examples", type=float, default=1.0, metavar="SHARE", help=said)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    fewer_examples(items, config.getoption("--examples"))
    for item in items:
        if item.get_closest_marker("long") or item.get_closest_marker("gpu"):
            item.add_marker("slow")  # so that `-m "not slow"` leaves it out too
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONGEST)))


def fewer_examples(items: list[pytest.Item], share: float) -> None:
    functions = {item.obj for item in items if isinstance(item, pytest.Function)}
    for test in functions if share < 1 else ():
        if hasattr(test, "hypothesis"):
            now = test._hypothesis_internal_use_settings  # a second @settings is refused
            examples = min(now.max_examples, max(10, int(share * now.max_examples)))
            test._hypothesis_internal_use_settings = settings(now, max_examples=examples)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of the builtin tiny model, seed 0."""
    from rlvr_cli.engine.tiny import make_tiny

    folder = tmp_path_factory.mktemp("model") / "tiny"
    make_tiny(folder, TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1), seed=0)
    return folder


@pytest.fixture(scope="session")
def tiny_moe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of the builtin mixture of experts, seed 0, whose routers are sure."""
    from safetensors.torch import load_file, save_file

    from rlvr_cli.engine.tiny import make_tiny

    folder = tmp_path_factory.mktemp("model") / "tiny_moe"
    make_tiny(folder, TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1), seed=0, moe=True)
    file = folder / "model.safetensors"
    weights = load_file(file)
    wider = {name: w * (20.0 if name.endswith("mlp.gate.weight") else 1.0) for name, w in weights.items()}
    save_file(wider, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def tiny_vision_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of the builtin model that sees, seed 0."""
    from rlvr_cli.engine.tiny_vision import make_tiny_vision

    folder = tmp_path_factory.mktemp("model") / "tiny_vision"
    make_tiny_vision(folder, TinyModel(layers=2), seed=0)
    return folder


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """launch() sets variables for good, as a process runs one recipe; tests run several."""
    root = str(Path(__file__).parents[1])
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.syspath_prepend(root)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def no_plugins_afterwards() -> Iterator[None]:
    """A recipe's plugins stay in use until another one is composed."""
    from rlvr_cli.compose import find_plugins

    yield
    find_plugins.load([], "", find_plugins.Places())
