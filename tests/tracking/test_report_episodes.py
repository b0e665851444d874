"""An episode on the page of a run: a conversation, with its own tokens coloured and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from report_pages import blocks, report, shown

from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.tracking import RolloutRecords

pytestmark = pytest.mark.slow

RESULT = "product: 12345 " * 30
CALL = 'I ask. <tool_call>{"name": "times"}</tool_call>'
FAILED = Verdict(score=0.0, reason=Reason.crash, detail="environment game: ValueError: <b>no</b>")


def sample(ended: Ended = Ended.done, **more: Any) -> Completion:
    turns = [
        TurnNote(
            begin=0, end=2, text=CALL, said=RESULT, reward=0.25, seconds=1.5, notes={"calls": "times ok"}
        ),
        TurnNote(begin=4, end=6, text="it is <i>twelve</i>", reward=0.75),
    ]
    return Completion(
        tokens=np.array([3, 4, 5, 5, 4, 3], np.int32),
        logprobs=np.array([-0.5, -1.0, 0, 0, -2.0, -3.0], np.float32),
        text=turns[-1].text,
        finished=True,
        sampled=np.array([True, True, False, False, True, True]),
        episode=Episode(
            environment="calc", ended=ended, turns=turns, reward=1.0, measures={"tool/calls": 1.0}, **more
        ),
    )


def two_sequences() -> Completion:
    """The first turn stands in a sequence of its own: the template has rewritten what came before."""
    whole = sample()
    first, last = (
        Completion(
            tokens=whole.tokens[part],
            logprobs=whole.logprobs[part],
            text=whole.text,
            finished=True,
            sampled=whole.sampled[part],
            prompt=np.array([1, 2], np.int32),
        )
        for part in (slice(0, 4), slice(4, 6))
    )
    last.episode, last.earlier = whole.episode, [first]
    return last


def run_of(out: Path, *samples: Completion) -> Path:
    (out / "rollouts").mkdir(parents=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump({"name": "x", "algorithm": {"name": "grpo"}}))
    (out / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "reward/mean": 1.0}\n')
    problem = Problem(id="p", prompt="6*2?", tokens=[1], answer="12", source="s", verifiers=["won"])
    ones = [1.0] * len(samples)
    group = Group(
        problem=problem,
        index=0,
        completions=list(samples),
        verdicts=[{"won": Verdict(score=1.0, reason=Reason.correct)} for _ in samples],
        scores=ones,
        correct=ones,
        first_scores=ones,
    )
    notes = {
        "trainer_logprobs": [-0.5, -1.1, -2.0, -3.0],
        "entropies": [0.1, 0.2, 0.3, 0.4],
        "clipped": [0.0] * 4,
    }
    records = RolloutRecords(out / "rollouts", 0, tokens=True)
    records.write(1, [group], [ones], [ones], [True], [0], notes={0: [notes for _ in samples]})
    return out


def test_a_conversation(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", sample(), sample(Ended.failed, failure=FAILED))
    assert report(run) == 0
    page = shown(run / "report.html", ["open"])
    said = page["after"][0]
    assert "environment calc · 2 turns · ended by its environment · it gave 1 · tool/calls 1" in said
    assert "turn 1 · 2 tokens · reward 0.25 · environment 1.5 s · calls: times ok" in said
    assert "turn 2 · 2 tokens · reward 0.75" in said and "it is <i>twelve</i>" in said
    assert 'tool call {"name": "times"}' in said and "<tool_call>" not in said  # folded
    assert f"environment: {RESULT.strip()[:90]} …" in said  # so is a long answer
    assert (
        "ended as its environment failed" in said and "crash: environment game: ValueError: <b>no</b>" in said
    )
    assert "i" not in page["tags"]
    found = shown(run / "report.html", ["search", "product: 12345"])["after"][0]
    assert "1 of 1 groups, 2 matching samples" in found  # what an environment said is looked into


def test_only_sampled_tokens_are_coloured(tmp_path: Path) -> None:
    """In the turn that they were sampled in, also where an episode has several sequences."""
    for name, made in (("one", sample()), ("two", two_sequences())):
        run = run_of(tmp_path / name, made)
        assert report(run) == 0
        found = blocks(run / "report.html")["rollouts-0-0"][0]["samples"][0]
        assert found["tokens"] == ["<3>", "<4>", "<4>", "<3>"]
        assert found["logprobs"] == [-0.5, -1.0, -2.0, -3.0] and found["gaps"] == [0.0, -0.1, 0.0, 0.0]
        heat = shown(run / "report.html", ["choose", "tokens by", "sampled logprob"], ["open"])["heat"]
        assert [(text, title.split("  ")[1]) for text, title, _ in heat] == [
            ("<3>", "logprob -0.5"),
            ("<4>", "logprob -1"),
            ("<4>", "logprob -2"),
            ("<3>", "logprob -3"),
        ]
