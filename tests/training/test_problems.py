"""Problems are routed to their verifiers, looked at, and refused where the recipe says so."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_helpers import RECIPE, rlvr, steps_of

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Group, Problem, Reason, Verdict
from rlvr_cli.data.hygiene import Checker
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.evaluation.bench import questions
from rlvr_cli.sampling.collect import gates_of, score
from rlvr_cli.schema import Bench, Eval, Hygiene, Recipe, Source, Unscored, Verification
from rlvr_cli.training.problems import load_problems
from rlvr_cli.verifiers.always import Always
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math, Units

pytestmark = pytest.mark.slow

LONG = "Ann has three red apples and gives two of them to Bob, who eats one. How many does Ann keep?"
INSTRUCTIONS = "Solve the problem step by step and write the last line of your response as Answer: X."


@cache
def tokenizer() -> Any:
    return tiny_tokenizer(512)


class Events(list[tuple[str, str]]):
    def event(self, kind: str, message: str, **fields: Any) -> None:
        self.append((kind, message))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def recipe(tmp_path: Path, **sources: Source) -> Recipe:
    return Recipe(
        name="t",
        out=str(tmp_path / "out"),
        data=sources,
        verifiers={"math": Math(), "match": Match(weight=0.5), "form": Format(require_box=True, gate=True)},
        algorithm=None,
        verification=Verification(workers=1),
    )


def load(made: Recipe) -> tuple[dict[str, list[Problem]], Events, dict[str, Any]]:
    events = Events()
    sampler = load_problems(made, tokenizer(), events)  # type: ignore[arg-type]
    report = Path(made.out) / "data_report.json"
    return sampler.items, events, json.loads(report.read_text()) if report.exists() else {}


def source(path: str, **settings: Any) -> Source:
    return Source(path=path, **{"verifiers": ["math"], **settings})


def test_what_is_found(tmp_path: Path) -> None:
    train = write(
        tmp_path / "a.jsonl",
        [
            {"prompt": "1+1=", "answer": "2"},
            {"prompt": "1+2=", "answer": "3"},
            {"prompt": " 1+1= ", "answer": "2"},
            {"prompt": "1+1=", "answer": "5"},
            {"prompt": "now print", "answer": "__import__"},
            {"prompt": f"Question: {LONG.upper()}", "answer": "1"},
            {"prompt": "9+9=", "answer": "18"},
        ],
    )
    other = write(tmp_path / "b.jsonl", [{"prompt": "1+2=", "answer": "3"}])
    bench = write(
        tmp_path / "bench.jsonl",
        [{"prompt": LONG, "answer": "1", "id": "apples"}, {"prompt": "9+9=", "answer": "18", "id": "nines"}],
    )
    made = recipe(tmp_path, train=source(train), other=source(other))
    made.eval = Eval(benches={"fruit": Bench(source=source(bench), verifier=Math())})
    _, events, report = load(made)
    found = {kind: finding["count"] for kind, finding in report["train"]["found"].items()}
    assert found == {
        "duplicate_prompts": 2,
        "duplicates_with_another_answer": 1,
        "unusable_golds": 1,
        "benchmark_overlaps": 2,
    }
    apples, nines = report["train"]["found"]["benchmark_overlaps"]["examples"]
    assert (apples["id"], apples["bench"], apples["problem"]) == ("6", "fruit", "apples")
    assert apples["shared"].startswith("ann has three red apples") and len(apples["shared"].split()) == 13
    assert (nines["id"], nines["problem"], nines["shared"]) == ("7", "nines", "9+9=")
    assert report["train"]["found"]["unusable_golds"]["examples"][0]["fault"] == (
        "math: not a mathematical answer"
    )
    [across] = report["other"]["found"]["prompts_of_another_source"]["examples"]
    assert across["first"] == "train 2"
    assert (report["train"]["rows"]["kept"], report["train"]["rows"]["no_gold"]) == (6, 1)
    said = [message for kind, message in events if kind == "data_check"]
    assert len(said) == 2 and "2 prompts that another row has (first: row 3)" in said[0]


def test_strict_refuses_and_clean_data_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "1+1=", "answer": "2"}] * 3)
    made = recipe(tmp_path, train=source(path))
    made.hygiene = Hygiene(strict=True, examples=1)
    with pytest.raises(UserError, match=r"strict: data.train: 2 prompts that another row has") as refusal:
        load(made)
    assert "\n" not in str(refusal.value)
    report = json.loads((tmp_path / "out" / "data_report.json").read_text())
    assert report["train"]["found"]["duplicate_prompts"]["count"] == 2
    assert len(report["train"]["found"]["duplicate_prompts"]["examples"]) == 1
    made.data["train"].deduplicate = True
    problems, events, report = load(made)
    assert len(problems["train"]) == 1 and report["train"]["found"] == {}
    assert not [kind for kind, _ in events if kind == "data_check"]


def test_switched_off_it_looks_at_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "1+1=", "answer": "2"}] * 3)
    made = recipe(tmp_path, train=source(path))
    made.hygiene = Hygiene(enabled=False, strict=True)
    problems, _, report = load(made)
    assert len(problems["train"]) == 3 and report == {}


def test_instructions_of_a_benchmark_are_no_overlap() -> None:
    checker = Checker(Hygiene())
    words = [f"w{n}" for n in range(400)]
    problems = [" ".join(words[20 * n : 20 * n + 20]) for n in range(20)]
    checker.bench(
        "b", [{"id": str(n), "prompt": f"{INSTRUCTIONS} {text}"} for n, text in enumerate(problems)]
    )
    checker.row("train", {"id": "1", "prompt": f"{INSTRUCTIONS} What is 3 times 4?", "answer": "12"})
    assert checker.findings["train"] == {}
    checker.row("train", {"id": "2", "prompt": f"Well: {problems[7]}", "answer": "12"})
    assert checker.findings["train"]["benchmark_overlaps"].examples[0]["problem"] == "7"


LETTERS = st.lists(st.sampled_from("ab"), max_size=12).map(" ".join)


@given(LETTERS, LETTERS, st.integers(2, 6))
def test_overlap_is_a_common_ngram(bench: str, train: str, n: int) -> None:
    """The probes are a short cut and change nothing."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)} or {("whole", text)}

    checker = Checker(Hygiene(ngram=n))
    checker.bench("b", [{"id": "1", "prompt": bench}])
    assert (checker.overlap(train) is not None) == bool(grams(bench) & grams(train))


