"""Runs that meet a logprob that is not a number: stopped, without that update, or gone back."""

import json
from pathlib import Path

import pytest
from places import SUPPORT
from run_helpers import run_script, steps_of

from rlvr_cli.data.sampler import Sampler

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory):
    """Name of one of fault_entries.RUNS -> its exit code, stderr and run directory."""
    folder = tmp_path_factory.mktemp("faults")
    done = run_script(SUPPORT / "fault_entries.py", str(folder), timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "results.json").read_text())
    return lambda name: (*results[name], folder / name)


def events(out: Path, kind: str) -> list[dict]:
    rows = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


def test_stop_ends_the_run_with_the_token_and_saves_nothing(poisoned) -> None:
    code, said, out = poisoned("stop")
    assert code == 1 and "Traceback" not in said
    assert "step 2: the rollout logprob is nan at 1 of" in said and "problem " in said and "token 5 " in said
    assert len(steps_of(out)) == 1 and not list(out.glob("checkpoints/step_*"))


def test_skip_leaves_the_update_out_and_counts_it(poisoned) -> None:
    code, said, out = poisoned("skip")
    assert code == 0, said
    rows = steps_of(out)
    assert [row["actor/skipped_updates"] for row in rows] == [0, 1, 2, 2]
    assert [row["actor/updates"] for row in rows] == [1, 0, 0, 1]
    assert [row["position"] for row in events(out, "nonfinite")] == [5, 5]


def test_skipping_three_times_in_a_row_ends_the_run(poisoned) -> None:
    code, said, out = poisoned("skipped_thrice")
    assert code == 1 and "3 updates in a row were not finite" in said
    assert len(steps_of(out)) == 3


def test_rollback_goes_on_with_other_data(poisoned) -> None:
    code, said, out = poisoned("rollback")
    assert code == 0, said
    assert [row["step"] for row in steps_of(out)] == [1, 2, 3, 4]
    (event,) = events(out, "rollback")
    assert event["before"] == 2 and "token 5" in event["cause"]
    rows = [
        json.loads(line) for file in sorted(out.glob("rollouts/*")) for line in file.read_text().splitlines()
    ]
    assert sorted({row["index"] for row in rows}) == [0, 1, 2, 3, 6, 7, 8, 9]  # 4 and 5 were in the bad step


def test_rollback_needs_a_checkpoint_and_helps_once(poisoned) -> None:
    code, said, _ = poisoned("no_way_back")
    assert code == 1 and "no checkpoint to go back to" in said
    code, said, _ = poisoned("no_help")
    assert code == 1 and "before has not helped" in said


def test_what_was_drawn_later_is_passed_over() -> None:
    def sampler(weights: dict[str, float]) -> Sampler[str]:
        return Sampler({"a": list("abcdef"), "b": list("uvwxyz")}, weights, seed=1)

    straight, back = sampler({"a": 1, "b": 1}), sampler({"a": 1, "b": 1})
    start = straight.state()
    straight.take(5)
    back.load(start)
    back.skip(straight.state())
    assert back.take(4) == straight.take(4)
    other = sampler({"a": 3, "b": 1})  # an earlier stage had another mix
    other.skip(straight.state())
    assert other.position == straight.position
    assert [index for index, _ in other.take(2)] == [9, 10]
