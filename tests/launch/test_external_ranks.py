"""The ranks that torchrun and srun start."""

from __future__ import annotations

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.external_ranks import first_host, joined_ranks, on_its_gpu


def test_ranks_started_by_torchrun_or_srun_are_joined() -> None:
    torchrun = {
        **{"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "gpu1", "MASTER_PORT": "29500", "HOME": "/root"},
    }
    found = joined_ranks(torchrun)
    assert found is not None and found["RANK"] == "3" and "HOME" not in found
    with pytest.raises(UserError, match="MASTER_ADDR, MASTER_PORT is not"):
        joined_ranks({name: value for name, value in torchrun.items() if not name.startswith("MASTER")})
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1234567"}
    assert joined_ranks(batch) is None  # sbatch without srun: nobody else was started
    step = {
        **batch,
        **{"SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "16"},
        **{"SLURM_STEP_TASKS_PER_NODE": "8(x2)", "SLURM_STEP_NODELIST": "gpu[003-004]"},
    }
    assert joined_ranks(step) == {
        **{"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"},
        **{"MASTER_ADDR": "gpu003", "MASTER_PORT": "34567"},
    }
    assert joined_ranks({**step, "SLURM_STEP_NUM_TASKS": "1"}) is None
    ports = set()
    for job in (1234567, 1234568):
        for number in ("0", "1", "2"):
            found = joined_ranks({**step, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": number})
            assert found is not None
            ports.add(found["MASTER_PORT"])
    assert len(ports) == 6  # two steps at once do not meet
    hosts = ["gpu1", "gpu1,gpu2", "gpu[1-4,9]", "rack2-gpu[007,9],cpu1"]
    assert [first_host(nodes) for nodes in hosts] == ["gpu1", "gpu1", "gpu1", "rack2-gpu007"]


def of(rank: int, local: int) -> dict[str, str]:
    return {"RANK": str(8 + rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(local)}


@pytest.mark.parametrize(
    ("rank", "local", "gpus", "device"),
    [(3, 8, 8, "3"), (3, 8, 1, "0"), (7, 8, 1, "0"), (0, 1, 1, "0"), (1, 2, 8, "1"), (5, 8, 0, "5")],
    ids=["all seen", "one each", "the last", "alone", "fewer ranks", "CPUs"],
)
def test_a_rank_takes_the_gpu_it_is_shown(rank: int, local: int, gpus: int, device: str) -> None:
    assert on_its_gpu(of(rank, local), gpus) == of(rank, local) | {"LOCAL_RANK": device}


@pytest.mark.parametrize("rank", [0, 3, 7])
def test_more_ranks_than_gpus_are_refused_on_every_rank(rank: int) -> None:
    with pytest.raises(UserError, match=r"8 ranks .* sees 4 GPUs.*--ntasks-per-node 4.*--gpus-per-task=1"):
        on_its_gpu(of(rank, 8), 4)
