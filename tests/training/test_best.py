"""`checkpoint.best`: kept besides the newest, exported; and training measures what `rlvr eval` measures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from benches import BENCH
from run_helpers import RECIPE, rlvr
from small_parts import recipe as recipe_of
from small_parts import small_parts

from rlvr_cli import compose
from rlvr_cli.algorithms import options
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Checkpoint
from rlvr_cli.tracking import Timer
from rlvr_cli.training import evaluations


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "best.yaml"
    path.write_text(RECIPE + BENCH)
    return path


@pytest.mark.slow
def test_the_best_checkpoint_stays_and_is_exported(recipe, tmp_path):
    out = tmp_path / "run"
    more = ("trainer.steps=6", "batch.updates_per_step=1", "trainer.lr=0.01", "seed=1")
    done = rlvr("train", str(recipe), f"out={out}", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row["eval/chance/avg@2"] for row in rows if row.get("event") == "eval"}
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    warnings = [event["message"] for event in events if event["kind"] == "warning"]
    assert warnings == ["chance has 13 problems, 12 were found"]  # once, and nothing set that was not read
    best = max(scores, key=lambda step: (scores[step], -step))
    steps = {path.name for path in (out / "checkpoints").glob("step_*")}
    assert steps == {"step_6", f"step_{best}"}
    assert 0 < best < 6, "with this seed the start or the end is the best: the test shows nothing"
    assert (out / "checkpoints" / "best").read_text() == f"step_{best}\n"
    assert json.loads((out / "best" / "rlvr.json").read_text())["steps"] == best

    bench = tmp_path / "chance.yaml"
    body = compose.files.load_yaml(recipe)["eval"]["benches"]["chance"]
    bench.write_text(json.dumps(body))
    alone = rlvr(
        "eval", "--model", str(out), "--bench", str(bench), "rollout=hf", "rollout.max_prompt_tokens=16",
        f"out={tmp_path / 'alone'}",
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    mine, theirs = (json.loads((f / "chance.json").read_text()) for f in (tmp_path / "alone", out / "eval"))
    assert mine["summary"] == theirs["summary"] and mine["problems"] == theirs["problems"]


def test_the_best_checkpoint_holds_what_its_evaluation_told_the_reference(monkeypatch, tmp_path):
    """Or a run continued from it would count one evaluation less."""
    rule = options("reference")["reset"](every=None, patience=3)
    seen = []
    monkeypatch.setattr(evaluations, "save", lambda parts: seen.append(rule.state()["best"]))
    monkeypatch.setattr(evaluations, "export", lambda *details: None)
    parts = SimpleNamespace(
        ahead=None,
        recipe=SimpleNamespace(
            eval=SimpleNamespace(benches={}, at_start=True, every=1),
            checkpoint=SimpleNamespace(best="chance/avg@2"),
            tracker=SimpleNamespace(images=0),
            trainer=SimpleNamespace(sleep=False),
            algorithm=SimpleNamespace(reference=rule),
            name="x",
        ),
        state={"evaluated": None},
        last_eval={"chance": {"avg@2": 0.5}},
        step=3,
        reference=None,
        trainer=SimpleNamespace(state_dict=dict, hf=None),
        tokenizer=None,
        out=tmp_path,
        tracker=SimpleNamespace(event=lambda *details: None),
        checkpoints=SimpleNamespace(settle=lambda: None),
        timer=Timer(),
    )
    rule.bench = "chance"
    evaluations.evaluate_benches(parts)
    assert seen == [0.5]
    parts.step = 0
    assert evaluations.evaluation_due(parts)
    parts.state["evaluated"] = 0  # stopped after it, and continued
    assert not evaluations.evaluation_due(parts)


def test_only_a_higher_score_is_a_new_best(monkeypatch, tmp_path):
    """Of 0.2, 0.5, 0.4, 0.5, 0.6 after steps 0 to 4: the start needs no copy, an equal one is no better."""
    saved, exported = [], []
    monkeypatch.setattr(evaluations, "save", lambda parts: saved.append(parts.step))
    monkeypatch.setattr(evaluations, "export", lambda *details: exported.append(details[-1]))
    trainer = SimpleNamespace(state_dict=dict, hf=None)
    settled = SimpleNamespace(settle=lambda: None)
    parts = small_parts(
        recipe_of(checkpoint=Checkpoint(best="b/avg@2")), trainer=trainer, checkpoints=settled
    )
    bests = []
    for parts.step, value in enumerate((0.2, 0.5, 0.4, 0.5, 0.6)):
        parts.last_eval = {"b": {"avg@2": value}}
        evaluations.keep_best(parts)
        bests.append((parts.state["best"]["step"], parts.state["best"]["value"]))
    assert bests == [(0, 0.2), (1, 0.5), (1, 0.5), (1, 0.5), (4, 0.6)]
    assert saved == [1, 4] and [note["b/avg@2"] for note in exported] == [0.5, 0.6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("chanc/avg@2", "checkpoint.best: eval.benches has no 'chanc'; did you mean 'chance'?"),
        ("chance/avg@4", "checkpoint.best: chance has no score 'avg@4'; did you mean 'avg@2'?"),
        ("chance", "checkpoint.best: chance has no score ''"),
    ],
)
def test_mistakes(value, says, recipe):
    with pytest.raises(UserError) as caught:
        compose.load(str(recipe), [f"checkpoint.best={value}"])
    assert says in str(caught.value)
    with pytest.raises(UserError, match="sft runs none"):
        compose.load("tiny_sft", ["checkpoint.best=a/b"])
