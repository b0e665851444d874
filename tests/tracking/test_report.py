"""`rlvr report`: what the page holds, that model text stays text, its size, and what is refused."""

from __future__ import annotations

import html.parser
import io
import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from report_pages import NODE, blocks, report, shown, unpack
from run_helpers import RECIPE, comparable, rlvr, steps_of

from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.tracking import RolloutRecords
from rlvr_cli.tracking.report.gather import POINTS, columns, read_runs
from rlvr_cli.tracking.report.rollouts import spread
from rlvr_cli.tracking.report.summary import print_summary

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202e\x1b[2J \ud800 @TITLE@"


def group(index: int, prompt: str, responses: list[tuple[str, Reason]]) -> Group:
    problem = Problem(
        id=f"p{index}", prompt=prompt, tokens=[1], answer="7", source="sums", verifiers=["math"]
    )
    right = [float(reason is Reason.correct) for _, reason in responses]
    return Group(
        problem=problem,
        index=index,
        completions=[
            Completion(
                tokens=np.array([3, 4], np.int32),
                logprobs=np.array([-0.5, -3.0], np.float32),
                text=text,
                finished=True,
            )
            for text, _ in responses
        ],
        verdicts=[{"math": Verdict(score=s, reason=r)} for s, (_, r) in zip(right, responses, strict=True)],
        scores=right,
        correct=right,
        first_scores=right,
    )


def make_run(out: Path, *, steps: int = 3, lr: float = 1e-4, tokens: bool = False) -> Path:
    """A run directory with the files a real one has; rollouts of steps 1 to 3."""
    out.mkdir(parents=True)
    recipe = {"name": out.name, "algorithm": {"name": "dapo"}, "trainer": {"lr": lr, "steps": steps}}
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        rows.append({"step": step, "time": 1.0, "reward/mean": 0.1234567 * step, "timing_s/rollout": 2.0})
        rows[-1] |= {"timing_s/update": 1.0, "timing_s/step": 4.0}
    rows[1] |= {"actor/grad_norm": None, "nonfinite": ["actor/grad_norm"]}
    for step, mean in ((0, 0.25), (steps, 0.75)):
        name = "eval/sums/"
        rows.append({"step": step, "time": 2.0, "event": "eval", "bench": "sums", f"{name}avg@4": mean})
        rows[-1] |= {f"{name}ci95_low": mean - 0.125, f"{name}ci95_high": mean + 0.125}
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    event = {"step": 2, "time": 3.0, "kind": "warning", "message": f"entropy falls {HOSTILE}"}
    found = event | {"kind": "diagnosis", "step": 3, "message": "mode collapse"}
    (out / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (event, found)))
    records = RolloutRecords(out / "rollouts", 0, tokens=tokens)
    for step in (1, 2, 3):
        groups = [
            group(1, f"3+4= {HOSTILE}", [(HOSTILE, Reason.wrong), ("it is seven", Reason.correct)]),
            group(2, "what is 3+4?", [("nothing", Reason.no_answer), ("seven is it", Reason.correct)]),
        ]
        seen = {"trainer_logprobs": [-0.52, -2.99], "entropies": [0.6, 1.5], "clipped": [0.0, 1.0]}
        rewards, advantages, kept = [[0.0, 1.0]] * 2, [[-1.0, 1.0]] * 2, [True, False]
        records.write(step, groups, rewards, advantages, kept, [step] * 2, notes={1: [seen, {}]})
    return out


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_holds_the_numbers_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "one")
    assert report(run) == 0
    data = blocks(run / "report.html")
    [found] = data["data"]["runs"]
    assert (found["kind"], found["state"], found["last_step"]) == ("rl", "stopped", 3)
    metric = found["metrics"]["reward/mean"]
    assert found["grids"][metric["grid"]] == [1, 2, 3]
    assert metric["values"] == pytest.approx([0.1234567, 0.2469134, 0.3703701])
    assert found["metrics"]["actor/grad_norm"]["values"] == [None]
    assert found["metrics"]["eval/sums/avg@4"]["values"] == [0.25, 0.75]
    assert found["phases"] == {"rollout": 6.0, "update": 3.0, "other": 3.0}
    assert found["recipe"]["trainer.lr"] == 1e-4
    groups = data["rollouts-0-2"]
    assert [one["kept"] for one in groups] == [True, False]
    assert groups[0]["samples"][1]["advantage"] == 1.0 and groups[0]["samples"][0]["response"] == HOSTILE
    out = capsys.readouterr().out
    assert "25.0% [12.5%, 37.5%]" in out and "75.0% [62.5%, 87.5%]" in out and "entropy falls" in out
    assert "report.html" in out and "\x1b" not in out


