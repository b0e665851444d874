"""Phrasings appended to prompts: one of each list, by the seed and the row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.instructions import LISTS, drawn, instructed, phrasings
from rlvr_cli.data.prompts import problems
from rlvr_cli.schema import Source


def test_the_lists_ask_for_the_tags_that_verifiers_look_for() -> None:
    for name, tags in (("think", ("<think>", "</think>")), ("answer", ("<answer>", "</answer>"))):
        assert len(set(LISTS[name])) == 10
        assert all(text.count(tag) == 1 for text in LISTS[name] for tag in tags)
    assert all(text.count("\\boxed{}") == 1 for text in LISTS["box"])


def test_draws_are_by_seed_and_row_and_even() -> None:
    lists = phrasings(["think", "answer"], "data.train")
    found = [drawn(lists, 3, str(n)) for n in range(2000)]
    assert (
        found
        == [drawn(lists, 3, str(n)) for n in range(2000)]
        != [drawn(lists, 4, str(n)) for n in range(2000)]
    )
    counts = Counter(found)
    assert len(counts) == 100 and max(counts.values()) < 50  # each of the hundred pairs about twenty times
    one = found[0]
    assert any(one.startswith(text) for text in LISTS["think"]) and any(
        one.endswith(t) for t in LISTS["answer"]
    )


def test_prompts_have_them_and_problems_keep_their_own_text(tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("Be brief.\n\nBe short.\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(json.dumps({"id": f"r{n}", "prompt": f"q{n}", "answer": "1"}) + "\n" for n in range(9))
    )
    source = Source(path=str(rows), instructions=[str(own), "box"])
    found, _ = problems("train", source, None, 99, 7)
    lists = phrasings(source.instructions, "train")
    assert {lists[0], lists[1]} == {("Be brief.", "Be short."), LISTS["box"]}
    for n, problem in enumerate(found):
        assert problem.prompt == f"q{n}\n\n{drawn(lists, 7, f'r{n}')}" and problem.extra["prompt"] == f"q{n}"
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert instructed(chat, "Now.") == [chat[0], {"role": "user", "content": "q\n\nNow."}]


def test_what_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'thnk', which is neither a list \(think, answer, box\) nor a file"):
        phrasings(["thnk"], "data.train")
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match="is empty; write one phrasing a line"):
        phrasings([str(tmp_path / "empty.txt")], "data.train")
    with pytest.raises(UserError, match=r"which is neither a list .* nor a file"):
        phrasings(["Think before you answer. " * 20], "data.train")  # too long for the name of a file
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.txt is no UTF-8 text"):
        phrasings([str(tmp_path / "bytes.txt")], "data.train")