def test_conversations_are_what_the_user_says() -> None:
    checker = Checker(Hygiene())
    for system in ("Be brief.", "Be long."):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "1+1="}]
        checker.row("train", {"id": system, "prompt": messages, "answer": "2"})
    assert checker.findings["train"]["duplicate_prompts"].count == 1


def test_rows_name_their_verifiers(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "answer": "1", "check": ["match", "form"]},
        {"prompt": "b", "answer": "1", "check": "math, form"},
        {"prompt": "c", "answer": "1", "check": None},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    routed = source(path, columns={"verifiers": "check"})
    problems, _, _ = load(recipe(tmp_path, train=routed))
    assert [p.verifiers for p in problems["train"]] == [["match", "form"], ["math", "form"], ["math"]]
    problems, _, _ = load(recipe(tmp_path, train=source(path)))  # a column nobody maps means nothing
    assert [p.verifiers for p in problems["train"]] == [["math"]] * 3
    rows[1]["check"] = "mth"
    write(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"data.train: row 2 names the verifier 'mth'; did you mean 'math'"):
        load(recipe(tmp_path, train=routed))
    rows[1]["check"] = "form"
    write(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"data.train: row 2 has no verifier that scores it, only gates"):
        load(recipe(tmp_path, train=routed))
    routed.verifiers = []
    rows[1]["check"] = "math"
    write(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match=r"data.train: row 3 has no verifier that scores it"):
        load(recipe(tmp_path, train=routed))


