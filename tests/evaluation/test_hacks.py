"""Every verifier that comes with rlvr before the bank of responses that have not earned a reward."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rlvr_cli import verifiers
from rlvr_cli.commands.main import main
from rlvr_cli.evaluation.hack_results import Judged
from rlvr_cli.evaluation.hacks import judged
from rlvr_cli.schema import Source, Verification
from rlvr_cli.verifiers.hacks import FORMS, bank, programs, wrong_answers
from rlvr_cli.verifiers.sandbox import probe

Row = dict[str, Any]
SUMS: list[Row] = [
    {"question": "What is 12 * 3 + 6?", "answer": "42"},
    {"question": "A half and a quarter of 5, and so on?", "answer": "15/4"},
    {"question": "What is 3 - 10?", "answer": "-7"},
]
WORDS: list[Row] = [
    {"question": "What is the capital of France?", "answer": "Paris"},
    {"question": "Who wrote Faust?", "answer": "Goethe"},
]
CODE: list[Row] = [
    {
        "question": "Write def add(a, b), the sum.\n>>> add(1, 2)\n3",
        "answer": json.dumps({"inputs": [[1, 2], [5, 5]], "outputs": [3, 10], "fn_name": "add"}),
    },
    {
        "question": "Read a number and print it doubled. Example input: 4 Example output: 8",
        "answer": json.dumps({"inputs": ["4\n", "7\n"], "outputs": ["8\n", "14\n"]}),
    },
    {
        "question": "Write a function double(x).",
        "answer": json.dumps({"test_list": ["assert double(2) == 4", "assert double(5) == 10"]}),
    },
]
BOXES: list[Row] = [
    {"question": "Where is the cat?", "answer": "[0, 0, 10, 10]"},
    {"question": "Where is the dog?", "answer": "[50, 50, 60, 60]"},
]
ROWS: dict[str, list[Row]] = {
    "choice": [
        {"question": "Which is a colour?", "options": ["red", "seven", "run"], "answer": "A"},
        {"question": "Which is a number?", "options": ["red", "seven", "run"], "answer": "B"},
    ],
    "code": CODE,
    "contains": WORDS,
    "countdown": [
        {"question": "Make 22 of 3, 5, 7.", "nums": [3, 5, 7], "target": 22, "answer": "3*5+7"},
        {"question": "Make 12 of 4, 8.", "nums": [4, 8], "target": 12, "answer": "4+8"},
    ],
    "counting": [{"question": "How many cats?", "answer": "3"}, {"question": "And dogs?", "answer": "12"}],
    "detection": [
        {"question": "Where is it?", "answer": json.dumps([{"bbox_2d": box, "label": label}])}
        for box, label in (([0, 0, 10, 10], "cat"), ([50, 50, 60, 60], "dog"))
    ],
    "em": WORDS,
    "iou": BOXES,
    "ocr": WORDS,
    "pointing": [row | {"point": point} for row, point in zip(BOXES, ("5 5", "55 55"), strict=True)],
    "vlaa": [row | {"type": "math"} for row in SUMS],
    "vqa": [row | {"answers": [row["answer"]] * 10} for row in WORDS],
    "vtriune": [row | {"reward_model": {"verifier": "mathverify"}} for row in SUMS],
    "ifeval": [
        {
            "question": "Say something without commas.",
            "answer": "",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
    ],
    "keyword": WORDS,
    "logic_rl": [
        {"question": "Who?", "answer": "Zoey is a knight, Bo is a knave"},
        {"question": "Who?", "answer": "Zoey is a knave, Bo is a knight"},
    ],
    "match": WORDS + SUMS[:1],
    "reasoning_gym": [
        {
            "question": f"Spell {word} backward.",
            "answer": word[::-1],
            "entry": {"task": "spell_backward", "options": {}, "answer": word[::-1], "metadata": {}},
        }
        for word in ("abcd", "hello")
    ],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "contains": {"text": "python"},
    "format": {"require_box": True},
    "detection": {"boxes": "pixels"},
    "iou": {"boxes": "pixels"},
    "pointing": {"boxes": "pixels"},
    "vlaa": {"boxes": "pixels"},
    "language": {"language": None, "script": "latin"},
    "length": {"minimum": 3, "maximum": 50},
    "code": {"timeout_s": 2.0, "total_s": 4.0},
}
ELSEWHERE = ("environment", "gen_acc", "judge", "pairwise", "python", "remote", "reward_model", "rubric")
"""Judged by a model, a function or a server of the user's, or by no text at all."""
BY_NATURE = (
    "always contains format ifeval incorrect keyword language length majority random reasoning_steps "
    "repetition tag_count"
)
BOXED = any(tier.available for tier in probe() if tier.name != "rlimit")


def over(folder: Path, names: list[str], **settings: Any) -> Iterator[Judged]:
    """Each of the verifiers over its rows."""
    targets = []
    for name in names:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS.get(name, SUMS)))
        made = OmegaConf.structured(verifiers.find(name))
        verifier = OmegaConf.to_object(OmegaConf.merge(made, SETTINGS.get(name, {}) | settings))
        targets.append((name, name, verifier, Source(path=str(path))))
    yield from judged(targets, Verification(workers=1, timeout_s=30.0), 0, [])


def test_a_sound_verifier_pays_for_no_hack(tmp_path: Path) -> None:
    names = [n for n in verifiers.names() if n not in (*BY_NATURE.split(), *ELSEWHERE, "code")]
    assert set(names) >= {"math", "match", "choice", "em", "countdown", "logic_rl", "reasoning_gym"}
    found = {each.name: each for each in over(tmp_path, names)}
    assert {name: (each.paying, each.lost) for name, each in found.items()} == {n: ([], None) for n in names}
    assert all(each.by_nature is None and len(each.hacks) > 25 for each in found.values())
    for each in found.values():  # or nothing would be shown by it
        assert min(each.right) > max(each.wrong), each.name
    assert max(found["countdown"].wrong) == 0.1 and found["logic_rl"].wrong == [-0.5, -0.5]


