"""`rlvr inspect trajectories`: RaML's worked numbers, one cache against forward passes, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rlvr_cli.commands.main import main
from rlvr_cli.engine.model import load_model, load_tokenizer
from rlvr_cli.inspect import answer_curve, course, summaries, trajectories
from rlvr_cli.inspect.answer_curve import Ask
from rlvr_cli.inspect.course import Course
from rlvr_cli.inspect.recorded import read
from rlvr_cli.inspect.summaries import Summary, Wanted, Writer
from rlvr_cli.inspect.trajectories import Settings, Traces, closes, places_of
from rlvr_cli.schema import Model, Precision


def near(x: float) -> Any:
    return pytest.approx(x, abs=1e-4)


def test_worked_numbers() -> None:
    """RaML: answer tokens of log-probabilities -.1 and -.3 have L .2 and confidence .8187; 1.5 -> 1.2 is an
    effect of .2; the average of [2, 1] with alpha .5 is 2, 1.5."""
    logits = torch.full((1, 4, 3), -20.0)
    for place, logp in ((1, -0.1), (2, -0.3)):  # after the lead's last token, and after the answer's first
        logits[0, place, 1], logits[0, place, 0] = logp, math.log(1 - math.exp(logp))
    logits[0, 3, 2] = 5.0
    found = answer_curve._points(logits, Ask(lead=[0, 0], answer=[1, 1], close=[2]))
    assert found.losses == [near(0.2)] and found.spelled == [True] and found.closing == [2]
    assert Course(places=[0], losses=[0.2], right=[True]).confidences == [near(0.8187)]
    assert course.effect(1.5, 1.2) == near(0.2) and course.effect(0.0, 1.0) is None
    assert course.ema([2.0, 1.0], 0.5) == [2.0, 1.5]
    assert course.ema([2.0, 1.0], 0.5, places=[0, 2]) == [2.0, 1.25], "two tokens are two steps of one"


def test_words_are_found_in_tokens() -> None:
    pieces = ["Wa", "it", ",", " Hold", " on", ". Waiting", " So", " be it"]
    assert course.occurrences(pieces, "Wait") == [(0, 2)], "Waiting is another word"
    assert course.occurrences(pieces, "Hold on") == [(3, 5)] and course.occurrences(pieces, "So") == [(6, 7)]
    assert course.occurrences(pieces, "so") == []
    assert course.occurrences(list("1+2=3, so=3"), "=") == [(3, 4), (9, 10)]
    assert course.thought(["a", "b", "</think>", "\\boxed{1}"]) == 2
    assert course.thought(["\\boxed{1}", " or ", "\\box", "ed{2}"]) == 2 and course.thought(["a", "b"]) == 2


def test_effects_of_words_and_of_tokens() -> None:
    """Two tokens from 2 to 1 and from 1 to 1.5, the second of them a word; a third from 0 has no effect."""
    found = course.effects(
        [
            Course(places=[0, 1, 2], losses=[2.0, 1.0, 1.5], right=[False] * 3, spans={"Wait": [(1, 2)]}),
            Course(places=[0, 1], losses=[0.0, 1.0], right=[False] * 2),
        ],
        every=1,
    )
    assert (found["all"].count, found["all"].mean, found["all"].median) == (3, 0.5, 0.5)
    assert (found["Wait"].count, found["Wait"].mean, found["Wait"].change) == (1, 0.5, 0.5)


def test_where_a_response_turns() -> None:
    likely = [0.1, 0.6, 0.2, 0.7, 0.9]
    one = Course(
        places=[0, 4, 8, 12, 14],
        losses=[-math.log(p) for p in likely],
        right=[False, True, False, True, True],
    )
    assert course.settled(one) == 12 and course.enough(one) == 12, "once is not for good"
    before, after, change = course.turn(one) or (0, 0, 0.0)
    assert (before, after, change) == (0, 4, near(0.5)), "the first of equal ones"
    one.losses[-1], one.right[-1] = 3.0, False
    assert course.settled(one) is None and course.enough(one) is None
    assert places_of(10, 4, {"So": [(5, 7)]}) == [0, 2, 4, 5, 7, 8, 10]


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Any:
    model = load_model(Model(path=str(tiny_path), attention="sdpa"), Precision.fp32)
    return model.eval()


ASK = Ask(lead=[20, 21, 22], answer=[30, 31, 32, 33], close=[40, 41])


def test_the_cache_says_what_forward_passes_say(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the places take several passes, with an empty response, and in float64 to rounding."""
    tokens = torch.randint(5, 90, (57,), generator=torch.Generator().manual_seed(0)).tolist()
    ends = list(range(6, 58))
    plain = answer_curve.anew(tiny, tokens, ends, ASK)
    for logits in (2**25, 99 * 9 * 7):
        monkeypatch.setattr(answer_curve, "LOGITS", logits)
        found = answer_curve.from_cache(tiny, tokens, ends, ASK)
        assert found.losses == pytest.approx(plain.losses, abs=1e-5)
        assert found.spelled == plain.spelled and found.closing == plain.closing
    assert max(plain.losses) - min(plain.losses) > 0.01, "places differ"
    assert (answer_curve.cache_gap(tiny, tokens, ends, ASK) or 0) < 1e-5
    wide = tiny.double()
    exact = answer_curve.from_cache(wide, tokens, ends, ASK).losses
    assert exact == pytest.approx(
        answer_curve.anew(wide, tokens, ends, ASK).losses, abs=1e-6
    )  # scored in fp32
    tiny.float()


