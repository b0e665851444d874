"""Who may import whom, and where heavy libraries may be imported at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "rlvr_cli"
PARTS = ("algorithms", "rollout", "engine", "verifiers", "data", "tracking", "diagnosis")
"""Siblings that do not know each other; only the pages above them know two."""
BELOW_ALL = {
    "types",
    "schema",
    "errors",
    "files",
    "gym",
    "heartbeat",
    "results",
    "scores",
    "stages",
    "trees",
    "usage",
    "findings",
    "manifest",
    "changes",
    "place",
}
"""What every module may import."""
FRONT = {
    "cli",
    "compare",
    "eval_cli",
    "compose",
    "launch",
    "joined",
    "processes",
    "supervise",
    "watchdog",
    "rank",
    "rundir",
    "prerequisites",
    "plan",
    "plan_cli",
    "preflight_cli",
    "report_cli",
    "shipped",
    "completion",
    "doctor",
    "verify_cli",
    "terminal",
}
"""Everything up to the start of a rank; it names the pages by strings only."""
ONLY_IN = {
    "hydra": ("compose",),
    "vllm": ("rollout",),
    "deepspeed": ("engine",),
    "wandb": ("tracking",),
    "datasets": ("data",),
    "peft": ("engine",),
    "rich": ("tracking",),
    "math_verify": ("verifiers",),
    "reasoning_gym": ("gym",),
    "langdetect": ("verifiers",),
}
NO_TORCH = (
    *FRONT,
    "verifiers",
    "diagnosis",
    "gym",
    "schema",
    "stages",
    "errors",
    "files",
    "heartbeat",
    "manifest",
    "changes",
    "results",
    "scores",
    "trees",
    "usage",
    "findings",
    "place",
    "__main__",
)
LAZY_TORCH = {"verifiers/reward_model.py"}
"""May import torch inside functions: they run in a worker of their own."""


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "conf" not in path.parts)


def part_of(path: Path) -> str:
    """`engine` for rlvr_cli/engine/trainer.py, `cli` for rlvr_cli/cli.py."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path, at_run_time_only: bool = False) -> Iterator[str]:
    """Full names a module imports anywhere in its text; optionally not those for type checkers."""
    tree = ast.parse(path.read_text())
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if at_run_time_only and node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """Parts of this package that a module imports."""
    names = (name.split(".") for name in imported(path) if name.split(".")[0] == "rlvr_cli")
    return {name[1] for name in names if len(name) > 1 and name[1] != "__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_direction(path: Path) -> None:
    part, known = part_of(path), ours(path)
    if part in BELOW_ALL:
        assert known <= BELOW_ALL
    elif part in PARTS:
        assert known <= BELOW_ALL | {part}
    elif part in FRONT:
        assert known <= BELOW_ALL | FRONT | {"algorithms", "verifiers"}
        assert not known & {"algorithms", "verifiers"} or part == "compose"
        assert "cli" not in known
    elif part != "__main__":
        assert not known & (FRONT - {"plan"})  # derived numbers are also a run's header


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries(path: Path) -> None:
    part = part_of(path)
    tops = {name.split(".")[0] for name in imported(path, at_run_time_only=True)}
    for library, homes in ONLY_IN.items():
        assert library not in tops or part in homes, f"{library} belongs in {homes}"
    if path.relative_to(ROOT).as_posix() in LAZY_TORCH:
        top_level = {ast.unparse(node) for node in ast.parse(path.read_text()).body}
        assert not any(line.startswith(("import torch", "from torch")) for line in top_level)
    else:
        assert part not in NO_TORCH or "torch" not in tops


def test_front_modules_are_really_there() -> None:
    names = {part_of(path) for path in modules()}
    assert names >= FRONT | BELOW_ALL | set(PARTS)
