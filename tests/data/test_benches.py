"""Every packaged bench, on one row in the column layout of its data set: it renders, and its gold is right.

The rows are made up; only their columns are those of the sets.
"""

from __future__ import annotations

import base64
import json
import math
import pickle
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from image_rows import ROWS

from rlvr_cli import compose
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.data.bench_layouts import LAYOUTS
from rlvr_cli.data.prompts import before_last_user, conversation, problems
from rlvr_cli.data.sources import rows
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import Chat, Model, Source, TinyModel
from rlvr_cli.verifiers.code import Code
from rlvr_cli.verifiers.code_judge import Unjudgeable
from rlvr_cli.verifiers.sandbox import numeric

MATH = {"problem": "What is $7 \\cdot 6$?", "answer": "42"}
BOX = "So it is \\boxed{42}."
PACKED = base64.b64encode(
    zlib.compress(pickle.dumps(json.dumps([{"input": "3\n", "output": "6\n", "testtype": "stdin"}])))
).decode()
DOUBLE = "def double(x):\n"
EXAMPLES = {
    "aime24": ({"id": 60, "problem": "P", "solution": "s", "answer": "042", "url": "", "year": "2024"}, BOX),
    "aime25": (MATH | {"id": "0"}, BOX),
    "amc23": ({"id": 0, "question": "P", "answer": "42.0", "url": ""}, BOX),
    "math500": (
        MATH | {"solution": "s", "subject": "Algebra", "level": 2, "unique_id": "test/a/1.json"},
        BOX,
    ),
    "gsm8k": ({"question": "How many?", "answer": "6 * 7 = <<6*7=42>>42\n#### 42"}, BOX),
    "minerva_math": ({"question": "Which energy, in eV?", "answer": "42"}, BOX),
    "olympiadbench": (
        {
            "id": 1606,
            "question": "P",
            "solution": ["s"],
            "final_answer": ["$42$"],
            "context": None,
            "unit": None,
            "subfield": "Algebra",
            "is_multiple_answer": False,
            "answer_type": "Numerical",
        },
        BOX,
    ),
    "gpqa_diamond": (
        {
            "Question": "Which?",
            "Correct Answer": "this ",
            "Incorrect Answer 1": "that",
            "Incorrect Answer 2": "those",
            "Incorrect Answer 3": "none",
            "Record ID": "rec1",
            "High-level domain": "Physics",
        },
        None,
    ),
    "mmlu_pro": (
        {
            "question_id": 70,
            "question": "Which?",
            "options": ["w", "x", "y"],
            "answer": "B",
            "answer_index": 1,
            "cot_content": "",
            "category": "law",
            "src": "s",
        },
        "I think so.\nAnswer: B",
    ),
    "humaneval": (
        {
            "task_id": "HumanEval/0",
            "prompt": DOUBLE + '    """Twice x."""\n',
            "canonical_solution": "    return 2 * x\n",
            "test": "def check(candidate):\n    assert candidate(2) == 4\n",
            "entry_point": "double",
        },
        f"Here:\n```python\n{DOUBLE}    return x + x\n```",
    ),
    "mbpp": (
        {
            "task_id": 11,
            "text": "Write a function to double.",
            "code": DOUBLE + "    return 2 * x",
            "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        f"```python\n{DOUBLE}    return x + x\n```",
    ),
    "mbpp_plus": (
        {
            "task_id": 11,
            "code": DOUBLE + "    return 2 * x",
            "prompt": "Write a function to double.",
            "source_file": "",
            "test_imports": ["import math"],
            "test_list": ["assert double(2) == 4"],
            "test": "inputs = [[2], [5]]\nresults = [4, 10]\nfor given, wanted in zip(inputs, results):\n"
            "    assert double(*given) == wanted\n",
        },
        f"```python\n{DOUBLE}    return x + x\n```",
    ),
    "livecodebench": (
        {
            "question_title": "t",
            "question_content": "Double it.",
            "platform": "atcoder",
            "question_id": "abc1",
            "contest_id": "abc",
            "contest_date": "2024-09-01T00:00:00",
            "starter_code": "",
            "difficulty": "easy",
            "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
            "private_test_cases": PACKED,
            "metadata": "{}",
        },
        "```python\nprint(2 * int(input()))\n```",
    ),
    "ifeval": (
        {
            "key": 1000,
            "prompt": "Write without any commas, and at least 3 words.",
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{"num_words": None, "relation": None}, {"num_words": 3, "relation": "at least"}],
        },
        "These are four words",
    ),
}
# As EvalPlus writes its tests: numpy compares the floats.
ASSERTION = """import numpy as np
from math import inf

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

"""
CHECK = """def check(candidate):
    inputs = [[2], [0.1], [inf]]
    results = [4, 0.2000001, inf]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""
EXAMPLES["humaneval_plus"] = (
    EXAMPLES["humaneval"][0] | {"test": ASSERTION + CHECK}, EXAMPLES["humaneval"][1]
)  # fmt: skip
MBPP_PLUS = EXAMPLES["mbpp_plus"][0]
MBPP_PLUS["test"] = ASSERTION + MBPP_PLUS["test"].replace(
    "assert double(*given) == wanted", "assertion(double(*given), wanted, 0)"
)
EXAMPLES["mbpp_3shot"], EXAMPLES["mmlu_pro_5shot"] = EXAMPLES["mbpp"], EXAMPLES["mmlu_pro"]
OPEN = ("nq", "triviaqa", "popqa", "hotpotqa", "wiki2", "musique")
for _name in OPEN:
    EXAMPLES[_name] = (
        {"id": "q1", "question": "Who wrote Emma?", "golden_answers": ["Jane Austen", "Austen"]},
        "<answer>Jane Austen</answer>",
    )
MADE = (
    "addition",
    "chain",
    "progression",
    "multiplication",
    "reasoning_gym",
    "guess",
    "two_hop",
    "product",
    "fork",
    "shapes_count",
    "shapes_box",
)
"""Made in the process; tested with their families."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(folder, TinyModel(hidden_size=32, layers=1, heads=2, kv_heads=1), 0)
    return load_tokenizer(Model(path=str(folder)))