def test_shipped_recipes_of_reasoning_models_read_no_guesses() -> None:
    """R1's template opens `<think>`; evaluation within a run has the length that training has."""
    made = compose.load("prorl_qwen1.5b", [])
    assert isinstance(made, Recipe) and "R1" in made.model.path
    judges = [*made.verifiers.values(), *(bench.verifier for bench in made.eval.benches.values())]
    assert [judge.thinking for judge in judges] == [True] * len(judges)
    assert {bench.max_tokens for bench in made.eval.benches.values()} == {made.rollout.max_tokens}


def test_units_that_are_not_compared_are_spoken_of(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}", "answer": gold} for n, gold in enumerate(("10 km", "7", "3 \\text{ m}"))]
    made = recipe(tmp_path, train=source(write(tmp_path / "a.jsonl", rows), verifiers=["math", "match"]))
    made.hygiene = Hygiene(strict=True)  # nothing to refuse
    _, events, report = load(made)
    [said] = [message for kind, message in events if kind == "data_check"]
    assert said.startswith(
        "train: 2 of 3 gold answers say more than verifiers.math compares (first: the unit km"
    )
    assert report["train"]["uncompared"] == [said.removeprefix("train: ")]
    made.verifiers["math"] = Math(units=Units.require)
    _, events, report = load(made)
    assert report["train"]["uncompared"] == [] and not [kind for kind, _ in events if kind == "data_check"]


def test_prompts_that_open_the_reasoning_are_spoken_of(tmp_path: Path) -> None:
    """A verifier that is not told so takes a guess inside the reasoning for the answer."""
    path = write(tmp_path / "a.jsonl", [{"prompt": "1+1=", "answer": "2"}] * 2)
    made = recipe(tmp_path, train=source(path, prompt="{prompt}<think>\n", verifiers=["math", "match"]))

    def warned() -> list[str]:
        return [message for kind, message in load(made)[1] if kind == "warning"]

    [said] = warned()
    assert said.startswith("data.train: 2 of 2 prompts end in <think> and verifiers.math.thinking is false")
    made.verifiers["math"].thinking = True
    assert warned() == []
    bench = Bench(source=made.data["train"], verifier=Math())
    [said] = questions("b", bench, tokenizer(), 64).warnings("b")
    assert said.startswith("b: 2 of 2 prompts") and said.endswith("set benches.b.verifier.thinking=true")


def test_unusable_golds_are_left_out_of_training_and_evaluation(tmp_path: Path) -> None:
    rows = [
        {"prompt": "1+1=", "answer": None},
        {"prompt": "1+2=", "answer": ["3", "print(1)"]},
        {"prompt": "1+3=", "answer": "print(1)"},
    ]
    made = recipe(tmp_path, train=source(write(tmp_path / "a.jsonl", rows)))
    problems, events, report = load(made)
    assert [(p.id, p.golds) for p in problems["train"]] == [("2", ["3"])]
    counts = report["train"]["rows"]
    assert (counts["rows"], counts["kept"], counts["no_gold"], counts["unusable_golds"]) == (3, 1, 2, 1)
    assert report["train"]["found"]["unusable_golds"]["count"] == 3
    [said] = [message for kind, message in events if kind == "data"]
    assert "2 without a usable gold left out (" in said and "a.jsonl row 1: 'answer' is null; " in said
    asked = questions("b", Bench(source=made.data["train"], verifier=Math()), tokenizer(), 64)
    assert (len(asked.problems), asked.no_gold) == (1, 2)
    [line] = asked.warnings("b")
    assert line.startswith("b: 2 without a usable gold left out") and "row 3: 'print(1)'" in line
    made.data["train"].verifiers = ["form"]  # reads no gold: nothing to leave out, and only a gate
    with pytest.raises(UserError, match="row 1 has no verifier that scores it"):
        load(made)


