"""Evaluations: known answers through the real path, resuming, judging anew, servers, mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from run_helpers import rlvr

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import differences, read_result
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.evaluation import contamination, engines, evaluate
from rlvr_cli.evaluation.bench import (
    Evaluation,
    disputed_rows,
    gathered,
    judges_of,
    positions,
    questions,
    run_bench,
    unjudged,
    verifier_key,
)
from rlvr_cli.evaluation.outputs import write_disputed, write_lm_eval, write_result, write_samples
from rlvr_cli.evaluation.stored_samples import Partial
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import OnOneRank
from rlvr_cli.rollout.server import ServerEngine
from rlvr_cli.schema import (
    Bench,
    EvalRecipe,
    Model,
    Rollout,
    SampleFile,
    Server,
    Source,
    TinyModel,
    Verification,
)
from rlvr_cli.tracking import Timer
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.verifiers.contains import Contains
from rlvr_cli.verifiers.ifeval import Ifeval, Level
from rlvr_cli.verifiers.language import Language
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.user_code.case import Surroundings

TINY = TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(folder, TINY, 0)
    return folder


@pytest.fixture(scope="module")
def tokenizer(model: Path):
    return load_tokenizer(Model(path=str(model)))


def sample(text: str, finished: bool = True) -> Completion:
    return Completion(
        tokens=np.zeros(len(text), np.int32), logprobs=np.zeros(0, np.float32), text=text, finished=finished
    )


class Scripted(OnOneRank):
    """Answers problem n (its prompt holds n) with the responses it is given, the last problem first."""

    def __init__(self, responses: list[list[Completion]], tokenizer, fail_after: int | None = None) -> None:
        self.responses, self.tokenizer, self.fail_after, self.asked = responses, tokenizer, fail_after, 0

    def generate(self, requests, sampling):
        for request in reversed(requests):
            if self.asked == self.fail_after:
                raise KeyboardInterrupt
            self.asked += 1
            number = int(self.tokenizer.decode(request.tokens).split()[0])
            yield request.key, self.responses[number][: request.samples]

    def close(self) -> None:
        pass


class Here:
    """A pool that judges in this process."""

    def __init__(self, verifiers: dict[str, Any]) -> None:
        self.verifiers = verifiers
        self.around = Surroundings()

    def submit_group(
        self, verifier: str, responses: list[str], answer: list[str], extra: dict[str, Any], group: Any = None
    ) -> list[Future[Verdict]]:
        [gold] = answer
        futures: list[Future[Verdict]] = [Future() for _ in responses]
        for future, response in zip(futures, responses, strict=True):
            future.set_result(self.verifiers[verifier].verify(response, gold, extra))
        return futures


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    rows = [
        {"id": f"p{n}", "problem": f"{n} plus {n}", "answer": str(2 * n), "level": n % 2} for n in range(3)
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = Source(path=str(tmp_path / "sums.jsonl"))
    return Bench(source=source, verifier=Math(), k=4, max_tokens=16, problems=3)


RESPONSES = [
    [sample("\\boxed{0}"), sample("\\boxed{5}"), sample("\\boxed{5}"), sample("\\boxed{0.0}")],
    [sample("none", finished=False)] * 4,
    [sample("\\boxed{4}")] * 4,
]


def measure(bench: Bench, engine, tokenizer, partial: Partial | None = None):
    with Pool(judges_of({"sums": bench}), Verification(workers=1)) as pool:
        asked = questions("sums", bench, tokenizer, 40)
        return run_bench("sums", bench, engine, pool, asked, timer=Timer(), partial=partial)


def test_scripted_answers_give_hand_computed_scores(bench, tokenizer, tmp_path):
    result = measure(bench, Scripted(RESPONSES, tokenizer), tokenizer)
    summary = result.summary
    assert summary["avg@4"] == 0.5 and summary["pass@4"] == pytest.approx(2 / 3)
    assert summary["pass@2"] == pytest.approx((5 / 6 + 1) / 3)
    assert summary["maj@4"] == pytest.approx((0.5 + 0 + 1) / 3)  # 0 and 5 tie at two votes each
    half = 1.959964 * (1 / 12) ** 0.5 / 3
    assert summary["sampling95_high"] == pytest.approx(0.5 + half)
    assert summary["truncated_fraction"] == pytest.approx(1 / 3) == summary["no_answer_fraction"]
    assert [row["id"] for row in result.rows] == ["p0", "p1", "p2"]
    one = write_result(tmp_path / "a", "sums", bench, result, model="m")
    content = json.loads(one.read_text())
    assert content["tables"]["level"]["1"] == {
        "problems": 1, "avg": 0.0, "pass": 0.0, "truncated_fraction": 1.0
    }  # fmt: skip
    assert content["curves"]["pass@"]["3"] == pytest.approx((1 + 0 + 1) / 3)
    again = write_result(
        tmp_path / "b", "sums", bench, measure(bench, Scripted(RESPONSES, tokenizer), tokenizer), model="m"
    )
    assert one.read_bytes() == again.read_bytes()


def test_tracked_verifiers_are_metrics_and_change_no_score(bench, tokenizer, tmp_path):
    """Of five samples that say Python three are right, and of seven others three."""
    said = [
        [
            sample("python \\boxed{0}"),
            sample("\\boxed{5}"),
            sample("Python \\boxed{5}"),
            sample("\\boxed{0}"),
        ],
        [sample("none", finished=False), sample("PYTHON"), sample("none"), sample("none")],
        [sample("```python\n```\\boxed{4}")] * 2 + [sample("\\boxed{4}")] * 2,
    ]
    plain = measure(bench, Scripted(said, tokenizer), tokenizer)
    tracking = replace(bench, tracked={"code": Contains(), "latin": Language(script="latin")})
    result = measure(tracking, Scripted(said, tokenizer), tokenizer)
    assert result.rows[0]["tracked"]["code"] == [1.0, 0.0, 1.0, 0.0]
    own = {key: value for key, value in result.summary.items() if key.startswith("tracked/code")}
    assert own == pytest.approx(
        {"tracked/code": 5 / 12, "tracked/code/right_with": 3 / 5, "tracked/code/right_without": 3 / 7}
    )
    assert {k: v for k, v in result.summary.items() if not k.startswith("tracked/")} == plain.summary
    stored = json.loads(write_result(tmp_path, "sums", tracking, result).read_text())
    assert stored["tracked"]["code"]["name"] == "contains" and "tracked" not in stored["protocol"]
    plain_file = write_result(tmp_path / "plain", "sums", bench, plain)
    assert differences(read_result(tmp_path / "sums.json"), read_result(plain_file)) == []


class Late(Math):
    def verify(self, response, answer, extra):
        if response == "late":
            return Verdict(score=0.0, reason=Reason.timeout, detail="no verdict within 3 s")
        return super().verify(response, answer, extra)


def judged_late(bench, tokenizer, responses):
    pool, asked = Here({verifier_key("sums"): Late()}), questions("sums", bench, tokenizer, 40)
    return run_bench("sums", bench, Scripted(responses, tokenizer), pool, asked, timer=Timer())


def test_a_sample_without_a_verdict_is_no_part_of_the_score(bench, tokenizer):
    right, wrong, late = sample("\\boxed{0}"), sample("\\boxed{9}"), sample("late")
    responses = [[right, late, late, late], [wrong] * 4, [sample("\\boxed{4}")] * 3 + [wrong]]
    found = judged_late(bench, tokenizer, responses)
    assert found.summary["avg@4"] == pytest.approx((1 + 0 + 3 / 4) / 3)
    assert found.summary["pass@4"] == pytest.approx(1 / 2), "of the problems with four verdicts"
    assert found.summary["timeout_fraction"] == 3 / 12 and found.summary["crash_fraction"] == 0
    assert found.rows[0]["correct"] == [True, None, None, None] and found.rows[0]["scores"][1] is None
    assert unjudged("sums", found) == (
        "sums: 25.0% of the samples have no verdict (timeout: no verdict within 3 s); they are no part of "
        "the score",
        True,
    )


def test_without_half_of_the_verdicts_there_is_no_score(bench, tokenizer, tmp_path):
    late = sample("late")
    found = judged_late(bench, tokenizer, [[sample("\\boxed{0}")] * 4, [late] * 4, [late] * 4])
    assert unjudged("sums", found) == (
        "sums: 66.7% of the samples have no verdict (timeout: no verdict within 3 s): there is no score",
        False,
    )
    path = write_result(tmp_path, "sums", bench, found)
    stored = read_result(path)
    assert not [name for name in stored["summary"] if "@" in name] and stored["curves"] == {}
    assert stored["missing"] == {"timeout: no verdict within 3 s": 8}
    assert stored["problems"][1]["details"] == ["no verdict within 3 s"] * 4
    written = write_lm_eval(tmp_path, EvalRecipe(model=Model(path="m")), [str(path)])
    acc = json.loads(written.read_text())["results"]["sums"]
    assert acc["acc,none"] == "N/A" and acc["timeout_fraction,none"] == pytest.approx(2 / 3)


def test_results_of_earlier_versions_are_read_as_those_of_today(bench, tokenizer, tmp_path):
    path = write_result(tmp_path, "sums", bench, judged_late(bench, tokenizer, RESPONSES))
    earlier = json.loads(path.read_text())
    for row in earlier["problems"]:
        del row["scores"], row["details"]
        row["correct"], row["reasons"] = [1.0, 0.5, 0.0, 0.0], ["correct", "wrong", "crash", "no_answer"]
    path.write_text(json.dumps(earlier))
    row = read_result(path)["problems"][0]
    assert row["correct"] == [True, False, None, False] and row["scores"] == [1.0, 0.5, None, 0.0]


def test_a_lone_surrogate_in_a_data_set_is_written_and_read_back(bench, tokenizer, tmp_path):
    result = measure(bench, Scripted(RESPONSES, tokenizer), tokenizer, Partial(tmp_path, "sums", "f", 0))
    result.rows[0]["answer"] = "\ud800"
    result.rows[0]["responses"][0] = "it is \udfff"
    stored = read_result(write_result(tmp_path, "sums", bench, result))
    assert stored["problems"][0]["answer"] == "\ud800"
    lines = write_samples(tmp_path, "sums", result.rows, SampleFile.jsonl).read_text().splitlines()
    assert json.loads(lines[0])["response"] == "it is \udfff"
    assert write_samples(tmp_path, "sums", result.rows, SampleFile.parquet) is not None


def test_disputed_samples_are_counted_and_written_beside_the_results(bench, tokenizer, tmp_path):
    class Doubtful(Math):
        def verify(self, response, answer, extra):
            verdict = super().verify(response, answer, extra)
            return replace(verdict, disputed=response == "\\boxed{5}", detail="doubtful")

    pool, asked = Here({verifier_key("sums"): Doubtful()}), questions("sums", bench, tokenizer, 40)
    found = run_bench("sums", bench, Scripted(RESPONSES, tokenizer), pool, asked, timer=Timer())
    rows = disputed_rows("sums", found.rows)
    said = sum(each.text == "\\boxed{5}" for samples in RESPONSES for each in samples)
    assert len(rows) == said > 0 and found.summary["disputed_fraction"] == said / 12
    write_disputed(tmp_path, rows)
    stored = [json.loads(line) for line in (tmp_path / "disputed.jsonl").read_text().splitlines()]
    assert stored == rows and stored[0]["extracted"] == "5" and stored[0]["detail"] == "doubtful"
    write_disputed(tmp_path, [])
    assert not (tmp_path / "disputed.jsonl").exists()


def test_pass_at_and_majority_are_obeyed(bench, tokenizer):
    bench.pass_at, bench.majority = [3], False
    summary = measure(bench, Scripted(RESPONSES, tokenizer), tokenizer).summary
    assert summary["pass@3"] == pytest.approx((1 + 0 + 1) / 3)
    assert not [name for name in summary if name in ("pass@1", "pass@2", "pass@4") or name.startswith("maj@")]


def test_stop_strings_and_measures_of_a_bench(bench, tokenizer):
    """A bench's own stop strings reach the engine; what a verifier counts is summed over all samples."""

    class Stops(Scripted):
        def generate(self, requests, sampling):
            assert sampling.stop == ["##"]
            return super().generate(requests, sampling)

    bench.stop, bench.k, bench.verifier = ["##"], 1, Ifeval(level=Level.prompt)
    rules = {
        "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
        "kwargs": [{}, {}],
    }
    rows = [json.loads(line) for line in Path(bench.source.path).read_text().splitlines()]
    rows = [row | {"answer": json.dumps(rules)} for row in rows]
    Path(bench.source.path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    responses = [
        [sample("a lot of small letters")],
        [sample("one, two")],
        [sample("Well, now\nall is small")],
    ]
    summary = measure(bench, Stops(responses, tokenizer), tokenizer).summary
    assert summary["avg@1"] == summary["prompt_strict"] == pytest.approx(1 / 3)
    assert summary["prompt_loose"] == pytest.approx(2 / 3)  # without its first line, the last one is right
    assert summary["instruction_strict"] == pytest.approx((2 + 1 + 0) / 6)
    assert summary["instruction_loose"] == pytest.approx((2 + 1 + 2) / 6)


def test_a_bench_has_a_longest_prompt_of_its_own(bench, tokenizer):
    assert positions({"a": bench}, Rollout(max_prompt_tokens=100)) == 116
    bench.max_prompt_tokens = 300
    assert positions({"a": bench}, Rollout(max_prompt_tokens=100)) == 316
    assert questions("sums", bench, tokenizer, 5000).left_out == 0
    with pytest.raises(UserError, match="longer than 3 tokens; raise benches"):
        questions("sums", bench, tokenizer, 3)


def test_a_stopped_bench_goes_on_where_it_was(bench, tokenizer, tmp_path):
    whole = measure(bench, Scripted(RESPONSES, tokenizer), tokenizer)
    with pytest.raises(KeyboardInterrupt):
        measure(
            bench, Scripted(RESPONSES, tokenizer, fail_after=2), tokenizer, Partial(tmp_path, "sums", "f", 0)
        )
    [file] = tmp_path.glob("sums.partial.*")
    with open(file, "ab") as opened:
        opened.write(b'{"index": 0, "respon')  # killed while writing
    engine = Scripted(RESPONSES, tokenizer)
    partial = Partial(tmp_path, "sums", "f", 0)
    assert measure(bench, engine, tokenizer, partial) == whole and engine.asked == 1
    partial.close()
    assert all(json.loads(line) for line in file.read_text().splitlines())
    engine = Scripted(
        RESPONSES, tokenizer
    )  # of another rank count, everything is found; of another run, nothing
    assert measure(bench, engine, tokenizer, Partial(tmp_path, "sums", "f", 1)) == whole and engine.asked == 0
    assert measure(bench, engine, tokenizer, Partial(tmp_path, "sums", "g", 0)) == whole and engine.asked == 3


def test_what_a_killed_evaluation_left_is_not_that_of_a_model_trained_since(
    model, bench, tokenizer, tmp_path, monkeypatch
):
    """The same path and other weights: every problem is sampled again."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    recipe = EvalRecipe(
        model=Model(path=str(folder)), benches={"sums": bench}, rollout=Rollout(max_prompt_tokens=40)
    )

    def asked(fail_after: int | None = None) -> int:
        engine = Scripted(RESPONSES, tokenizer, fail_after)
        monkeypatch.setattr(engines, "start_engine", lambda *arguments, **more: engine)
        pool = Here({verifier_key("sums"): bench.verifier})
        with suppress(KeyboardInterrupt):
            [done] = evaluate.sampled(recipe, tmp_path / "out", pool, NullTracker())
            assert done.result.summary["avg@4"] == 0.5
        return engine.asked

    def retrained() -> None:
        weights = folder / "model.safetensors"
        status = weights.stat()
        os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    assert asked(fail_after=2) == 2 and asked() == 1
    retrained()
    assert asked(fail_after=2) == 2
    retrained()
    assert asked() == 3 and asked() == 0


def test_rows_of_two_ranks_are_in_the_order_of_the_problems(monkeypatch):
    def group(index: int) -> Group:
        problem = Problem(
            id=f"p{index}",
            prompt="",
            tokens=[],
            answer="7",
            source="sums",
            verifiers=[verifier_key("sums")],
        )
        verdicts = [{verifier_key("sums"): Verdict(score=1.0, reason=Reason.correct)}]
        completions = [sample("7")]
        return Group(problem=problem, index=index, completions=completions, verdicts=verdicts, correct=[1.0])

    mine, theirs = [group(index) for index in (0, 2, 10)], gathered([group(index) for index in (1, 9)])
    for ranks in (lambda rows: [rows, theirs], lambda rows: [theirs, rows]):
        monkeypatch.setattr(distributed, "gather", ranks)
        assert [(row["index"], row["id"]) for row in gathered(mine)] == [
            *((index, f"p{index}") for index in (0, 1, 2, 9, 10))
        ]


def test_the_standard_error_for_lm_eval_is_half_the_interval_over_1_96(bench, tmp_path):
    rows = [
        {
            "id": f"p{n}",
            "correct": [score == 1],
            "extracted": ["7"],
            "reasons": ["correct"],
            "details": [""],
            "lengths": [9],
            "truncated": [False],
        }
        for n, score in enumerate((0.0, 1.0))
    ]
    bench.k = 1
    summary = {"avg@1": 0.5, "pass@1": 0.5, "problems": 2.0, "left_out": 0.0}
    summary |= {"timeout_fraction": 0.0, "crash_fraction": 0.0}
    known = Evaluation(summary=summary | {"ci95_low": 0.304, "ci95_high": 0.696}, rows=rows)
    paths = [
        str(write_result(tmp_path, "known", bench, known)),
        str(write_result(tmp_path, "unknown", bench, Evaluation(summary=summary, rows=rows))),
    ]
    target = write_lm_eval(tmp_path, EvalRecipe(model=Model(path="m")), paths)
    found = json.loads(target.read_text())["results"]
    assert found["known"]["acc_stderr,none"] == pytest.approx(0.1)
    assert found["unknown"]["acc_stderr,none"] == "N/A"


def test_samples_and_lm_eval_files(bench, tokenizer, tmp_path):
    import pyarrow.parquet

    result = measure(bench, Scripted(RESPONSES, tokenizer), tokenizer)
    path = write_samples(tmp_path, "sums", result.rows, SampleFile.jsonl)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 12 and rows[1]["response"] == "\\boxed{5}" and rows[1]["score"] == 0.0
    table = pyarrow.parquet.read_table(write_samples(tmp_path, "sums", result.rows, SampleFile.parquet))
    assert table.to_pylist() == rows
    assert write_samples(tmp_path, "sums", result.rows, SampleFile.none) is None
    stored = write_result(tmp_path, "sums", bench, result)
    recipe = EvalRecipe(model=Model(path="m"))
    found = json.loads(write_lm_eval(tmp_path, recipe, [str(stored)]).read_text())
    assert found["results"]["sums"]["acc,none"] == 0.5 and found["results"]["sums"]["alias"] == "sums"
    assert found["n-samples"]["sums"] == {"original": 3, "effective": 3}
    assert found["configs"]["sums"]["generation_kwargs"]["max_gen_toks"] == 16


def test_contamination_by_hand(bench, tokenizer):
    assert contamination.halves("a b c d e", 0.6) == ("a b c", "d e")
    assert contamination.halves("one", 0.5) is None
    assert contamination.verbatim(" d  e f", "d e") and not contamination.verbatim("d f", "d e")
    assert contamination.rouge_l("d x e", "d e f") == pytest.approx(2 / 3)
    assert contamination.rouge_l("x y d e f", "d e f") == pytest.approx(1 / 3)  # only three words are read
    assert contamination.rouge_l("d", "d e f") == pytest.approx(
        1 / 3
    )  # of the missing words, not of those said
    assert contamination.rouge_l("", "d e f") == 0

    class Knows(OnOneRank):
        """Goes on as the statements do, except for the last problem's."""

        def generate(self, requests, sampling):
            assert sampling.temperature == 0
            for request in requests:
                number = tokenizer.decode(request.tokens).split()[0]
                yield request.key, [sample(f" {number}" if number != "2" else " 7 and")]

    found = contamination.probe("sums", bench, Knows(), tokenizer, 0.7, 40, Timer())
    assert found == {
        "contamination_verbatim": pytest.approx(2 / 3),
        "contamination_rouge_l": pytest.approx(2 / 3),
    }


ARGUMENTS = ["rollout=hf", "rollout.max_prompt_tokens=16", "rollout.max_num_seqs=8", "tracker.console=plain"]


def evaluation(model: Path, out: Path, *more: str) -> list[str]:
    benches = ["--bench", "addition,chain", "benches.addition.max_tokens=40", "benches.chain.max_tokens=40"]
    sizes = [f"benches.{name}.source.options.size=24" for name in ("addition", "chain")]
    return ["eval", "--model", str(model), *benches, *sizes, *ARGUMENTS, f"out={out}", *more]


@pytest.mark.long
def test_kill_9_and_the_same_command_end_with_the_file_of_an_undisturbed_run(model, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = rlvr(*evaluation(model, whole, "samples=jsonl", "lm_eval=true"))
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-m", "rlvr_cli", *evaluation(model, cut)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    partial = cut / "chain.partial.0.jsonl"  # the second bench is under way
    while time.monotonic() < deadline and not (partial.exists() and partial.read_bytes().count(b"\n") > 2):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert partial.exists() and not (cut / "chain.json").exists()
    kept = len(list(cut.glob("*.partial.*")))
    assert kept == 2
    again = rlvr(*evaluation(model, cut, "ranks=2"))  # nor does it matter how many share the problems
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in (cut / "logs").iterdir()) == ["rank0.log", "rank1.log"]
    for name in ("addition.json", "chain.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert not list(cut.glob("*.partial.*"))
    assert (whole / "addition.samples.jsonl").read_text().count("\n") == 24 * 4
    assert set(json.loads((whole / "results_lm_eval.json").read_text())["results"]) == {"addition", "chain"}

    # judged anew, without a model
    moved = tmp_path / "moved"
    shutil.copytree(whole, moved)
    anew = rlvr("eval", "--from", str(moved), "--verifier", "always", "--bench", "chain")
    assert anew.returncode == 0, anew.stderr
    result = json.loads((moved / "rescored" / "chain.json").read_text())
    assert result["summary"]["avg@4"] == 1.0 and result["verifier"]["name"] == "always"
    same = rlvr("eval", "--from", str(moved / "chain.json"), f"out={tmp_path / 'same'}")
    assert same.returncode == 0, same.stderr
    mine, theirs = (json.loads((folder / "chain.json").read_text()) for folder in (tmp_path / "same", whole))
    assert mine["summary"] == theirs["summary"] and mine["problems"] == theirs["problems"]


class Handler(BaseHTTPRequestHandler):
    """A completions server whose answers follow from prompt and seed; every third request fails at first."""

    bodies: ClassVar[list[dict]] = []
    lock = threading.Lock()

    def answer(self, code: int, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Bearer wrong":
            return self.answer(401, {})
        return self.answer(200, {"data": [{"id": "served"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.bodies.append(body)
            if len(self.bodies) % 3 == 1:
                return self.answer(503, {})
        text = f"\\boxed{{{body['seed'] % 2}}}"
        choice = {"text": text, "finish_reason": "length" if body["max_tokens"] == 5 else "stop"}
        return self.answer(200, {"choices": [choice], "usage": {"completion_tokens": 9}})

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Handler.bodies = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


def test_server_engine(server, tokenizer):
    settings = Server(url=server, model="served", connections=3)
    engine = ServerEngine(settings, model="m", tokenizer=tokenizer, pause=0.01)
    requests = [Request(key=n, tokens=[1, 2, n], samples=2, seed=10 * n) for n in range(4)]
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=7, stop=["##"])
    found = dict(engine.generate(requests, sampling))
    assert [[c.text for c in found[n]] for n in range(4)] == [["\\boxed{0}", "\\boxed{1}"]] * 4
    assert all(len(c.tokens) == 9 and c.finished for c in found[0])
    assert Handler.bodies[0]["model"] == "served" and Handler.bodies[0]["stop"] == ["##"]
    assert {tuple(body["prompt"]) for body in Handler.bodies} == {(1, 2, n) for n in range(4)}
    assert len(Handler.bodies) > 8  # some were refused and came again
    [(_, [cut])] = engine.generate(
        [Request(key=0, tokens=[1], samples=1, seed=0)], Sampling(temperature=0, top_p=1, max_tokens=5)
    )
    assert not cut.finished
    engine.close()


def test_server_mistakes(server, tokenizer, monkeypatch):
    def refused(**settings: str) -> str:
        with pytest.raises(UserError) as caught:
            ServerEngine(Server(**settings), model="m", tokenizer=tokenizer, pause=0.01)
        return str(caught.value)

    assert "no model 'sarved'; did you mean 'served'?" in refused(url=server, model="sarved")
    assert "cannot be reached" in refused(url="http://127.0.0.1:9/v1", model="served")
    monkeypatch.setenv("MY_KEY", "wrong")
    assert "refuses access (HTTP 401); set MY_KEY" in refused(url=server, model="served", key="MY_KEY")


def test_a_server_that_has_gone_is_no_wrong_address(tokenizer):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        settings = Server(url=f"http://127.0.0.1:{http.server_port}/v1", model="served")
        engine = ServerEngine(settings, model="m", tokenizer=tokenizer, pause=0.001)
        http.shutdown()
    engine.client.close()  # of a process that has ended the connection ends too
    engine.client = httpx.Client()
    asked = [Request(key=0, tokens=[1], samples=1, seed=0)]
    with pytest.raises(UserError, match=r"cannot be reached .* it has answered before: start it again"):
        list(engine.generate(asked, Sampling(temperature=0, top_p=1, max_tokens=5)))


@pytest.mark.slow
def test_evaluation_of_a_server(server, model, tmp_path):
    out = tmp_path / "out"
    done = rlvr(
        "eval", "--model", str(model), "--server", server, "server.model=served", "--bench", "addition",
        "benches.addition.source.options.size=2", f"out={out}", "--contamination", "0.5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "addition.json").read_text())
    assert result["engine"] == server and result["summary"]["response_length"] == 9
    assert {body["skip_special_tokens"] for body in Handler.bodies} == {False}, "`</think>` may be one"
    assert result["problems"][0]["responses"][0].startswith("\\boxed{")


MISTAKES = [
    (
        "--bench addition -k 2 benches.addition.pass_at=[1,8]",
        "pass_at asks for pass@8, which takes 1 to k = 2",
    ),
    ("--bench additon", "there is no bench 'additon'; did you mean 'addition'?"),
    ("--bench ./nowhere.yaml", "--bench: there is no file ./nowhere.yaml"),
    ("--bench addition --verifier maths", "there is no verifier 'maths'; did you mean 'math'?"),
    ("--bench addition --contamination 1.5", "contamination is 1.5; it must be between 0 and 1"),
    ("--from nowhere", "--from takes the samples that are there; --model has no place beside it"),
    ("--bench addition --data absent.jsonl", "there is no file absent.jsonl"),
    ("--bench addition --data mixed.jsonl", "has no column for the answer"),
    ("--bench gsm8k rollout.max_prompt_tokens=100 --data long.jsonl", "the model has 64 positions"),
    ("--bench addition rollout.stop=[x]", "rollout.stop does nothing here; set benches.<name>.stop"),
    ("--bench addition --server http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/models cannot be reached"),
]


@pytest.fixture
def as_found():
    """The launcher tells a rank where it is through the environment; the next test's must not hear of it."""
    import torch

    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(("arguments", "says"), MISTAKES, ids=lambda x: x[:40])
def test_mistakes_are_one_line(arguments, says, model, as_found, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mixed.jsonl").write_text('{"problem": "1+1", "category": "sums"}\n')
    Path("long.jsonl").write_text(json.dumps({"problem": "1+1" * 40, "answer": "2"}) + "\n")
    before = sorted(tmp_path.iterdir())
    code = main(["eval", "--model", str(model), "rollout=hf", "out=made", *arguments.split()])
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("rlvr: error: ")]
    assert code == 2 and len(lines) == 1 and says in lines[0], error
    assert sorted(tmp_path.iterdir()) == before


def test_from_and_compare_mistakes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("odd.json").write_text('{"bench": "x"}')
    assert main(["eval", "--from", "nowhere"]) == 2
    assert "nowhere is no result file and no folder or run with any" in capsys.readouterr().err
    assert main(["eval", "compare", "odd.json", "odd.json"]) == 2
    assert "odd.json is no result file of rlvr eval: it lacks problems" in capsys.readouterr().err
    assert main(["eval", "compare", "odd.json"]) == 2
    assert "compare takes two result files, and 1 are given" in capsys.readouterr().err


def test_a_bench_file_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "defaults:\n  - /verifier@verifier: match\n  - _self_\nsource: {path: mine.jsonl}\nk: 3\n"
    Path("mine.yaml").write_text(text)
    Path("mine.jsonl").write_text('{"prompt": "Say a.", "answer": "a"}\n')
    Path("bench").mkdir()
    Path("bench/other.yaml").write_text(text.replace("k: 3", "k: 5"))
    assert (
        main(["eval", "--model", "builtin:tiny", "--bench", "./mine.yaml,other", "rollout=hf", "--dry-run"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "# bench mine: 3 samples" in shown and "# bench other: 5 samples" in shown


def test_a_file_of_problems_needs_no_bench(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("test.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(9))
    )
    command = ["eval", "--model", "builtin:tiny", "--data", "test.jsonl", "k=4", "limit=5", "rollout=hf"]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "# bench test: 4 samples a problem" in shown and "name: math" in shown and "limit: 5" in shown
    assert main([*command, "--verifier", "match", "--dry-run"]) == 0
    assert "name: match" in capsys.readouterr().out
    assert main([*command, "--verifier", "mach", "--dry-run"]) == 2
    assert "match" in capsys.readouterr().err


def test_a_data_folder_is_for_the_benches_it_names(tmp_path):
    (tmp_path / "gsm8k.jsonl").write_text("{}\n")
    names = ["gsm8k", "addition"]
    found = compose.load_eval(None, [], benches=names, model="m", data=str(tmp_path)).benches
    assert found["gsm8k"].source.path == str(tmp_path / "gsm8k.jsonl")
    assert found["addition"].source.path == "synthetic:addition"
    with pytest.raises(UserError, match="holds files of benches, and no math500"):
        compose.load_eval(None, [], benches=["math500"], model="m", data=str(tmp_path))


def test_list_shows_size_metric_and_protocol(capsys):
    assert main(["eval", "--list"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["aime24"][1:6] == ["30", "avg@32", "T=0.6", "p=0.95", "32768"]
    assert rows["gsm8k"][1:5] == ["1319", "avg@1", "greedy", "1024"]