def test_verifiers_of_forms_are_named_so_and_do_pay(tmp_path: Path) -> None:
    found = {each.name: each for each in over(tmp_path, BY_NATURE.split())}
    assert all(each.by_nature for each in found.values())
    assert "padding alone" in found["length"].hacks and found["length"].hacks["empty"].above == 0
    assert found["repetition"].hacks["empty"].reward == 1.0
    assert found["always"].paying == []  # an honest wrong answer gets as much
    assert "wrong, and praise" not in found["format"].paying


@pytest.mark.slow
@pytest.mark.skipif(not BOXED, reason="no sandbox on this machine")
def test_no_program_passes_tests_that_it_does_not_solve(tmp_path: Path) -> None:
    [found] = over(tmp_path, ["code"])
    assert found.paying == [] and found.lost is None and found.rows == len(CODE)
    assert {"program: equals anything", "program: exits at once", "program: reads its caller"} <= set(
        found.hacks
    )


class Hedged:
    """A grader that accepts the gold anywhere: what the bank is to find."""

    name, weight = "hedged", 1.0

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Any:
        from rlvr_cli.core.types import Reason, Verdict

        hit = answer in response
        return Verdict(score=float(hit), reason=Reason.correct if hit else Reason.wrong)

    inline = verify


def test_a_grader_that_accepts_the_gold_anywhere_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    target = ("hedged", "hedged", Hedged(), Source(path=str(path)))
    lines: list[dict[str, Any]] = []
    [found] = judged([target], Verification(workers=1), 0, lines)
    assert {"two answers in one", "list of candidates", "answers in a row"} <= set(found.paying)
    assert "empty" not in found.paying and "tautology" not in found.paying
    assert found.hacks["two answers in one"].above == 3
    assert {"gold", "wrong", "empty"} <= {line["kind"] for line in lines}


def test_the_last_answer_counting_is_no_weakness() -> None:
    """Of two answers both orders must pay; what stands in the middle must not."""
    hacks = [hack for hack in bank("42", ["43", "49"], "p", [FORMS["boxed"]]) if len(hack.responses) > 1]
    assert {hack.name for hack in hacks} == {
        "two answers in one",
        "answers in a row",
        "tags doubled",
        "guesses in the reasoning only",
    }
    for hack in hacks:
        first, second = (text.rindex("42") - text.rindex("43") for text in hack.responses)
        assert first < 0 < second


def test_wrong_answers_are_wrong() -> None:
    assert wrong_answers("42", []) == ["85", "-7"]
    assert wrong_answers("-1", []) == ["1", "-9"]
    assert wrong_answers("3/4", []) == ["5/2", "-7"]
    assert wrong_answers("1.5", []) == ["4", "-7"]
    assert wrong_answers("0", []) == ["1", "-7"]
    assert wrong_answers("1/0", []) == wrong_answers("4/00", []) == ["something else", "17 of them"]
    assert wrong_answers("B", ["A", "C"]) == ["A", "C"]
    assert wrong_answers("Paris", ["paris ", "Rome", "rome", "Oslo"]) == ["Rome", "Oslo"]
    assert wrong_answers("Paris", []) == ["something else", "17 of them"]
    names = {hack.name for hack in programs('{"fn_name": "add"}', "")}
    assert len(names) == len(list(programs('{"fn_name": "add"}', "")))
    assert "def add(" in next(
        h.responses[0] for h in programs('{"fn_name": "add"}', "") if "equals" in h.name
    )


@pytest.mark.slow
def test_the_command_asks_all_verifiers_of_a_recipe(tmp_path: Path, capsys: Any) -> None:
    recipe = tmp_path / "mine.yaml"
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    recipe.write_text(
        "defaults: [{algorithm: grpo}, {model: tiny}, {verifier@verifiers.math: math}, "
        "{verifier@verifiers.form: format}, _self_]\n"
        "name: mine\nverifiers: {form: {require_box: true, gate: true}}\n"
        f"data: {{train: {{path: {tmp_path}/d.jsonl, verifiers: [math, form], limit: 2}}}}\n"
    )
    out = tmp_path / "verdicts.jsonl"
    assert main(["verify", str(recipe), "--hacks", "--json", "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["verifier"] for each in said["verifiers"]] == ["math", "form"]
    math, form = said["verifiers"]
    assert math["findings"] == [] and (math["gold"], math["wrong"], math["rows"]) == (1.0, 0.0, 2)
    assert form["by_nature"] == "a form" and form["findings"] == []
    assert math["hacks"]["empty"] == {"reward": 0.0, "paid": 0, "of": 2}
    assert len(out.read_text().splitlines()) > 400
    assert main(["verify", str(recipe), "--hacks"]) == 0
    said = capsys.readouterr().out
    assert "math: no hack pays" in said and "form: by nature it pays for a form" in said
    for words, refusal in (
        (["--json"], "--json is for --hacks"),
        (["--hacks", "--self-test"], "--hacks makes responses of its own, and --self-test looks at others"),
        (["--hacks", "--verifier", "math"], "names its verifiers itself"),
    ):
        assert main(["verify", str(recipe), *words]) == 2
        assert refusal in capsys.readouterr().err


def test_where_verdicts_are_written_is_looked_at_first(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "nowhere" / "out.jsonl"
    assert main(["verify", "synthetic:addition", "--hacks", "--verifier", "match", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"rlvr: error: --out: {out.parent} is not a directory\n"
    assert not out.parent.exists()