def test_hostile_text_is_no_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<b>&<script>")
    assert report(run) == 0
    text = (run / "report.html").read_text()
    assert "alert(" not in text and "onerror=" not in text
    tags = Tags()
    tags.feed(text)
    names = [tag for tag, _ in tags.seen]
    assert names.count("script") == 5 and "b" not in names  # data, three steps, the program
    assert not [each for _, each in tags.seen if "src" in each or each.get("href", "#")[:1] != "#"]  # type: ignore[index]
    result = shown(run / "report.html", ["open"])
    assert "img" not in result["tags"] and "script" not in result["tags"]
    assert "<img src=x onerror=alert(2)>" in result["shown"]["rollouts"]
    assert "\u202e" not in result["shown"]["rollouts"] and "\x1b" not in result["shown"]["events"]
    assert result["shown"]["title"] == "<b>&<script>"


def test_the_script_draws_what_is_there(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert report(run) == 0
    page = run / "report.html"
    result = shown(page, ["hover", "reward/mean", 46 + 366 / 2])
    assert "one 0.2469 at 2" in result["shown"]["curves"]
    assert "25.0% [12.5%, 37.5%]" in result["shown"]["evaluations"]
    assert "rollout50.0%0:00:062" in result["shown"]["time"]
    assert {"step 2, warning", "step 3, diagnosis"} <= {mark.split(":")[0] for mark in result["marks"]}
    smooth, raw = (shown(page, ["smooth", value])["paths"] for value in ("50", "0"))
    assert raw[0] == raw[1] and smooth[0] == raw[0]
    wide = run / "wide.html"
    assert report(make_run(tmp_path / "long", steps=12), "-o", wide) == 0
    long = shown(wide, ["smooth", "50"])["paths"]
    assert long[0] != long[1]  # the smoothed line is another one than the raw one


def test_scores_over_the_distance_from_the_reference(tmp_path: Path) -> None:
    """The first step is the furthest here: dots go by distance, not by time."""
    run = make_run(tmp_path / "far", steps=12)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "event" not in row:
            step = row["step"]
            row |= {
                "actor/ref_kl": ((13 - step) / 100) ** 2,
                "reward/score": None if step == 5 else step / 10,
            }
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report(run) == 0
    result = shown(run / "report.html", ["hover", "reward/score over the root of actor/ref_kl", 412])
    assert "far 0.1 at 0.12" in result["shown"]["curves"] and "audit/score" not in result["shown"]["curves"]
    assert report(make_run(tmp_path / "plain")) == 0
    assert "over the root" not in shown(tmp_path / "plain" / "report.html")["shown"]["curves"]


def test_filter_and_search_of_rollouts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    assert report(run) == 0
    page = run / "report.html"

    wanted = {
        ("choose", "step", "all"): "6 of 6 groups, 12 matching samples",
        ("choose", "step", "rollouts-0-2"): "2 of 2 groups, 4 matching samples",
        ("choose", "reason", "no_answer"): "1 of 2 groups, 1 matching samples",
        ("choose", "reason", ""): "2 of 2 groups, 4 matching samples",
        ("choose", "verdict", "right"): "2 of 2 groups, 2 matching samples",
        ("choose", "filter", "dropped"): "1 of 2 groups, 1 matching samples",
        ("choose", "verdict", ""): "1 of 2 groups, 2 matching samples",
        ("choose", "filter", ""): "2 of 2 groups, 4 matching samples",
        ("choose", "source", "sums"): "2 of 2 groups, 4 matching samples",
        ("search", "IT IS sev"): "1 of 2 groups, 1 matching samples",
    }
    after = shown(page, *map(list, wanted))["after"]
    said = [re.search(r"\d+ of \d+ groups, \d+ matching samples", text)[0] for text in after]  # type: ignore[index]
    assert said == list(wanted.values())


def test_token_logprobs_are_shown_where_they_are_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", tokens=True)
    from tokenizers import Tokenizer, models

    (run / "final").mkdir()
    Tokenizer(models.WordLevel({"<unk>": 0, "a": 3, "b": 4}, "<unk>")).save(
        str(run / "final" / "tokenizer.json")
    )
    assert report(run) == 0
    sample = blocks(run / "report.html")["rollouts-0-0"][0]["samples"][0]
    assert [text.strip() for text in sample["tokens"]] == ["a", "b"] and sample["logprobs"] == [-0.5, -3.0]

    def heat(kind: str) -> list[tuple[str, str]]:
        spans = shown(run / "report.html", ["choose", "tokens by", kind], ["open"])["heat"]
        return [(title.split("  ", 1)[1], style) for _, title, style in spans]

    sampled = heat("sampled logprob")
    assert sampled[0] == ("logprob -0.5  probability 0.607", "background:rgba(213,94,0,0.075)")
    assert sampled[1][1] == "background:rgba(213,94,0,0.450)"
    assert heat("logprob gap") == [  # of the one sample that was trained on
        ("trainer - engine -0.02 nats", "background:rgba(0,114,178,0.150)"),
        ("trainer - engine 0.01 nats", "background:rgba(213,94,0,0.075)"),
    ]
    assert heat("entropy")[1] == ("entropy 1.5 nats", "background:rgba(213,94,0,0.375)")
    assert [said for said, _ in heat("clipped")] == ["not clipped", "held back by the clip"]
    shutil.rmtree(run / "final")
    assert report(run) == 0
    assert blocks(run / "report.html")["rollouts-0-0"][0]["samples"][0]["tokens"] == ["<3>", "<4>"]


def test_several_runs_and_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a" / "seed0"), make_run(tmp_path / "b" / "seed0", lr=2e-4)]
    assert report(*runs, "--png", tmp_path / "both.png", "--steps", "2") == 0
    data = blocks(runs[0] / "comparison.html")
    assert [run["name"] for run in data["data"]["runs"]] == ["a/seed0", "b/seed0"]
    assert data["data"]["differences"] == {"trainer.lr": [1e-4, 2e-4]}
    assert set(data) == {"data", "rollouts-0-0", "rollouts-1-0"}
    assert {each["step"] for each in data["rollouts-1-0"]} == {2}
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert "trainer.lr" in capsys.readouterr().out
    assert "trainer.lr1e-42e-4" in shown(runs[0] / "comparison.html")["shown"]["recipe"]


def test_a_narrow_terminal_cuts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "one")
    late = [{"step": 3, "kind": "warning", "message": f"warning {number}"} for number in range(4)]
    with open(run / "events.jsonl", "a") as events:
        events.writelines(json.dumps(each) + "\n" for each in late)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    print_summary(terminal, read_runs([run]), [])
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    tables = [line for line in lines if not line.startswith("one")]
    assert "one: rl, stopped, 3 steps, 0:00:12" in lines
    assert not [line for line in tables if "…" in line or len(line) > 60]
    said = [line.split(": ")[1] for line in lines if line.startswith("one, step")]
    assert said == ["mode collapse", "warning 2", "warning 3"]  # a diagnosis before the warnings that repeat


