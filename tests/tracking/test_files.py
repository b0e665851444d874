"""metrics.jsonl, events.jsonl, rollout records, timings and environment.json."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from rlvr_cli import __version__
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.schema import WandbMode
from rlvr_cli.tracking import (
    RolloutRecords,
    Timer,
    Tracker,
    read_metrics,
    read_records,
    write_environment,
)
from rlvr_cli.tracking.journal import Journal, read_rows


def tracker(out: Path, **changes: object) -> Tracker:
    options = {"terminal": io.StringIO(), "total_steps": 8, "run_name": "t", "recipe": {}, "kind": "rl"}
    return Tracker(Settings(wandb=WandbMode.disabled), out, **(options | changes))


def group(index: int = 3) -> Group:
    def completion(text: str, finished: bool) -> Completion:
        tokens = np.arange(len(text), dtype=np.int32)
        return Completion(
            tokens=tokens, logprobs=-0.5 * tokens.astype(np.float32), text=text, finished=finished
        )

    problem = Problem(
        id="p7", prompt="1+1=", tokens=[4, 5], answer="2", source="sums", verifiers=["exact", "form"]
    )
    right = Verdict(score=1.0, reason=Reason.correct, extracted="2", ms=1.25)
    late = Verdict(score=0.0, reason=Reason.timeout, detail="killed after 6 s", ms=6000.0)
    return Group(
        problem=problem,
        index=index,
        completions=[completion("2", True), completion("2 2\u2028\ud800", False)],
        verdicts=[{"exact": right, "form": right}, {"exact": late, "form": right}],
        scores=[1.0, math.nan],
        correct=[1.0, math.nan],
        first_scores=[1.0, math.nan],
    )


def test_metrics_rows_are_steps_and_evaluations(tmp_path: Path) -> None:
    with tracker(tmp_path) as run:
        run.step(1, {"reward/mean": 0.25, "actor/grad_norm": 1})
        run.evaluation(1, "sums", {"avg@4": 0.5, "ci95_low": 0.4, "ci95_high": 0.6})
        run.evaluation(1, None, {"loss": 2.0})
    step, bench, loss = read_metrics(tmp_path)
    assert step.pop("time") > 1e9
    assert step == {"step": 1, "reward/mean": 0.25, "actor/grad_norm": 1.0}
    assert (bench["event"], bench["bench"], bench["eval/sums/avg@4"]) == ("eval", "sums", 0.5)
    assert bench["eval/sums/ci95_high"] == 0.6
    assert (loss["event"], loss["bench"], loss["eval/loss"]) == ("eval", None, 2.0)


def test_nonfinite_metrics_become_null_and_are_named(tmp_path: Path) -> None:
    with tracker(tmp_path) as run:
        run.step(1, {"actor/loss": math.nan, "mismatch/max": math.inf, "reward/mean": 0.5})

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row["actor/loss"] is None and row["mismatch/max"] is None and row["reward/mean"] == 0.5
    assert row["nonfinite"] == ["actor/loss", "mismatch/max"]


def test_metrics_are_on_disk_before_close(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    run.step(1, {"reward/mean": 0.5})
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1
    run.close("finished")


def test_torn_last_line_is_left_out_and_cut_before_appending(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "reward/me')
    assert read_metrics(path) == [{"step": 1}]
    journal = Journal(path)
    journal.append({"step": 2})
    journal.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(json.JSONDecodeError):
        read_metrics(path)


def test_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    assert list(read_records(tmp_path)) == []


def test_resume_drops_what_is_past_the_checkpoint(tmp_path: Path) -> None:
    records = [RolloutRecords(tmp_path / "rollouts", rank) for rank in (0, 1)]
    with tracker(tmp_path) as run:
        for step in range(1, 6):
            run.step(step, {"reward/mean": step / 10})
            run.event("note", f"step {step}", detail=Path("x"), reason=Reason.wrong, gap=math.nan)
            for record in records:
                record.write(step, [group()], [[1.0, 0.0]], None, [True], [step - 1])
        run.evaluation(3, "sums", {"avg@1": 0.5})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "rew')
    keep = tmp_path / "rollouts" / "step_notes.jsonl"
    keep.write_text("mine")
    half = keep.with_name(".step_000003.rank1.jsonl.77.tmp")  # of a rank that was killed as it wrote
    half.write_text('{"st')

    with tracker(tmp_path, start_step=3) as run:
        run.resume_at(3)
        assert not half.exists()
        run.event("resume", "from step 3")
        run.step(4, {"reward/mean": 0.9})

    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 3, 4]
    assert rows[-1]["reward/mean"] == 0.9
    events = read_rows(tmp_path / "events.jsonl")
    assert [(row["step"], row["kind"]) for row in events] == [
        *((step, "note") for step in (1, 2, 3)),
        (3, "resume"),
    ]
    assert (events[0]["detail"], events[0]["reason"], events[0]["gap"]) == ("x", "wrong", None)
    assert sorted({row["step"] for row in read_records(tmp_path)}) == [1, 2, 3]
    assert keep.read_text() == "mine"


def test_without_a_checkpoint_the_first_evaluation_is_made_again_and_not_recorded_twice(
    tmp_path: Path,
) -> None:
    with tracker(tmp_path) as run:
        run.event("start", "from the beginning")
        run.evaluation(0, "sums", {"avg@1": 0.25})
        for checkpoint, kept in ((0, [0]), (None, [])):
            run.step(1, {"reward/mean": 0.5})
            run.resume_at(checkpoint)
            assert [row["step"] for row in read_metrics(tmp_path)] == kept
    assert [row["kind"] for row in read_rows(tmp_path / "events.jsonl")] == ["start"]  # the launcher's stay


def test_close_twice_and_after_an_error(tmp_path: Path) -> None:
    run = tracker(tmp_path)
    with pytest.raises(ZeroDivisionError), run:
        run.step(1, {"reward/mean": 0.5})
        raise ZeroDivisionError
    run.close("finished")
    assert (tmp_path / "curves.png").exists()


def test_records_round_trip(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts"
    RolloutRecords(folder, 1, tokens=True).write(12, [group()], [[1.0, 0.0]], [[0.7, math.nan]], [True], [11])
    RolloutRecords(folder, 0).write(12, [group(2)], [[1.0, 0.0]], None, [False], [11])
    assert sorted(path.name for path in folder.iterdir()) == [
        "step_000012.rank0.jsonl",
        "step_000012.rank1.jsonl",
    ]
    first, _, right, late = read_records(tmp_path)
    assert (first["index"], first["advantage"], first["kept"]) == (2, None, False)
    assert "response_tokens" not in first
    assert right == {
        "step": 12,
        "index": 3,
        "sample": 0,
        "problem": "p7",
        "source": "sums",
        "prompt": "1+1=",
        "response": "2",
        "answer": "2",
        "finished": True,
        "length": 1,
        "verdicts": {
            name: {"score": 1.0, "reason": "correct", "extracted": "2", "detail": "", "ms": 1.25}
            for name in ("exact", "form")
        },
        "total": 1.0,
        "score": 1.0,
        "correct": True,
        "reward": 1.0,
        "advantage": 0.7,
        "kept": True,
        "policy_version": 11,
        "prompt_tokens": [4, 5],
        "response_tokens": [0],
        "logprobs": [0.0],
    }
    # No verdict, no score: a timeout is not a wrong answer.
    assert late["verdicts"]["exact"]["reason"] == "timeout" and late["verdicts"]["exact"]["score"] is None
    assert late["score"] is None and late["correct"] is None and late["advantage"] is None
    # Characters that break lines or encodings come back as they were.
    assert late["response"] == "2 2\u2028\ud800"
    assert late["logprobs"] == [0.0, -0.5, -1.0, -1.5, -2.0]


def test_records_refuse_lists_that_do_not_match(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        RolloutRecords(tmp_path, 0).write(1, [group()], [[1.0]], None, [True], [0])


def test_timer_charges_each_second_once() -> None:
    now = [100.0]
    seen: list[str] = []
    timer = Timer(clock=lambda: now[0], on_phase=seen.append)
    now[0] += 1.0  # outside every phase
    with timer("rollout"):
        now[0] += 2.0
        with timer("verify"):
            now[0] += 0.5
        now[0] += 3.0
    with timer("update"):
        now[0] += 4.0
    assert timer.take() == {
        "timing_s/rollout": 5.0,
        "timing_s/verify": 0.5,
        "timing_s/update": 4.0,
        "timing_s/step": 10.5,
    }
    assert seen == ["rollout", "verify", "update"]
    with timer("update"):
        now[0] += 0.25
    assert timer.take() == {"timing_s/update": 0.25, "timing_s/step": 0.25}


def test_timer_leaves_a_phase_by_an_exception_and_keeps_the_total() -> None:
    now = [0.0]
    timer = Timer(clock=lambda: now[0])
    with timer("step"):
        with pytest.raises(KeyError), timer("rollout"):
            now[0] += 2.0
            raise KeyError
        now[0] += 1.0
    assert timer.take() == {"timing_s/step": 3.0, "timing_s/rollout": 2.0}


def test_environment_is_written(tmp_path: Path) -> None:
    found = write_environment(tmp_path, seed=7, world_size=2)
    assert found == json.loads((tmp_path / "environment.json").read_text())
    assert found["rlvr"] == __version__ and found["seed"] == 7 and found["world_size"] == 2
    assert found["packages"]["torch"] and found["cpu"] and found["memory_gb"] > 0
    assert found["utc"].endswith("+00:00")