@pytest.mark.slow
def test_every_bench_has_an_example() -> None:
    assert set(shipped_recipes.options("bench")) == set(EXAMPLES) | set(MADE) | set(ROWS)
    benches = [*EXAMPLES, *ROWS]  # those of images are tested in test_image_benches.py
    used = {compose.load_eval(None, [], benches=[b], model="m").benches[b].source.layout for b in benches}
    assert used - {None} == set(LAYOUTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_row_renders_and_its_gold_is_right(name, tokenizer, tmp_path, monkeypatch):
    row, response = EXAMPLES[name]
    hub = compose.load_eval(None, [], benches=[name], model="m").benches[name].source
    file = tmp_path / "hub" / hub.path / (hub.config or "") / f"{hub.split}-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist([row]), file)
    shots = tmp_path / "shots.jsonl"
    if hub.shots:
        worked = [row | example(n) for n in range(7)]
        place = file.with_name(f"{hub.shots_split}-00000-of-00001.parquet")
        parquet.write_table(pa.Table.from_pylist(worked), place)
        shots.write_text("".join(json.dumps(each) + "\n" for each in worked))
    monkeypatch.setenv("RLVR_DATA", str(tmp_path / "hub"))
    (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    overrides = [f"benches.{name}.source.shots_split={shots}"] if hub.shots else []
    given = compose.load_eval(None, overrides, benches=[name], model="m", data=str(tmp_path)).benches[name]
    for source in (hub, given.source):  # as downloaded, and with --data
        [problem], _ = problems(name, source, tokenizer, 2000, given.seed)
        assert [f"example {n}" in problem.prompt for n in range(7)] == [n < hub.shots for n in range(7)]
        statement = str(row.get("problem") or row.get("question") or row.get("Question") or row.get("text")
                        or row.get("question_content") or row.get("prompt")).strip()  # fmt: skip
        assert statement in problem.prompt and "{prompt}" not in problem.prompt
        verdict = given.verifier.verify(
            response or f"Answer: {problem.answer}", problem.answer, problem.extra
        )
        assert verdict.reason is Reason.correct and verdict.score == 1.0, verdict
        wrong = given.verifier.verify("\\boxed{41}, Answer: J", problem.answer, problem.extra)
        assert wrong.score < 1


def example(n: int) -> dict:
    """What makes a row of a few-shot split of the test row."""
    texts = {key: f"example {n}" for key in ("text", "question")}
    return texts | {"task_id": n, "question_id": n, "cot_content": f"A: Let's think step by step, {n}."}


def test_shots_are_worked_examples_of_the_subject(tmp_path, tokenizer):
    row = EXAMPLES["mmlu_pro"][0]
    kinds = ["law", "physics", "law", "law"]
    shots = [row | example(n) | {"category": kind} for n, kind in enumerate(kinds)]
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(each) + "\n" for each in shots))
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")

    def ask(**changes: object) -> str:
        settings = {
            "shots": 2,
            "shots_split": str(tmp_path / "shots.jsonl"),
            "prompt": "Q: {prompt}",
        } | changes
        source = Source(path=str(tmp_path / "rows.jsonl"), layout="mmlu_pro", chat=Chat.never, **settings)
        [problem], _ = problems("b", source, tokenizer, 2000, 0)
        return problem.prompt

    options = "\n\nA) w\nB) x\nC) y\n"
    assert (
        ask()
        == "".join(f"Q: example {n}{options}Let's think step by step, {n}.\nAnswer: B\n\n" for n in (0, 2))
        + f"Q: Which?{options}"
    )
    assert ask(shots=0) == f"Q: Which?{options}"[:-1]
    for changes, says in (
        ({"shots": 4}, "b: source.shots is 4, and there are 3 examples about 'law'; lower it"),
        ({"shots_split": None}, "needs source.shots_split"),
        ({"shots_split": "validation"}, "is one file; name a file of examples"),
        ({"shots_split": str(tmp_path / "rows.jsonl")}, "the examples have no worked answers"),
    ):
        with pytest.raises(UserError) as caught:
            ask(**changes)
        assert says in str(caught.value)


