"""What findings mean for training here, and how they are shown; no check is run."""

from __future__ import annotations

import json

import pytest

from rlvr_cli.commands.doctor import show
from rlvr_cli.commands.main import main
from rlvr_cli.doctor.check_result import CheckResult, Status
from rlvr_cli.doctor.run_checks import collectives


def test_ranks_follow_the_gpus() -> None:
    assert [(c.name, c.ranks, c.needed) for c in collectives(0)] == [("gloo", 2, True)]
    assert [(c.name, c.ranks, c.needed) for c in collectives(8)] == [("gloo", 2, False), ("nccl", 8, True)]


def test_lines() -> None:
    finding = CheckResult(
        name="x", status=Status.missing, detail="gone", fix="do it", needed=False, log=["a", "b"]
    )
    assert [line.split() for line in show(finding).splitlines()] == [
        ["x", "missing", "(optional)", "gone"],
        ["log:", "a"],
        ["log:", "b"],
        ["fix:", "do", "it"],
    ]


@pytest.mark.parametrize(
    ("status", "needed", "ready"),
    [
        (Status.ok, True, True),
        (Status.missing, True, False),
        (Status.failed, True, False),
        (Status.skipped, True, True),
        (Status.missing, False, True),
        (Status.failed, False, True),
    ],
)
def test_what_is_needed_and_not_there_or_broken_blocks_training(
    status: Status,
    needed: bool,
    ready: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        CheckResult(name="machine", status=Status.ok, detail="fine"),
        CheckResult(name="torch", status=status, detail="not installed", needed=needed),
    ]
    monkeypatch.setattr("rlvr_cli.commands.doctor.examine", lambda skip_vllm: iter(found))
    assert main(["doctor"]) == (0 if ready else 1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == ("ready to train" if ready else "not ready to train: torch")
    assert main(["doctor", "--json"]) == (0 if ready else 1)
    assert json.loads(capsys.readouterr().out)["ready"] is ready
