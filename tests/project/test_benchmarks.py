"""Benchmarks of training run, at their smallest size: the sides compared do the same. No time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from places import ROOT

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.planning.traffic import Step, traffic
from rlvr_cli.tracking import RolloutRecords

sys.path.append(str(ROOT / "benchmarks"))
import long_case
import raml

pytestmark = pytest.mark.slow
SMALL = ["--hidden", "64", "--layers", "2"]
ONE_UPDATE = ["--prompts", "1", "--group", "2", "--vocabulary", "300", "--rounds", "1"]


def benchmark(name: str, folder: Path, *arguments: str, code: int | None = 0) -> Any:
    """What `benchmarks/NAME.py` writes as JSON; `code`: its exit code, None where load may decide it."""
    file = folder / f"{name}.json"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--json", str(file), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=590)
    assert code is None or done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(file.read_text())


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


@pytest.mark.long
def test_the_update_stage_of_gpu_check_can_be_rehearsed(tmp_path: Path) -> None:
    found = benchmark("gpu_check", tmp_path, "--device", "cpu", "--stages", "1")
    assert found["rehearsal"] and found["device"] == "CPU"
    told = statuses(found)
    kinds = [(0, "bf16"), *((n, kind) for n in (1, 2, 3) for kind in ("fp32", "bf16"))]
    stages = [told[f"ZeRO-{n} in {kind} against fp32"] for n, kind in kinds]
    assert stages == ["ok"] * 7
    assert told["end to end against padded, fp32"] == told["end to end against padded, bf16"] == "ok"
    of_a_gpu = [status for name, status in told.items() if name.startswith(("0.5B", "1.5B"))]
    assert of_a_gpu == ["skipped"] * 4  # a CPU's memory and speed are judged by nobody


def test_sides_of_the_fine_tuning_benchmark_compute_the_same(tmp_path: Path) -> None:
    found = benchmark("sft", tmp_path, *SMALL, "--sequences", "4", "--steps", "1", "--row", "400")
    losses = found["losses"]
    assert losses["dense mask"] == pytest.approx(losses["ours"], rel=1e-5)
    assert losses["padding"] == pytest.approx(losses["ours"], rel=1e-5)
    assert losses["ours, twice the tokens"] != losses["ours"]  # after a step
    assert set(found["ratios"]) == {"dense mask", "padding", "ours, twice the tokens"}


def test_scaling_takes_turns_between_two_sizes(tmp_path: Path) -> None:
    [row] = benchmark("scaling", tmp_path, "--cases", "tokens", "--no-memory", *SMALL, *ONE_UPDATE, code=None)
    assert (row["what"], row["unit"], row["limit"]) == ("tokens x2", "s", 2.05)
    assert row["ratio"] == row["larger"] / row["smaller"] > 0


def test_long_responses_have_from_a_few_tokens_to_the_limit() -> None:
    rows = long_case.problems(1000, seed=0)
    lengths = [len(row["completion"]) + 1 for row in rows]  # one token a character, and the end
    assert min(lengths) < 20 and 290 < max(lengths) <= long_case.MAX_TOKENS
    assert max(len(row["prompt"]) for row in rows) <= long_case.MAX_PROMPT
    right = sum(row["answer"] == "1" for row in rows)
    assert 400 < right < 600
    assert all(row["completion"].endswith(f"\\boxed{{{row['answer']}}}") for row in rows)


def test_traces_of_a_sum_are_different_and_right() -> None:
    """47 + 85: the two orders of 7 + 5, and the six of 4, 8 and a carry of 1. Two equal terms have fewer."""
    found = raml.traces(47, 85)
    assert len(set(found)) == len(found) == 12 and "5+7=12,1+4+8=13 \\boxed{132}" in found
    assert len(raml.traces(44, 85)) == 12 and len(raml.traces(45, 85)) == 6 and len(raml.traces(40, 11)) == 12
    [(prompt, answer, each)] = list(islice(raml.problems("train", Random(0)), 1))
    assert len(set(each)) == 12 and all(trace.endswith(f"\\boxed{{{answer}}}") for trace in each)
    assert eval(prompt.rstrip("=")) == int(answer)


def test_four_ranks_replay_a_run_and_send_what_the_plan_says(tmp_path: Path) -> None:
    """Two share each micro-batch and two an engine: the case in which every factor counts."""
    lengths = [[20 + 7 * sample + 50 * (group % 3) for sample in range(4)] for group in range(6)]
    write_rollouts(tmp_path / "run", lengths)
    sizes = ["batch.prompts_per_step=8", "batch.group_size=4", "rollout.oversample=1", "algorithm=grpo"]
    shared = ["trainer.sequence_parallel=2", "rollout.tensor_parallel=2", "batch.tokens_per_microbatch=512"]
    arguments = ["--run", str(tmp_path / "run"), "--longer", "10", "--ranks", "4", "--steps", "1"]
    [found] = benchmark("ranks", tmp_path, *sizes, *shared, *arguments)
    assert 0.3 < found["of_share"] <= 1 and found["rank_0"]["cpu_s"] > 0 and found["memory"] > 0
    assert found["dealt"]["samples"] == 32 and found["samples"] == 2 * 32, (
        "each engine's samples on both ranks"
    )
    held, dealt = found["held"]["mean"] * 2, found["dealt"]["responses"] + 32 * 60
    assert held == dealt, "every token is on one rank of a group, and no other group's"
    step = Step(
        ranks=4,
        machine=4,
        engines=2,
        together=2,
        sampled=32,
        trained=32,
        group=4,
        prompt=60,
        response=found["dealt"]["responses"] / 32,
        updates=4,
        columns=4,
        versions=False,
    )
    told = traffic(step)
    assert found["rank_0"]["sent"]["sum_over_ranks"] == pytest.approx(told.sums, rel=0.01)
    assert found["rank_0"]["sent"]["exchange"] == pytest.approx(told.tokens, rel=0.3)  # of rank 0 alone
    assert found["sent"]["exchange"] == pytest.approx(told.tokens / 2, rel=0.02)  # half of the ranks sample
    assert found["rank_0"]["sent"]["gather"] == pytest.approx(told.scores, rel=0.15)


def write_rollouts(run: Path, lengths: list[list[int]]) -> None:
    """Records of groups with prompts of 6 tokens and responses of these lengths, half of them right."""
    groups = []
    for index, row in enumerate(lengths):
        problem = Problem(
            id=f"{index}", prompt="p", tokens=[1] * 6, answer="", source="train", verifiers=["math"]
        )
        rights = [float(n % 2) for n in range(len(row))]
        groups.append(
            Group(
                problem=problem,
                index=index,
                completions=[
                    Completion(
                        tokens=np.ones(n, np.int32), logprobs=np.zeros(n, np.float32), text="", finished=True
                    )
                    for n in row
                ],
                verdicts=[{} for _ in row],
                scores=rights,
                correct=rights,
                first_scores=rights,
            )
        )
    records = RolloutRecords(run / "rollouts", 0, tokens=True)
    records.write(1, groups, [g.scores for g in groups], None, [True] * len(groups), [0] * len(groups))


@pytest.mark.long
def test_all_of_gpu_check_can_be_rehearsed(tmp_path: Path) -> None:
    found = benchmark("gpu_check", tmp_path, "--device", "cpu", "--stages", "2", "3")
    told = statuses(found)
    assert told["a large update moves the engine as the trainer"] == "ok"
    assert told["fingerprints of a sync"] == told["a short GRPO run"] == "ok"
    two_ranks = [status for name, status in told.items() if name.startswith("two ranks")]
    assert two_ranks == ["ok"] * 4
    assert told["servers by NCCL (here gloo)"] == told["a server killed while weights are sent to it"] == "ok"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("step", ["--steps", "1", "--warm-up", "1", "verifier@verifiers.math=random"]),
        ("overlap", ["--steps", "2", "--warm-up", "1", "--verdict-ms", "1"]),
    ],
)
def test_a_step_is_measured(name: str, arguments: list[str], tiny_path: Path, tmp_path: Path) -> None:
    found = benchmark(name, tmp_path, "--model", str(tiny_path), *arguments)
    assert found["ratio"] > 0


@pytest.mark.long
def test_scaling_with_ranks_and_memory(tmp_path: Path) -> None:
    rows = benchmark("scaling", tmp_path, *SMALL, *ONE_UPDATE, code=None)
    grown = ("tokens x2", "group x2", "vocabulary x10")
    expected = [(what, unit) for what in grown for unit in ("s", "bytes")]
    assert [(row["what"], row["unit"]) for row in rows] == [*expected, ("ranks x2", "s")]


def test_what_a_sampled_token_buys_by_where_the_decision_is(tmp_path: Path) -> None:
    found = benchmark("credit_precision", tmp_path, "--prompts", "200")
    assert found["group of 8"] == pytest.approx([1, 1, 1], abs=0.2)
    first, second, last = found["tree [2, 2, 2]"]
    assert first < second < last and second > 1.3
    assert found["tree [2, 4, 1]"][1] > 3.5 and found["tree [2, 4, 1]"][2] == 0
    assert max(x for label, values in found.items() if "chain" in label for x in values) < 0.7


@pytest.mark.long
def test_who_was_to_blame_is_compared_by_sampled_tokens(tiny_path: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(tiny_path), "--seeds", "1", "--tokens", "600", "--jobs", "1", "--every", "1"]
    arguments += ["--problems", "2", "4", "--rates", "1e-3"]
    small = ["batch.prompts_per_step=2", "rollout.max_tokens=64", "algorithm/token_weights=all"]
    small += ["eval.benches.fork.max_tokens=64"]
    found = benchmark("credit", tmp_path, *arguments, "--only", "grpo", "spo_tree", "--", *small)
    assert set(found) == {"grpo", "spo_tree"}
    for [run] in found.values():
        assert run[0][0] == 0 and run[-1][0] >= 600


def test_a_policy_without_a_model_learns_from_groups_trees_and_chains(tmp_path: Path) -> None:
    labels = ("grpo, group 8", "spo_tree [2, 2, 2]", "spo, 2 segments, group 8, 4 continuations")
    small = ["--lengths", "20", "--seeds", "1", "--responses", "600"]
    found = benchmark("credit_learning", tmp_path, *small, "--only", *labels)["20"]
    assert tuple(found) == labels
    for places in found.values():
        for each in places.values():
            assert all(np.mean(curve) > curve[0] + 0.15 for curve in each["curves"])


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_servers_are_killed_and_no_prompt_is_lost_or_doubled(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/replicas.py", "--steps", "8", "--kills", "2"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| two, killed | 8 |" in done.stdout and "| 2 |" in done.stdout.split("two, killed")[1]


@pytest.mark.long
def test_our_side_of_the_long_case(tiny_path: Path, tmp_path: Path) -> None:
    arguments = ["--case", "long", "--no-trl", "--model", str(tiny_path), "--seeds", "1", "--steps", "1"]
    [run] = benchmark("vs_trl", tmp_path, *arguments, "--threads", "1")["runs"]
    assert run["side"] == "rlvr" and run["tokens_per_second"] > 0 and run["peak_gib"] > 0.1


def test_no_benchmark_stands_in_the_way_of_a_library() -> None:
    """Its folder is searched first when it runs: `import peft` would find a `peft.py` there."""
    mine = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert mine & {*packages_distributions(), *sys.stdlib_module_names} == set()