def test_evaluations_and_a_run_that_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "measured"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: measured\nbenches: {sums: {k: 2}}\n")
    problem = {"index": 0, "id": "p", "answer": "7", "prompt": "3+4=", "correct": [1.0, 0.0]}
    problem |= {"extracted": ["7", None], "reasons": ["correct", "no_answer"], "lengths": [3, 9]}
    problem |= {"truncated": [False, True], "responses": ["it is 7", HOSTILE]}
    result = {"bench": "sums", "summary": {}, "protocol": {}, "source": {}, "verifier": {"name": "math"}}
    (run / "sums.json").write_text(json.dumps(result | {"problems": [problem]}))
    (run / ".lock").write_text(f"process {os.getpid()} on {os.uname().nodename}")
    assert report(run) == 0
    data = blocks(run / "report.html")
    assert (data["data"]["runs"][0]["kind"], data["data"]["runs"][0]["state"]) == ("eval", "running")
    [cut] = [sample for sample in data["rollouts-0-0"][0]["samples"] if not sample["finished"]]
    assert cut["verdicts"]["math"]["reason"] == "no_answer"
    assert "9 tokens, truncated" in shown(run / "report.html", ["open"])["shown"]["rollouts"]


def test_long_curves_are_averaged_and_their_peaks_kept() -> None:
    rows = [{"step": step, "x": float(step == 777)} for step in range(10 * POINTS)]
    found = columns(rows)
    metric = found["metrics"]["x"]
    assert len(metric["values"]) == POINTS == len(found["grids"][0])
    assert metric["values"][77] == 0.1 and metric["high"][77] == 1.0 and metric["low"][77] == 0.0


