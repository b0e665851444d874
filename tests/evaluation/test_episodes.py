"""Episodes in evaluations: kept over a kill, in the result's rows, judged anew from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.result_files import differences, read_result
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.environments import find
from rlvr_cli.evaluation import bench as benches
from rlvr_cli.evaluation.evaluate import rescored
from rlvr_cli.evaluation.outputs import sample_rows, write_result, write_samples
from rlvr_cli.evaluation.scores import summarise
from rlvr_cli.evaluation.stored_samples import Partial, Replay, completions, fields
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.schema import Bench, EvalRecipe, SampleFile, Source, Verification
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.tracking.tables import samples
from rlvr_cli.verifiers.environment import Environment as Given
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.pool import Pool

LATE = Verdict(score=0.0, reason=Reason.timeout, detail="environment game: no answer within 3 s")
BENCH = Bench(source=Source(path="x.jsonl"), verifier=Given(), environment=find("guess")(), k=3)


def episode(*texts: str, reward: float | None = 1.0, **more: Any) -> Completion:
    """Each turn has two sampled tokens; one of the environment stands between two turns."""
    turns = [
        TurnNote(begin=3 * n, end=3 * n + 2, text=text, said=">" if n + 1 < len(texts) else "", reward=0.0)
        for n, text in enumerate(texts)
    ]
    turns[-1].reward, turns[-1].seconds, turns[-1].notes = reward, 0.25, {"calls": "add ok"}
    count = 3 * len(texts) - 1
    fields = {"ended": Ended.done, "measures": {"found": 1.0, "tool/calls": 2.0, "tool/seconds": 0.5}}
    played = Episode(environment="game", turns=turns, reward=reward, **(fields | more))
    return Completion(
        tokens=np.arange(count, dtype=np.int32),
        logprobs=np.zeros(0, np.float32),
        text=texts[-1],
        finished=True,
        sampled=np.array([n % 3 < 2 for n in range(count)]),
        episode=played,
    )


SAMPLES = [
    episode("5", "7"),
    episode("1", "2", "3", reward=0.0, ended=Ended.turns),
    episode("4", reward=None, ended=Ended.failed, failure=LATE),
]


def problem(name: str = "n7") -> Problem:
    return Problem(id=name, prompt="?", tokens=[], answer="7", source="own", verifiers=["eval.own"])


def rows() -> list[dict[str, Any]]:
    verdicts = [{"eval.own": found} for found in map(Given().of_sample, SAMPLES)]
    verdicts[2] = {"eval.own": LATE}
    return [benches.row(Group(problem=problem(), index=0, completions=SAMPLES, verdicts=verdicts))]


def test_an_episode_survives_a_kill(tmp_path: Path) -> None:
    first = Partial(tmp_path, "own", "mark", 0)
    first.keep(0, SAMPLES)
    first.close()
    with open(first.path, "ab") as file:
        file.write(b'{"index": 1, "lengths": [2')  # the kill
    again = Partial(tmp_path, "own", "mark", 0)
    replay = Replay(again.load(), [0])
    [(_, found)] = replay.generate(
        [Request(key=0, tokens=[], samples=3, seed=0)], Sampling.of(BENCH, logprobs=False)
    )
    assert [sample.length for sample in found] == [4, 6, 2]
    assert [sample.text for sample in found] == ["7", "3", "4"]
    for before, after in zip(SAMPLES, found, strict=True):
        assert before.episode is not None and after.episode is not None
        assert (after.episode.reward, after.episode.ended) == (before.episode.reward, before.episode.ended)
        assert after.episode.failure == before.episode.failure
        told = [(turn.text, turn.said, turn.reward, turn.notes) for turn in after.episode.turns]
        assert told == [(turn.text, turn.said, turn.reward, turn.notes) for turn in before.episode.turns]
    assert found[0].episode.measures == {"found": 1.0, "tool/calls": 2.0}  # type: ignore[union-attr]
    assert fields(found) == fields(SAMPLES)  # a resumed evaluation writes what an undisturbed one does


def test_nothing_of_a_clock_is_stored() -> None:
    assert "seconds" not in json.dumps(fields(SAMPLES))


def test_samples_without_episodes_are_stored_as_ever() -> None:
    none = np.zeros(3, np.int32)
    plain = [Completion(tokens=none, logprobs=none, text="7", finished=True)]
    assert fields(plain) == {"lengths": [3], "truncated": [False], "responses": ["7"]}
    assert completions(fields(plain))[0].episode is None
    assert "turns/mean" not in summarise([rows()[0] | {"episodes": []}])


def test_the_summary_knows_turns_and_what_environments_count() -> None:
    found = summarise(rows())
    assert found["turns/mean"] == pytest.approx((2 + 3 + 1) / 3)
    assert (found["environment/found"], found["tool/calls"]) == (1.0, 2.0)
    assert found["timeout_fraction"] == pytest.approx(1 / 3) and found["avg@3"] == 0.5
    assert found["response_length"] == 4.0  # sampled tokens


def test_rows_of_samples_say_their_turns(tmp_path: Path) -> None:
    first, _, last = sample_rows("own", rows())
    assert (first["turns"], first["ended"], first["environment_reward"]) == (2, "done", 1.0)
    assert first["conversation"] == [
        {"role": "assistant", "content": "5"},
        {"role": "environment", "content": ">"},
        {"role": "assistant", "content": "7"},
    ]
    assert (last["ended"], last["score"], last["reason"]) == ("failed", None, "timeout")
    table = samples([{"bench": "own", "problems": rows()}])
    assert list(table["turns"]) == [2, 3, 1] and list(table["ended"]) == ["done", "turns", "failed"]
    for kind in (SampleFile.jsonl, SampleFile.parquet):
        assert write_samples(tmp_path, "own", rows(), kind) is not None


def stored(folder: Path, **changes: Any) -> Path:
    result = benches.Evaluation(summary=summarise(rows()) | {"left_out": 0.0}, rows=rows())
    return write_result(folder, "own", BENCH, result, model="m", **changes)


def test_a_result_names_its_environment(tmp_path: Path) -> None:
    result = read_result(stored(tmp_path))
    assert result["environment"]["name"] == "guess" and result["environment"]["most"] == 1024
    assert "environment" not in result["protocol"]
    other = result | {"environment": result["environment"] | {"most": 9}}
    assert differences(result, other) == ["environment.most (1024, 9)"]
    assert differences(result, result) == []


@pytest.mark.slow
def test_stored_episodes_are_judged_anew(tmp_path: Path) -> None:
    """By what environments gave, or by the text of the last turn; what failed has no verdict still."""
    path = str(stored(tmp_path))
    earlier = json.loads(Path(path).read_bytes())
    earlier["problems"][0]["images"] = [{"file": "a.png", "width": 9}, {"file": "gone.png", "width": 8}]
    Path(path).write_text(json.dumps(earlier))
    copies = Path(path).parent / "images"
    copies.mkdir()
    (copies / "a.png").write_bytes(b"pixels")
    for judge, scores in ((Given(), [1.0, 0.0, None]), (Match(), [1.0, 0.0, None])):
        alone = Bench(source=BENCH.source, verifier=judge, k=3)
        recipe = EvalRecipe(benches={"own": alone}, rescore={"own": path})
        with Pool({"eval.own": judge}, Verification(workers=1)) as pool:
            [done] = rescored(recipe, tmp_path / "anew", pool, NullTracker())
        [row] = done.result.rows
        assert row["scores"] == scores and row["reasons"][2] == "timeout"
        assert row["images"] == [{"file": "a.png", "width": 9}, {"file": None, "width": 8}]
        assert (tmp_path / "anew" / "images" / "a.png").read_bytes() == b"pixels"
        assert row["episodes"] == rows()[0]["episodes"]
        assert done.result.summary["turns/mean"] == pytest.approx(2.0)
        assert done.context["environment"]["name"] == "guess"