def test_a_problem_is_not_shown_with_its_own_solution(tmp_path, tokenizer):
    """Where the examples hold the problem itself, the next one stands in for it."""
    row = EXAMPLES["mmlu_pro"][0]
    shots = [row | {"cot_content": "A: its own solution."}, row | example(1), row | example(2)]
    (tmp_path / "shots.jsonl").write_text("".join(json.dumps(each) + "\n" for each in shots))
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    source = Source(
        path=str(tmp_path / "rows.jsonl"),
        layout="mmlu_pro",
        chat=Chat.never,
        shots=2,
        shots_split=str(tmp_path / "shots.jsonl"),
    )
    [problem], _ = problems("b", source, tokenizer, 2000, 0)
    assert "its own solution" not in problem.prompt and problem.prompt.count("Which?") == 1
    assert "example 1" in problem.prompt and "example 2" in problem.prompt


def test_shots_in_a_chat_are_turns_that_went_before():
    source = Source(path="p", prompt="Q: {prompt}", system="S")
    found = before_last_user(conversation("2+2", source), [("1+1", "2")], source)
    assert [(m["role"], m["content"]) for m in found] == [
        ("system", "S"), ("user", "Q: 1+1"), ("assistant", "2"), ("user", "Q: 2+2")
    ]  # fmt: skip


def test_a_test_that_needs_what_the_sandbox_lacks_gives_no_verdict():
    """Neither right nor silently wrong."""
    for test in ("import pandas", "import numpy as np\nassert np.zeros(2) == f(1)"):
        with pytest.raises(Unjudgeable, match=r"cannot be run: .*(pandas|numpy\.zeros)"):
            Code(numpy=False).verify("```python\ndef f(x):\n    return x\n```", json.dumps([test]), {})
    own = Code().verify("```python\ndef f(x):\n    import pandas\n```", json.dumps(["assert f(1)"]), {})
    assert own.reason is Reason.wrong and "No module named 'pandas'" in own.detail