def test_any_start_of_the_order_is_spread_over_the_run() -> None:
    assert list(spread(0)) == [] and list(spread(1)) == [0]
    order = list(spread(1000))
    assert sorted(order) == list(range(1000)) and order[:3] == [999, 0, 499]
    first = sorted(order[:65])
    assert max(b - a for a, b in itertools.pairwise(first)) <= 17


def test_a_thousand_steps_of_256_samples_stay_small(tmp_path: Path) -> None:
    run = make_run(tmp_path / "big", steps=1000)
    noise, letters = random.Random(0), "abcdefghijklmnopqrstuvwxyz0123456789 "
    names = [f"metric/{number}" for number in range(60)]
    rows = [{"step": n, "time": 1.0} | {name: noise.random() for name in names} for n in range(1, 1001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [[("".join(noise.choices(letters, k=1000)), Reason.wrong) for _ in range(8)] for _ in range(32)]
    groups = [group(number, f"prompt {number}", responses) for number, responses in enumerate(words)]
    zeros = [[0.0] * 8] * 32
    RolloutRecords(run / "rollouts", 0).write(1, groups, zeros, zeros, [True] * 32, [0] * 32)
    first = run / "rollouts" / "step_000001.rank0.jsonl"
    for step in range(2, 1001):
        path = run / "rollouts" / f"step_{step:06d}.rank0.jsonl"
        path.unlink(missing_ok=True)
        os.link(first, path)  # a thousand files, one on disk
    assert report(run) == 0
    page = run / "report.html"
    assert 10e6 < page.stat().st_size < 12e6
    listed = unpack(re.search(r'id="data">([^<]*)<', page.read_text())[1])["runs"][0]  # type: ignore[index]
    steps = [chunk["step"] for chunk in listed["rollouts"]]
    assert steps[0] == 1 and steps[-1] == 1000 and listed["steps_recorded"] == 1000
    assert all(chunk["groups"] == chunk["recorded"] == 32 for chunk in listed["rollouts"])
    if NODE is not None:
        assert shown(page)["shown"]["rollouts"]
    assert report(run, "--rollouts", "0.1") == 0  # less than one step: its first groups
    [cut] = blocks(page)["data"]["runs"][0]["rollouts"]
    assert 0 < cut["groups"] < cut["recorded"] == 32 and page.stat().st_size < 2e6
    if NODE is not None:
        assert f"Of step 1000 the first {cut['groups']} of 32 groups." in shown(page)["shown"]["rollouts"]
    (run / "rollouts" / "step_001000.rank0.jsonl").write_text("unreadable\n")
    assert report(run, "--rollouts", "0") == 0  # no step is read
    assert blocks(page)["data"]["runs"][0]["rollouts"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "the following arguments are required: RUN"),
        ("oen", "oen does not exist; report takes run directories; did you mean 'one'?"),
        ("one/recipe.yaml", "one/recipe.yaml is a file"),
        ("empty", "empty is no run directory: it has neither recipe.yaml nor metrics.jsonl"),
        ("one ./one", "is given twice"),
        ("one -o empty", "--out: empty is a directory"),
        ("one -o no/page.html", "--out: no is not a directory"),
        ("one --png no/a.png", "--png: no is not a directory"),
        ("one -o x --png x", "--out and --png name the same file"),
        ("one --rollouts -1", "--rollouts is -1"),
        ("one --steps 1,a", "--steps is '1,a'"),
        ("one --steps 9", "no rollouts of step 9 are recorded; there are 1 to 3"),
        ("torn", "metrics.jsonl cannot be read"),
        ("stepless", "metrics.jsonl, line 1 is no row of a run"),
        ("new --png x.png", "--png: no step is recorded"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "one")
    for name, metrics in (("empty", None), ("torn", "{\n{}\n"), ("stepless", '{"a": 1}\n'), ("new", "")):
        (tmp_path / name).mkdir()
        if metrics is not None:
            (tmp_path / name / "metrics.jsonl").write_text(metrics)
    before = sorted(tmp_path.rglob("*"))
    assert report(*arguments.split()) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_steps_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "recipe.yaml").write_text("name: new\nalgorithm: {name: sft}\n")
    assert report(tmp_path / "new") == 0
    result = shown(tmp_path / "new" / "report.html")
    assert "sft" in result["shown"]["runs"] and "No steps are recorded." in result["shown"]["curves"]
    assert "No rollouts are recorded" in result["shown"]["rollouts"]


def test_a_real_run_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    rows = {}
    for tokens in ("false", "true"):
        run = tmp_path / tokens
        unread = "rollout.kv_cache_gb=0.5"
        overrides = [f"out={run}", "trainer.steps=2", f"tracker.tokens={tokens}", unread]
        done = rlvr("grpo", str(tmp_path / "mine.yaml"), *overrides)
        assert done.returncode == 0, done.stderr
        rows[tokens] = [comparable(row) for row in steps_of(run)]
    assert rows["true"] == rows["false"]  # what is recorded does not change training
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert not [event for event in events if "keys" in event]  # told before the start, and once is enough
    assert "rollout.kv_cache_gb" in done.stderr
    assert report(run, "--png", tmp_path / "curves.png") == 0
    page = blocks(run / "report.html")
    [found] = page["data"]["runs"]
    assert (found["kind"], found["state"], found["last_step"]) == ("rl", "finished", 2)
    trained = [sample for one in page["rollouts-0-0"] for sample in one["samples"] if "gaps" in sample]
    assert trained and all(sample["advantage"] is not None for sample in trained)
    for sample in trained:
        assert len(sample["gaps"]) == len(sample["entropies"]) == len(sample["clipped"]) == sample["length"]
        assert max(map(abs, sample["gaps"])) < 1e-3 and min(sample["entropies"]) > 0
        assert set(sample["clipped"]) <= {0, 1}
    for one in page["rollouts-0-0"]:
        for sample in one["samples"]:
            assert len(sample["tokens"]) == len(sample["logprobs"]) == sample["length"]
            shown = re.sub(r"<(bos|eos|pad|unk)>", "", "".join(sample["tokens"]))  # an untrained model's
            assert shown == sample["response"]
            assert max(sample["logprobs"]) <= 0
    assert (tmp_path / "curves.png").read_bytes() == (run / "curves.png").read_bytes()
