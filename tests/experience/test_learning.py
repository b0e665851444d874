"""Learning from a scripted server: accuracy rises, nothing is paid twice, what is useless changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_model import HERE, recipe_of, run, scripted, served

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.experiences import Library, read_library
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.pool import Pool

pytestmark = pytest.mark.slow
SMALL = ("batch.problems=2", "batch.prompts_per_step=2", "batch.group_size=3", "server.connections=1")
FORMS = pytest.mark.parametrize("form", ["merge", "update"])
CALLS = {"merge": 25, "update": 28}
"""Form -> calls of a small run; in both steps groups are compared."""
NOT_READ = "I would rather not answer in JSON."


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    recipe = compose.load(str(HERE / "recipe.yaml"), [], "experience")
    with Pool(recipe.verifiers, Verification(workers=1)) as made:
        yield made


@pytest.fixture
def server() -> Iterator[Any]:
    with served() as made:
        yield made


def library(out: Path) -> Library:
    return read_library(out)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "calls.jsonl").read_text().splitlines()]


def prompts(server: Any, part: str) -> list[str]:
    """What was asked, of questions that hold `part`."""
    texts = [body["messages"][0]["content"] for body in server.asked]
    return [text for text in texts if part in text]


@FORMS
def test_the_scripted_task_rises_from_a_fifth_to_over_four_fifths(
    form: str, server: Any, pool: Pool, tmp_path: Path
) -> None:
    recipe = recipe_of(
        server, tmp_path, f"algorithm.form={form}", "batch.problems=30", "batch.prompts_per_step=30"
    )
    assert run(recipe, pool)
    found = library(tmp_path)
    first, second = found.history
    assert 0.1 < first["correct"] < 0.3 and second["correct"] > 0.8
    assert [each.text for each in found.experiences.values()] == [scripted.LESSON]
    # Mixed groups alone reach the editor, and each proposes at most one operation.
    judged = {
        row["problem"]: row["verdicts"] for row in rows(tmp_path) if row["call"].startswith("1/verdict")
    }
    scores = {name: {v["math"]["score"] for v in each} for name, each in judged.items()}
    mixed = {name for name, each in scores.items() if len(each) == 2}
    assert set(first["kept"]) == mixed and 0 < len(mixed) < 30
    assert first["proposed"] == len(mixed)
    assert found.experiences["G0"].problems == tuple(n for n in first["problems"] if n in mixed)
    assert second["proposed"] == 0 and second["operations"] == []
    # At step 1 the raw problem, later the library before it; each step has its file.
    policy = prompts(server, "=")
    assert sum(text.endswith("=") and len(text) == 6 for text in policy) == 30 * 5
    assert read_library(tmp_path / "steps" / "step_1.json").experiences == found.experiences
    last = first["operations"][-1]
    assert last["id"] == "G0" and last["operation"] == {"merge": "merge", "update": "add"}[form]


def test_prompts_begin_alike_so_that_a_server_finds_them_in_its_cache(
    server: Any, pool: Pool, tmp_path: Path
) -> None:
    """The library stands before the problem, in the order of its ids, the same in all prompts of a step."""
    assert run(recipe_of(server, tmp_path, "batch.problems=10", "batch.prompts_per_step=10"), pool)
    with_lesson = {text for text in prompts(server, scripted.LESSON) if text.endswith("=")}
    beginnings = {text.rpartition("\n\n")[0] for text in with_lesson}
    assert len(with_lesson) == 10 and len(beginnings) == 1
    assert f"[G0]. {scripted.LESSON}" in beginnings.pop()


def calls_of(server: Any) -> list[str]:
    return [json.dumps(body, sort_keys=True) for body in server.asked]


@pytest.fixture(scope="module")
def undisturbed(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[str]]]:
    """Form -> library and sorted calls of a run that nothing has interrupted."""
    found = {}
    for form in ("merge", "update"):
        out = tmp_path_factory.mktemp(form)
        with served() as server:
            assert run(recipe_of(server, out, *SMALL, "seed=1", f"algorithm.form={form}"), pool)
            found[form] = ((out / "experiences.json").read_bytes(), sorted(calls_of(server)))
    return found


class Killed(BaseException):
    """Nothing of ours catches it."""


@pytest.mark.parametrize(
    ("form", "survived"),
    [(form, n) for form, calls in CALLS.items() for n in range(calls)],
)
def test_a_kill_between_any_two_calls_repeats_none_and_changes_nothing(
    form: str, survived: int, server: Any, pool: Pool, tmp_path: Path, undisturbed: Any
) -> None:
    library, calls = undisturbed[form]
    assert len(calls) == CALLS[form]
    recipe = recipe_of(server, tmp_path, *SMALL, "seed=1", f"algorithm.form={form}")
    left = survived

    def kill() -> bool:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return False

    with pytest.raises(Killed):
        run(recipe, pool, stop=kill)
    assert len(server.asked) == survived
    assert run(recipe, pool)
    assert sorted(calls_of(server)) == calls
    assert (tmp_path / "experiences.json").read_bytes() == library
    assert run(recipe, pool) and len(server.asked) == len(calls)  # finished, it asks nothing


def test_a_torn_line_is_the_only_call_that_is_asked_again(
    server: Any, pool: Pool, tmp_path: Path, undisturbed: Any
) -> None:
    library, calls = undisturbed["merge"]
    recipe = recipe_of(server, tmp_path, *SMALL, "seed=1")
    assert run(recipe, pool)
    whole = (tmp_path / "calls.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if b'"text"' in line)
    (tmp_path / "calls.jsonl").write_bytes(b"".join(lines[:last]) + lines[last][:-9])
    assert run(recipe, pool)
    assert len(server.asked) == len(calls) + 1
    assert (tmp_path / "experiences.json").read_bytes() == library
    assert sorted((tmp_path / "calls.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


@FORMS
def test_malformed_three_times_the_library_stays_as_it_was(
    form: str, server: Any, pool: Pool, tmp_path: Path
) -> None:
    def says(body: dict[str, Any]) -> str:
        first = body["messages"][0]["content"]
        plan = "<library_with_candidates>" in first or "<operations>" in first
        return NOT_READ if plan else str(scripted.said(body))

    server.says = says
    recipe = recipe_of(server, tmp_path, *SMALL, "seed=1", f"algorithm.form={form}", "algorithm.steps=1")
    assert run(recipe, pool)
    found = library(tmp_path)
    [entry] = found.history
    assert found.experiences == {} and entry["given_up"] == {"plan": 1} and entry["proposed"] > 0
    assert entry["unchanged"] == "no plan of 3 could be used" and entry["operations"] == []
    asked = [row["call"] for row in rows(tmp_path) if "/plan/" in row["call"]]
    assert asked == [f"1/plan/all/{attempt}" for attempt in range(3)]
    # Told what is wrong, with the answer that was.
    last = server.asked[-1]["messages"]
    assert [each["role"] for each in last] == ["user", "assistant", "user", "assistant", "user"]
    assert last[1]["content"] == NOT_READ and "no JSON list in a ```json fence" in last[2]["content"]


def test_an_answer_that_can_be_used_the_third_time_is(server: Any, pool: Pool, tmp_path: Path) -> None:
    """Too long an experience is no answer."""

    def says(body: dict[str, Any]) -> str:
        first, turns = body["messages"][0]["content"], len(body["messages"])
        if "<attempts>" not in first:
            return str(scripted.said(body))
        long = [{"option": "add", "experience": " ".join(["word"] * 33)}]
        return str(scripted.edit_of(first)) if turns == 5 else str(scripted.fenced(long))

    server.says = says
    assert run(recipe_of(server, tmp_path, *SMALL, "seed=1", "algorithm.steps=1"), pool)
    found = library(tmp_path)
    assert [each.text for each in found.experiences.values()] == [scripted.LESSON]
    assert found.history[0]["given_up"] == {}
    told = server.asked[-1]["messages"] if len(server.asked[-1]["messages"]) == 5 else None
    told = told or next(body["messages"] for body in server.asked if len(body["messages"]) == 5)
    assert "has 33 words; it may have 32" in told[2]["content"]


def test_a_budget_of_calls_is_kept_to_and_goes_on_where_it_ended(
    server: Any, pool: Pool, tmp_path: Path, undisturbed: Any
) -> None:
    library, calls = undisturbed["merge"]
    small = (*SMALL[:3], "server.connections=4", "seed=1")
    for most in (1, 7, len(calls) - 1):
        assert not run(recipe_of(server, tmp_path, *small, f"algorithm.call_budget={most}"), pool)
        assert len(server.asked) == most
    assert run(recipe_of(server, tmp_path, *small, f"algorithm.call_budget={len(calls)}"), pool)
    assert sorted(calls_of(server)) == calls
    assert (tmp_path / "experiences.json").read_bytes() == library


def test_a_budget_of_tokens_ends_with_the_calls_under_way(
    server: Any, pool: Pool, tmp_path: Path, undisturbed: Any
) -> None:
    recipe = recipe_of(server, tmp_path, *SMALL, "seed=1", "algorithm.token_budget=100")
    assert not run(recipe, pool)
    spent = [row["tokens"] + row["prompt_tokens"] for row in rows(tmp_path) if "text" in row]
    assert sum(spent) >= 100 > sum(spent[:-1])
    assert run(recipe_of(server, tmp_path, *SMALL, "seed=1"), pool)
    assert sorted(calls_of(server)) == undisturbed["merge"][1]


def test_another_question_is_asked_anew_and_the_same_one_is_not(
    server: Any, pool: Pool, tmp_path: Path
) -> None:
    """A changed prompt of the editor costs edits and no rollout of the first step."""
    assert run(recipe_of(server, tmp_path / "run", *SMALL, "seed=1", "algorithm.steps=1"), pool)
    before = len(server.asked)
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "merge_plan.txt").write_text(
        "Shorter. <library_with_candidates>\n{experiences}\n</library_with_candidates> {proposals}"
    )
    recipe = recipe_of(
        server, tmp_path / "run", *SMALL, "seed=1", "algorithm.steps=1", f"algorithm.prompts={folder}"
    )
    assert run(recipe, pool) and len(server.asked) == before + 1
    assert server.asked[-1]["messages"][0]["content"].startswith("Shorter.")


def test_without_ground_truth_the_majority_judges_and_all_groups_are_compared(
    server: Any, tmp_path: Path
) -> None:
    given = (
        "algorithm.ground_truth=false",
        "+verifier@verifiers.vote=majority",
        "data.train.verifiers=[vote]",
    )
    recipe = recipe_of(server, tmp_path, *SMALL, *given, "~verifiers.math", "algorithm.steps=1")
    with Pool(recipe.verifiers, Verification(workers=1)) as own:
        assert run(recipe, own)
    [entry] = library(tmp_path).history
    assert entry["kept"] == entry["problems"] and len(entry["kept"]) == 2
    for text in (*prompts(server, "<attempt>"), *prompts(server, "<attempts>")):
        assert "<reference_answer>\n(not known)\n</reference_answer>" in text
        assert "agreement with the other attempts, from 0 to 1: " in text and "right, score" not in text


def test_a_group_without_difference_reaches_no_editor(server: Any, pool: Pool, tmp_path: Path) -> None:
    """[1,1,1], [0,0,0] and what says nothing are dropped; the library stays, and no plan is asked for."""
    server.says = lambda body: "\\boxed{-1}" if int(body["seed"]) % 2 else "  "
    assert run(recipe_of(server, tmp_path, *SMALL, "algorithm.steps=1"), pool)
    [entry] = library(tmp_path).history
    assert entry["kept"] == [] and entry["correct"] == 0 and entry["unchanged"] is None
    assert len(server.asked) == 6


def test_a_server_that_fails_leaves_what_it_has_answered(
    server: Any, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that were under way are paid for, and kept."""
    recipe = recipe_of(server, tmp_path, *SMALL[:3], "server.connections=3", "seed=1")

    def says(body: dict[str, Any]) -> str:
        if len(server.asked) == 4:
            raise RuntimeError("not this one")
        return str(scripted.said(body))

    server.says = says
    server.handle_error = lambda *_: None
    monkeypatch.setattr("rlvr_cli.rollout.server.ATTEMPTS", 1)  # no pauses
    with pytest.raises(UserError, match="it has answered before: start it again"):
        run(recipe, pool)
    kept = [row for row in rows(tmp_path) if "text" in row]
    assert len(kept) == len(calls_of(server)) - 1
    server.says = scripted.said
    assert run(recipe, pool)
    assert len(calls_of(server)) == len({*calls_of(server)}) + 1  # the one that had no answer


def test_a_ledger_of_something_else_is_a_mistake(server: Any, pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text("no json\n")
    with pytest.raises(UserError, match=r"calls\.jsonl cannot be read"):
        run(recipe_of(server, tmp_path, *SMALL), pool)


def test_a_row_that_names_nobody_is_a_mistake_before_anything_is_paid_for(
    server: Any, pool: Pool, tmp_path: Path
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "1+1=", "answer": "2", "by": "maths"}\n' * 4)
    recipe = recipe_of(server, tmp_path / "run", *SMALL)
    own = {"path": str(data), "options": {}, "columns": {"prompt": "question", "verifiers": "by"}}
    recipe = replace(recipe, data={"train": replace(recipe.data["train"], **own)})
    with pytest.raises(UserError, match="names the verifier 'maths'"):
        run(recipe, pool)
    assert not server.asked