def test_allclose_is_numpys(tmp_path):
    pairs = [(1.0, 1.0 + 1e-7), (1.0, 1.1), (math.inf, math.inf), (1.0, math.inf), (math.nan, math.nan)]
    pairs += [([1.0, 2.0], (1.0, 2.0)), ([[1.0], [2.0]], [[1.0], [2.5]]), (-math.inf, math.inf)]
    for a, b in pairs:
        assert numeric.allclose(a, b, 1e-7, 1e-6) == np.allclose(a, b, 1e-7, 1e-6), (a, b)


def one(name: str, tmp_path: Path, seed: int = 0, **changes: object) -> list[dict]:
    row, _ = EXAMPLES[name]
    source = compose.load_eval(None, [], benches=[name], model="m").benches[name].source
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row | changes) + "\n")
    return rows(Source(path=str(file), layout=source.layout, options=source.options), seed)


def test_gpqa_shuffles_by_seed_and_question(tmp_path):
    file = tmp_path / "rows.jsonl"

    def made(**changes: str) -> list[dict]:
        file.write_text(json.dumps(EXAMPLES["gpqa_diamond"][0] | changes) + "\n")
        return [row for seed in range(20) for row in rows(Source(path=str(file), layout="gpqa"), seed)]

    found = made()
    assert found == made()
    assert {row["answer"] for row in found} == set("ABCD")
    for row in found:
        assert row["extra"]["options"]["ABCD".index(row["answer"])] == "this"
        assert f"{row['answer']}) this" in row["prompt"]
    assert [row["answer"] for row in made(Question="What?")] != [row["answer"] for row in found]


def test_livecodebench_window_and_starter_code(tmp_path):
    assert one("livecodebench", tmp_path)[0]["extra"]["date"] == "2024-09-01"
    starter = one("livecodebench", tmp_path, starter_code="class Solution:\n    pass")[0]["prompt"]
    assert "class Solution" in starter and "stdin" not in starter
    for date in ("2024-07-31T00:00:00", "2025-05-01T00:00:00"):
        with pytest.raises(UserError, match="has no rows"):
            one("livecodebench", tmp_path, contest_date=date)


def test_mbpp_plus_is_judged_by_its_own_tests(tmp_path):
    [row] = one("mbpp_plus", tmp_path)
    assert "assert double(2) == 4" in row["prompt"] and "results" not in row["prompt"]
    assert json.loads(row["answer"]) == {
        "test_list": [EXAMPLES["mbpp_plus"][0]["test"]], "test_imports": ["import math"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "options", "says"),
    [
        ("gpqq", {}, "there is no layout 'gpqq'; did you mean 'gpqa'?"),
        ("gpqa", {"shuffle": True}, "layout gpqa has no option 'shuffle'; its options are none"),
        ("livecodebench", {"begin": "x"}, "has no option 'begin'"),
        ("gpqa", {}, "row 1 has no column 'Correct Answer', which layout gpqa needs; it has problem, answer"),
    ],
)
def test_layout_mistakes(layout, options, says, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(MATH) + "\n")
    with pytest.raises(UserError) as caught:
        rows(Source(path=str(tmp_path / "rows.jsonl"), layout=layout, options=options), 0)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_said_of_sets_that_cannot_be_had(monkeypatch, tmp_path):
    import datasets

    class Gated(Exception):
        pass

    source = Source(path="Idavidrein/gpqa", config="gpqa_diamond")
    for error, says in (
        (Gated("Dataset 'x' is a gated dataset on the Hub."), "hf auth login"),
        (ConnectionError("no route"), "hf download --repo-type dataset Idavidrein/gpqa --local-dir DIR/Idav"),
    ):

        def fail(*arguments: object, error: Exception = error, **more: object) -> None:
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(UserError) as caught:
            rows(source, 0)
        assert says in str(caught.value) and "RLVR_DATA=DIR" in str(caught.value)
    # a CSV file called after the configuration, as this set is stored
    folder = tmp_path / "Idavidrein" / "gpqa"
    folder.mkdir(parents=True)
    row = EXAMPLES["gpqa_diamond"][0]
    lines = [",".join(row), ",".join(f'"{value}"' for value in row.values())]
    (folder / "gpqa_diamond.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("RLVR_DATA", str(tmp_path))
    [found] = rows(Source(path="Idavidrein/gpqa", config="gpqa_diamond", layout="gpqa"), 0)
    assert found["id"] == "rec1"