def test_the_floor_of_the_self_test(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "answer": "12"} for n in range(3)] + [{"prompt": "x", "answer": "print(1)"}]
    made = recipe(tmp_path, train=source(write(tmp_path / "a.jsonl", rows)))
    made.verification.self_test_floor = 1.0
    with pytest.raises(UserError, match=r"'math' refuses 1 of \d+ right answers .* first rows: 4; see them"):
        load(made)
    made.verification.self_test_floor = 0.8  # a gold has several responses
    assert any("refuses 1 of " in message for kind, message in load(made)[1] if kind == "self_test")
    made.verification = Verification(workers=1, self_test_floor=1.0, self_test_rows=3)
    load(made)
    made.verifiers["math"] = Always()
    with pytest.raises(UserError, match="'math' \\(always\\) has no self-test"):
        load(made)


def test_gates_multiply() -> None:
    verifiers = {"math": Math(), "match": Match(weight=0.5), "form": Format(gate=True), "old": object()}
    assert gates_of(verifiers) == ["form"]

    def total(math: float, match: float, form: float) -> float:
        group = Group(problem=None, index=0, completions=[])  # type: ignore[arg-type]
        values = {"math": math, "match": match, "form": form}
        group.verdicts = [{name: Verdict(score=s, reason=Reason.wrong) for name, s in values.items()}]
        score(group, {"math": 1.0, "match": 0.5, "form": 9.0}, Unscored.drop, ["form"])
        assert group.first_scores == [math] and group.correct == [0.0]
        return group.scores[0]

    assert total(1, 1, 1) == 1.5 and total(1, 1, 0) == 0.0 and total(1, 0, 0.5) == 0.5


def test_a_run_with_gates_and_routes(tmp_path: Path) -> None:
    """Everything scores 1 by `always`; whatever is behind the gate, which nothing passes, scores 0."""
    rows = [{"prompt": f"{n}+1=", "answer": str(n + 1), "check": "sure"} for n in range(8)]
    shut = [{"prompt": f"{n}+2=", "answer": str(n + 2), "check": "sure,gate"} for n in range(8)]
    text = RECIPE.replace(
        "  - verifier@verifiers.chance: random",
        "  - verifier@verifiers.sure: always\n  - verifier@verifiers.gate: match",
    ).replace("  - data@data.train: addition\n", "")
    text = text.replace("data: {train: {limit: 64, verifiers: [chance]}}", "verifiers: {gate: {gate: true}}")
    text += "data:\n"
    for name, found in (("open", rows), ("shut", shut)):
        path = write(tmp_path / f"{name}.jsonl", found)
        text += f"  {name}: {{path: {path}, verifiers: [sure], columns: {{verifiers: check}}}}\n"
    (tmp_path / "r.yaml").write_text(text)
    model = ["model.path=builtin:tiny", "trainer.steps=1", "eval.at_start=false", "eval.at_end=false"]
    done = rlvr("grpo", str(tmp_path / "r.yaml"), f"out={tmp_path / 'out'}", *model)
    assert done.returncode == 0, done.stderr
    [row] = steps_of(tmp_path / "out")
    assert row["reward/source/open/mean"] == 1.0 and row["reward/source/shut/mean"] == 0.0
    assert row["reward/sure/mean"] == 1.0 and row["reward/gate/mean"] == 0.0
    assert json.loads((tmp_path / "out" / "data_report.json").read_text())["open"]["found"] == {}
    again = rlvr(
        "grpo", str(tmp_path / "r.yaml"), f"out={tmp_path / 'o2'}", *model, "verification.self_test_floor=1"
    )
    assert again.returncode == 2 and again.stderr.count("error:") == 1 and "has no self-test" in again.stderr
