"""A user's reward function gives through `rlvr verify` and the pool what it gives when called directly."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlvr_cli.commands.main import main
from rlvr_cli.core.code_behind import of_file
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.recorded_code import record
from rlvr_cli.core.types import Completion, Group, Problem, Raw, Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.python import Python
from rlvr_cli.verifiers.remote import Remote
from rlvr_cli.verifiers.server import serving
from rlvr_cli.verifiers.user_code.load import load

FILES = Path(__file__).parent / "reward_files"
pytestmark = pytest.mark.slow


def function(file: str, name: str) -> Any:
    path = FILES / file
    return load(str(path), path.read_bytes(), None, name)[1]


def python(file: str, name: str = "compute_score", **options: Any) -> Python:
    return Python(path=str(FILES / file), function=name, **options)


def verified(tmp_path: Path, rows: list[dict[str, Any]], file: str, name: str, *options: str) -> list[Any]:
    """The scores of `rlvr verify`."""
    data, out = tmp_path / "rows.jsonl", tmp_path / "verdicts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["verify", str(data), "--verifier", "python", "--out", str(out)]
    for option in (f"path={FILES / file}", f"function={name}", *options):
        command += ["--option", option]
    main([*command, "verification.workers=1"])
    return [json.loads(line) for line in out.read_text().splitlines()]


GSM8K = [
    {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": f"q{n}"}],
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": {"index": n, "split": "test"},
        "response": response,
    }
    for n, (gold, response) in enumerate(
        [
            ("72", "so\n#### 72"),
            ("1000", "#### 1,000"),
            ("5", "#### 6"),
            ("5", "five"),
            ("5", "#### 4 #### 5"),
        ]
    )
]


def verl(file: str, row: dict[str, Any], **kwargs: Any) -> Any:
    found = function(file, "compute_score")(
        data_source=row["data_source"],
        solution_str=row["response"],
        ground_truth=row["reward_model"]["ground_truth"],
        extra_info=deepcopy(row["extra_info"]),
        **kwargs,
    )
    return found["score"] if isinstance(found, dict) else found


def test_verl_gsm8k(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("kwargs.format_score=0.25",)
    columns = ("verl_gsm8k.py", "compute_score", *options)
    rows = GSM8K  # whose gold is where verl has it
    found = verified(tmp_path, rows, *columns)
    assert [each["score"] for each in found] == [
        verl("verl_gsm8k.py", row, format_score=0.25) for row in rows
    ]
    assert [each["score"] for each in found] == [1.0, 1.0, 0.25, 0.0, 1.0]
    out = capsys.readouterr().out
    assert "is called as verl (known by data_source, solution_str), one response at a time" in out
    assert (
        "first call: compute_score(data_source='openai/gsm8k', solution_str='so\\n#### 72', ground_truth='72'"
        in out
    )


def test_verl_math_dapo_keeps_its_scale_and_tells_what_else_it_returns(tmp_path: Path) -> None:
    rows = [
        row | {"response": f"So.\nAnswer: {said}"}
        for row, said in zip(GSM8K, ("72", "$1000$", "6", "5 ", ""), strict=True)
    ]
    found = verified(tmp_path, rows, "verl_math_dapo.py", "compute_score")
    assert [each["score"] for each in found] == [verl("verl_math_dapo.py", row) for row in rows]
    assert [each["score"] for each in found] == [1.0, 1.0, -1.0, 1.0, -1.0]
    assert [each["reason"] for each in found] == ["correct", "correct", "wrong", "correct", "wrong"]
    assert found[0]["extracted"] == "72" and found[0]["more"] == {"acc": 1.0, "length": 14.0}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize(
    ("name", "column"), [("accuracy", "solution"), ("think_format", None), ("near_length", "wanted")]
)
def test_trl(name: str, column: str | None, chat: bool, tmp_path: Path) -> None:
    texts = ["<think>a</think><answer>7</answer>", "<answer>8</answer>", "7"]
    prompt: Any = [{"role": "user", "content": "q"}] if chat else "q"
    rows = [
        {"id": "p", "prompt": prompt, "solution": gold, "wanted": 10, "response": text}
        for text, gold in zip(texts, ("7", "7", "7"), strict=True)
    ]
    rows += [{"id": "q", "prompt": prompt, "solution": None, "wanted": 3, "response": "<think></think>"}]
    found = [each["score"] for each in verified(tmp_path, rows, "trl_rewards.py", name)]
    direct: list[Any] = []
    for group in (rows[:3], rows[3:]):
        said = [row["response"] for row in group]
        named = {
            "prompts": [row["prompt"] for row in group],
            "completions": [[{"role": "assistant", "content": text}] for text in said] if chat else said,
            "completion_ids": None,
            **{key: [row[key] for row in group] for key in ("id", "solution", "wanted")},
        }
        direct += function("trl_rewards.py", name)(**named)
    assert found == direct
    if name == "accuracy":
        assert found == [1.0, 0.0, 0.0, None]


def test_openrlhf_easyr1_slime_and_areal(tmp_path: Path) -> None:
    rows = [
        {"id": name, "prompt": f"{gold}?", "answer": gold, "scale": 3.0, "response": response}
        for name, gold, response in (("a", 7, "\\boxed{7}"), ("a", 7, "\\boxed{8}"), ("b", 9, "9"))
    ]
    found = verified(tmp_path, rows, "openrlhf_reward.py", "reward_func")
    direct = [
        function("openrlhf_reward.py", "reward_func")(
            [row["prompt"] + row["response"]], [row["prompt"]], [row["answer"]]
        )
        for row in rows
    ]
    assert [each["score"] for each in found] == [each["rewards"][0] for each in direct] == [1.5, -0.5, 1.5]
    assert [each["reason"] for each in found] == ["correct", "wrong", "correct"]
    assert [each["more"]["characters"] for each in found] == [
        each["extra_logs"]["characters"][0] for each in direct
    ]

    found = verified(tmp_path, rows, "easyr1_math.py", "compute_score", "kwargs.format_weight=0.5")
    inputs = [{"response": row["response"], "ground_truth": row["answer"]} for row in rows]
    scored = function("easyr1_math.py", "compute_score")(inputs, format_weight=0.5)
    assert [each["score"] for each in found] == [each["overall"] for each in scored] == [1.0, 0.5, 0.0]

    samples = [SimpleNamespace(label=row["answer"], response=row["response"], metadata=row) for row in rows]
    found = verified(tmp_path, rows, "slime_areal.py", "custom_rm")
    rm = function("slime_areal.py", "custom_rm")
    assert [each["score"] for each in found] == [asyncio.run(rm(None, s)) for s in samples] == [3.0, 0.0, 3.0]
    found = verified(tmp_path, rows, "slime_areal.py", "group_rm")
    rm = function("slime_areal.py", "group_rm")
    by_group = asyncio.run(rm(None, samples[:2])) + asyncio.run(rm(None, samples[2:]))
    assert [each["score"] for each in found] == by_group == [0.5, -0.5, 0.0]

    found = verified(tmp_path, rows, "slime_areal.py", "areal")
    one = function("slime_areal.py", "areal")
    called = [
        one(row["prompt"], row["response"], None, None, answer=row["answer"], scale=3.0) for row in rows
    ]
    assert [each["score"] for each in found] == called


def test_what_goes_wrong_costs_its_own_verdict_and_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = [
        "hang",
        "fine",
        "eat",
        "fine",
        "die",
        "fine",
        "raise",
        "fine",
        "text",
        "none",
        "nan",
        "list",
        "print",
    ]
    verifier = python("bad.py")
    verifier.prints = str(tmp_path / "prints.txt")
    with Pool({"mine": verifier}, Verification(workers=2, timeout_s=3.0, memory_mb=1024)) as pool:
        found = [future.result(60) for future in [pool.submit("mine", text, "", {}) for text in said]]
    verdicts = dict(zip(said, found, strict=True))
    assert [
        verdict.score for verdict, text in zip(found, said, strict=True) if text in ("fine", "print")
    ] == [1.0] * 5
    assert verdicts["hang"].reason is Reason.timeout
    assert {verdicts[text].reason for text in ("eat", "die", "raise", "text", "nan", "list")} == {
        Reason.crash
    }
    assert "memory" in verdicts["eat"].detail and "exit code 7" in verdicts["die"].detail
    assert verdicts["raise"].detail == "KeyError: 'no such thing'"
    assert verdicts["text"].detail == "returned str ('1'), which is not a number"
    assert verdicts["list"].detail == "returned list of 2, which is not a number"
    assert verdicts["nan"].detail == "returned nan"
    assert verdicts["none"].reason is Reason.no_say and not verdicts["none"].missing
    out, err = capfd.readouterr()
    assert "xxx" not in out and err.count("KeyError: 'no such thing'") == 1 and "bad.py" in err
    assert 1 << 20 <= (tmp_path / "prints.txt").stat().st_size < (1 << 20) + 100


def group(responses: list[str], prompt: str = "q") -> Group:
    completions = [
        Completion(
            tokens=np.arange(3, dtype=np.int32), logprobs=np.zeros(3, np.float32), text=text, finished=True
        )
        for text in responses
    ]
    problem = Problem(
        id="1", prompt=prompt, tokens=[1, 2], answer="7", source="s", verifiers=["mine"],
        extra={"prompt": "q"}, raw=Raw(columns={"prompt": "q", "gold": 7}, gold=7),
    )  # fmt: skip
    return Group(problem=problem, index=4, completions=completions)


def asked(pool: Pool, responses: list[str]) -> list[Any]:
    whole = group(responses)
    return [f.result(60) for f in pool.submit_group("mine", responses, "7", whole.problem.extra, whole)]


def test_a_call_for_a_group_fails_for_that_group_alone() -> None:
    verifier = python("bad.py", "together")
    with Pool({"mine": verifier}, Verification(workers=1, timeout_s=3.0)) as pool:
        found = {name: asked(pool, [name, "x", "y"]) for name in ("fine", "hang", "short", "raise", "again")}
    reasons = {name: {verdict.reason for verdict in each} for name, each in found.items()}
    assert [v.score for v in found["fine"]] == [v.score for v in found["again"]] == [3.0] * 3
    assert reasons["hang"] == {Reason.timeout} and reasons["short"] == reasons["raise"] == {Reason.crash}
    assert found["short"][1].detail == "returned a list of 1 for 3 responses"


def test_async_calls_go_on_beside_each_other_and_end_one_by_one() -> None:
    verifier = python("bad.py", "waits", timeout_s=2.0)
    with Pool({"mine": verifier}, Verification(workers=1)) as pool:
        pool.submit("mine", "warm", "", {}).result(60)
        futures = [pool.submit("mine", text, "", {}) for text in ["hang", *["x"] * 20]]
        found = [future.result(60) for future in futures]
    assert [verdict.score for verdict in found[1:]] == [1.0] * 20
    assert (found[0].reason, found[0].detail) == (Reason.timeout, "no answer within 2 s")


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "reward.py").write_text(
            "from common import VALUE\n\ndef score(response, answer, extra):\n    return VALUE\n"
        )
        (tmp_path / name / "common.py").write_text(f"VALUE = {value}\n")
    both = {n: Python(path=str(tmp_path / n / "reward.py"), function="score") for n in ("a", "b")}
    with Pool(both, Verification(workers=1)) as pool:
        assert [pool.submit(name, "", "", {}).result(60).score for name in ("a", "b", "a")] == [1.0, 2.0, 1.0]


def test_a_module_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "near_by.py").write_text("WEIGHT = 2\n")
    (tmp_path / "my_rewards.py").write_text(
        "from near_by import WEIGHT\n\nclass Own:\n    @staticmethod\n"
        "    def score(response, answer, extra):\n        return WEIGHT * len(response)\n"
    )
    monkeypatch.chdir(tmp_path)
    verifier = Python(module="my_rewards", function="Own.score")
    with Pool({"mine": verifier}, Verification(workers=1)) as pool:
        assert pool.submit("mine", "abc", "", {}).result(60).score == 6.0


def test_values_of_a_server_are_those_of_its_function() -> None:
    def bare(verdict: Any) -> Any:
        return replace(verdict, ms=0.0)

    served = {"mine": python("verl_math_dapo.py")}
    with serving(served, Verification(workers=1)) as server:
        asked = Remote(url=server.url)
        found = [bare(asked.verify(f"Answer: {said}", "7", {"prompt": "q"})) for said in ("7", "8")]
        direct = [server.pool.submit("mine", f"Answer: {said}", "7", {}).result(60) for said in ("7", "8")]
    assert found == [bare(verdict) for verdict in direct]
    assert [(each.score, each.judged, each.raw, each.more["acc"]) for each in found] == [
        (1.0, 1.0, True, 1.0),
        (-1.0, 0.0, True, 0.0),
    ]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("def f(a, b): return 0", {}, r"f\(a, b\) fits no convention; say which with convention: rlvr, "),
        ("import nothing_of_it", {}, "mine.py line 1: ModuleNotFoundError: No module named 'nothing_of_it'"),
        ("def f(:", {}, "mine.py line 1: SyntaxError"),
        ("def g(response, answer): return 0", {}, "mine.py has no 'f'.*g"),
        ("def f(response, answer): return 0", {"kwargs": {"x": 1}}, "f has no parameter 'x'"),
        ("def f(solution_str, ground_truth, judge): return 0", {}, "asks for 'judge', which verl_scorer "),
        ("import os; os._exit(3)", {}, "ended the process that imported it"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_refused_in_one_line(
    source: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError, match=message) as refused:
        Pool(
            {"mine": Python(path=str(tmp_path / "mine.py"), function="f", **options)}, Verification(workers=1)
        )
    assert "\n" not in str(refused.value)


def test_a_column_that_is_not_there_is_told_before_the_first_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "q", "answer": "1", "response": "1"}) + "\n")
    path = FILES / "bad.py"
    command = [
        "verify",
        str(data),
        "--verifier",
        "python",
        "--option",
        f"path={path}",
        "--option",
        "function=asks",
    ]
    assert main(command) == 2
    assert "asks for 'level', and the rows have no such column; they have" in capsys.readouterr().err


def test_a_copy_has_what_it_imports_from_its_folder_and_finds_the_rest_there(tmp_path: Path) -> None:
    """What is imported by name is copied and stays as it was; what is found at run time is where it was."""
    source = tmp_path / "mine"
    (source / "words").mkdir(parents=True)
    texts = {
        "reward.py": "import importlib\nfrom pathlib import Path\nfrom words.one import ONE\n\n"
        "def compute_score(solution_str, ground_truth):\n"
        "    ten = importlib.import_module('words.' + 'ten').TEN\n"
        "    return ONE + ten + float(Path(__file__).with_name('hundred.txt').read_text())\n",
        "words/__init__.py": "",
        "words/one.py": "ONE = 1\n",
        "words/ten.py": "TEN = 10\n",
        "hundred.txt": "100",
    }
    for name, text in texts.items():
        (source / name).write_text(text)
    record(tmp_path / "run", of_file("verifiers.own.path", source / "reward.py"))
    (source / "words" / "one.py").write_text("ONE = 5\n")
    (source / "words" / "ten.py").write_text("TEN = 50\n")
    copy = tmp_path / "run" / "code" / "verifiers.own" / "reward.py"
    assert not (copy.parent / "words" / "ten.py").exists()
    with Pool({"own": Python(path=str(copy), correct_at=151.0)}, Verification(workers=1)) as pool:
        verdict = pool.submit("own", "x", "1", {}).result(60)
    assert (verdict.score, verdict.reason, verdict.detail) == (151.0, Reason.correct, "")