def test_a_model_with_a_window_is_read_by_forward_passes() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 50}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 4}
    model = MistralForCausalLM(MistralConfig(**sizes, **heads)).eval()
    assert answer_curve.cache_gap(model, list(range(20)), [3, 9, 20], ASK) is None
    assert len(answer_curve.curve(model, list(range(20)), [3, 9], ASK, cached=False).losses) == 2


def result(path: Path, model: str, responses: list[str]) -> Path:
    """A result file of one problem."""
    count = len(responses)
    lists = {name: [None] * count for name in ("extracted", "details", "lengths", "reasons")}
    problem = {"index": 0, "id": "47+85=", "prompt": "47+85=", "answer": "132", "responses": responses}
    problem |= lists | {"correct": [True] + [False] * (count - 1), "scores": [0.0] * count}
    problem |= {"truncated": [False] * count}
    whole = {
        "bench": "sums",
        "summary": {},
        "protocol": {"k": count},
        "source": {},
        "verifier": {"name": "math"},
    }
    path.write_text(json.dumps(whole | {"model": model, "problems": [problem]}))
    return path


def test_the_command(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responses = ["7+5=12. Wait, 4+8+1=13 \\boxed{132}", "7+5=2 \\boxed{2}", ""]
    file = result(tmp_path / "sums.json", str(tiny_path), responses)
    assert main(["inspect", "trajectories", str(file), "--every", "4", "--json"]) == 0
    said, talk = capsys.readouterr()
    numbers = json.loads(said)
    assert not talk, "what libraries say while they load a model is no one's to read"
    assert (numbers["samples"], numbers["right"]) == (2, 1)
    assert numbers["effects"]["Wait"]["count"] == 1 and numbers["effects"]["all"]["count"] == 6
    assert "left out: 1 empty responses" in numbers["told"] and set(numbers["cut"]) == {
        "all",
        "right",
        "wrong",
    }
    head, *rows = map(json.loads, (tmp_path / "sums.trajectories.jsonl").read_text().splitlines())
    assert head["summary"]["about"] == numbers["about"] and len(rows) == 2
    assert rows[0]["thought"] == len("7+5=12. Wait, 4+8+1=13 ") and rows[0]["tokens"] == len(responses[0])
    assert {0, 8, 12, rows[0]["thought"]} <= set(rows[0]["places"]), "around the word, and both ends"
    assert numbers["cut"]["right"]["1"]["likelihood"] == pytest.approx(
        math.exp(-rows[0]["loss"][-1]), abs=1e-5
    )
    assert (tmp_path / "sums.trajectories.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["inspect", "trajectories", str(file), "--words", "=", "--until", "Wait"]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 samples, 1 of them right" in said and "every 8 tokens" in said


@pytest.mark.slow
def test_the_report_draws_them(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the samples they are of: where a response is another one by now, nothing is drawn."""
    from report_pages import blocks, report, shown

    run = tmp_path / "run"
    (run / "eval").mkdir(parents=True)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 1.0, "reward/mean": 0.5}) + "\n")
    file = result(run / "eval" / "sums.json", str(tiny_path), ["7+5=12 \\boxed{12}", "7+5=2"])
    assert main(["inspect", "trajectories", str(file), "--every", "3"]) == 0
    stored = json.loads(file.read_text())
    stored["problems"][0]["responses"][1] = "another one"
    file.write_text(json.dumps(stored))
    assert report(run) == 0
    first, second = blocks(run / "report.html")["rollouts-0-0"][0]["samples"]
    assert first["course"]["places"] == [0, 2, 3, 4, 5, 6, 7] and "course" not in second
    page = shown(run / "report.html", ["open"])
    assert f"{first['course']['likely'][2]:g} after 3 of 7 tokens" in page["shown"]["rollouts"]
    assert not page["failed"]


THINKING = "7+5=12. Wait, 4+8+1=13 "


def test_a_summary_stands_where_the_thinking_stood(tiny: Any, tiny_path: Path, tmp_path: Path) -> None:
    """The thinking itself as its summary is worth what the whole is, and an empty one what nothing is."""
    file = result(tmp_path / "sums.json", str(tiny_path), [f"{THINKING}\\boxed{{132}}"])
    settings = Settings(every=50, summaries=Wanted(count=2))
    source, tokenizer = read(file, None, 1), load_tokenizer(Model(path=str(tiny_path)))
    traced = trajectories.trace(tiny, tokenizer, source.samples[0], settings, cached=True)
    assert traced is not None
    found = Traces(source=source, model="", settings=settings, traced=[traced])
    written = [Summary(text=text, tokens=1, finished=True) for text in (THINKING, "", "so 132.", "so 1325")]
    trajectories._score(tiny, tokenizer, found, {0: written}, None)
    whole, nothing, named, other = traced.summaries
    assert whole.loss == near(traced.course.losses[-1]) and nothing.loss == near(traced.course.losses[0])
    assert abs(whole.loss - nothing.loss) > 1e-3
    assert [each.names for each in (whole, named, other)] == [False, True, False]
    assert written[0].loss != written[0].loss, "what was written stays as it was"
    numbers = summaries.numbers([([whole, nothing], 20), ([], 5)], 2) or {}
    assert (numbers["samples"], numbers["median_length"], numbers["finished"]) == (1, 1 / 20, 1.0)
    long = [Summary(text="1" * 30, tokens=30, finished=False)]
    trajectories._score(tiny, tokenizer, found, {0: long}, 30)
    assert "left out: 1 summaries that with the question for the answer exceed 30 positions" in found.told
    assert summaries.in_place("<think>\nlong", "short") == "<think>\nshort"


def test_a_writer_reads_what_fits_and_says_so(tiny: Any, tiny_path: Path) -> None:
    tokenizer = load_tokenizer(Model(path=str(tiny_path)))
    writer = Writer(tiny, tokenizer, str(tiny_path), Wanted(count=3, ask="{problem}: {thinking} =", tokens=6))
    first, again, other = (writer.write("1+2", "three", seed) for seed in (0, 0, 1))
    assert first == again != other and len(first) == 3 and all(each.tokens <= 6 for each in first)
    assert not writer.told()
    writer.room = 6 + len("1+2: thr =")
    assert writer._prompt("1+2", "three") == tokenizer("1+2: thr =")["input_ids"]
    assert writer.write("a long problem", "three", 0) == []
    assert [line.split()[0] for line in writer.told()] == ["1", "1"]
    assert writer._read([*tokenizer("so</think> 12")["input_ids"], tokenizer.eos_token_id, 9]) == Summary(
        text="12", tokens=13, finished=True
    )


def test_the_command_with_summaries(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = result(tmp_path / "sums.json", str(tiny_path), [f"{THINKING}\\boxed{{132}}", "7+5=2 \\boxed{2}"])
    asked = ["inspect", "trajectories", str(file), "--summaries", "2", "--summary-tokens", "9"]
    short = ["--summary-ask", "{thinking} so"]
    assert main([*asked, *short, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    each = numbers["summaries"]["right"]
    assert (each["count"], each["samples"]) == (2, 1) and 0 < each["likelihood"] < 1
    rows = [json.loads(row) for row in (tmp_path / "sums.trajectories.jsonl").read_text().splitlines()]
    assert [len(row["summaries"]) for row in rows[1:]] == [2, 2]
    assert each["likelihood"] == pytest.approx(
        sum(math.exp(-one["loss"]) for one in rows[1]["summaries"]) / 2, abs=1e-5
    )
    assert main([*asked, *short, "--summary-model", str(tiny_path)]) == 0
    said = capsys.readouterr().out
    assert f"summaries by {tiny_path}: in the median" in said and "a summary  any of 2" in said
    assert json.loads((tmp_path / "sums.trajectories.jsonl").read_text().splitlines()[1]) == rows[1]


def test_what_the_command_refuses(
    tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = result(tmp_path / "sums.json", str(tiny_path), ["", ""])
    said = {
        (str(file),): "has no sample to look at (left out: 2 empty responses)",
        (str(file), "--step", "3"): "is a result file, which has no steps",
        (str(file), "--every", "0"): "--every is 0; it must be at least 1",
        (str(file), "--ema", "0"): "--ema is 0.0; it must be above 0",
        (str(file), "--ask", ""): "--ask is empty; it is the text that asks for the answer",
        (str(tmp_path),): "has no rollouts/ with samples",
        (str(file), "--model", str(tmp_path)): "--model: ",
        (str(file), "--summaries", "0"): "--summaries is 0; it must be at least 1",
        (str(file), "--summary-tokens", "9"): "--summary-tokens is of summaries, and none are wanted",
        (str(file), "--summaries", "1", "--summary-ask", "x"): "--summary-ask has no {thinking} in it",
    }
    for words, why in said.items():
        assert main(["inspect", "trajectories", *words]) == 2
        assert why in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sums.json"]


def test_what_closes_an_answer(tiny_path: Path) -> None:
    tokenizer = load_tokenizer(Model(path=str(tiny_path)))
    of = {text: tokenizer(text)["input_ids"][0] for text in "}2"}
    assert closes(tokenizer, of["}"], "}") and not closes(tokenizer, of["2"], "}")
    assert closes(tokenizer, tokenizer.eos_token_id, "") and not closes(tokenizer, of["}"], "")
    assert Settings().close == "}"
