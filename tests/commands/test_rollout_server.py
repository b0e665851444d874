"""`rlvr rollout-server` before anything starts. A real one: tests/training/test_server_runs.py."""

from __future__ import annotations

import socket

import pytest

from rlvr_cli.commands.main import main
from rlvr_cli.commands.rollout_server import composed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.server_token import TOKEN
from rlvr_cli.schema import Placement


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "rollout-server needs the RECIPE"),
        ("tiny_dapo --host 0.0.0.0", f"set the environment variable {TOKEN} to a token"),
        ("tiny_dapo --host some.host", "can be reached by other machines"),
        ("tiny_dapo --port 70000", "--port is 70000"),
        ("tiny_sft", "tiny_sft samples nothing in training"),
        ("tiny_dapo rollout=hf", "rollout-server starts vLLM, and rollout.engine is hf"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert main(["rollout-server", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    from rlvr_cli.training.rollout_server import check_free

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--host 127.0.0.1 --port {port}: Address already in use"):
            check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)


@pytest.mark.slow
def test_a_recipe_that_samples_ahead_is_taken_as_a_run_with_servers_has_it() -> None:
    ahead = [
        "rollout=vllm",
        "rollout.max_staleness=1",
        "rollout.overlap=beside",
        "algorithm/mismatch=truncate",
    ]
    assert composed("tiny_dapo", ahead).rollout.placement is Placement.servers
    assert composed("tiny_dapo", ["rollout=vllm"]).rollout.placement is Placement.in_process
    with pytest.raises(UserError, match=r"rollout\.max_tokens is 0"):
        composed("tiny_dapo", ["rollout=vllm", "rollout.max_tokens=0"])
