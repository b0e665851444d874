"""Preferences in all their layouts become the same token ids and masks, and what teaches nothing is told."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.pair_layouts import PREFERENCES
from rlvr_cli.data.pairs import Judged, JudgedSampler, Pair, PairSampler, judged, pairs
from rlvr_cli.data.sources import held_out
from rlvr_cli.data.synthetic import generate
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Source

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Row = dict[str, Any]


@cache
def plain() -> Any:
    return tiny_tokenizer(512)


def tokenizer(template: str | None) -> Any:
    made = copy.deepcopy(plain())
    made.chat_template = template
    return made


def source(tmp_path: Path, *rows: Row, **fields: Any) -> Source:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path), **fields)


def load(
    tmp_path: Path, *rows: Row, template: str | None = None, longest: int = 99, **fields: Any
) -> list[Pair]:
    return pairs("train", source(tmp_path, *rows, **fields), tokenizer(template), longest, 0)[0]


def says(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def shown(pair: Pair) -> list[tuple[str, str]]:
    """The whole text of each answer, and of it what is trained."""
    sides = (pair.chosen, pair.rejected)
    return [(plain().decode(s.tokens), plain().decode(s.tokens[s.mask])) for s in sides]


EXPLICIT = {"prompt": "2+2=", "chosen": " 4", "rejected": " 5"}
IMPLICIT = {"chosen": "2+2= 4", "rejected": "2+2= 5"}
ASKED, RIGHT, WRONG = says("user", "2+2="), says("assistant", " 4"), says("assistant", " 5")
CHATS = [
    {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG]},
    {"chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]},
    {"prompt": "2+2=", "prompt_id": "a1", "messages": [ASKED, RIGHT], "chosen": [ASKED, RIGHT],
     "rejected": [ASKED, WRONG], "score_chosen": 8.0, "score_rejected": 4.5},
]  # fmt: skip


def test_one_row_in_all_layouts(tmp_path: Path) -> None:
    """Explicit, implicit, conversations, and UltraFeedback's conversations beside the prompt."""
    rows = [EXPLICIT, IMPLICIT, *CHATS]
    found = [load(tmp_path, row, template=CHATML)[0] for row in rows]
    for pair in found:
        assert shown(pair) == [
            ("<|user|>2+2=<eos>\n<|assistant|> 4<eos>", " 4<eos>"),
            ("<|user|>2+2=<eos>\n<|assistant|> 5<eos>", " 5<eos>"),
        ]
        for side in ("chosen", "rejected"):
            assert np.array_equal(getattr(pair, side).tokens, getattr(found[0], side).tokens)
            assert np.array_equal(getattr(pair, side).mask, getattr(found[0], side).mask)
    assert [pair.margin for pair in found] == [None] * 4 + [3.5]
    for row in (EXPLICIT, IMPLICIT):
        assert shown(load(tmp_path, row)[0]) == [("2+2= 4<eos>", " 4<eos>"), ("2+2= 5<eos>", " 5<eos>")]


def test_names_of_other_files(tmp_path: Path) -> None:
    """OpenRLHF's, whose columns a recipe names."""
    row = {"question": "2+2=", "good": " 4", "bad": " 5", "margin": 2, "weight": 0.5}
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    [pair] = load(tmp_path, row, columns=columns)
    assert shown(pair)[0] == ("2+2= 4<eos>", " 4<eos>")
    assert pair.margin == 2 and pair.weight == 0.5
    with pytest.raises(UserError, match=r"has no column 'godo' \(columns.chosen\).*did you mean 'good'"):
        load(tmp_path, row, columns=columns | {"chosen": "godo"})


def test_turns_that_both_have(tmp_path: Path) -> None:
    chat = [says("system", "S"), says("user", "a"), says("assistant", "b"), says("user", "c")]
    row = {"chosen": [*chat, says("assistant", "d")], "rejected": [*chat, says("assistant", "e")]}
    [pair] = load(tmp_path, row, template=CHATML)
    assert [trained for _, trained in shown(pair)] == ["d<eos>", "e<eos>"]


def test_what_teaches_nothing_is_counted(tmp_path: Path) -> None:
    rows = [
        EXPLICIT,
        EXPLICIT | {"rejected": " 4"},
        EXPLICIT | {"chosen": "  "},
        EXPLICIT | {"rejected": None},
    ]
    found, report = pairs("p", source(tmp_path, *rows, EXPLICIT | {"chosen": "4" * 99}), plain(), 40, 0)
    assert len(found) == 1
    assert (
        str(report)
        == "p: 1 of 5 rows, 14 tokens, 1 too long left out, 1 equal pairs left out, 2 empty answers left out"
    )
    implicit = [
        IMPLICIT,
        {"chosen": "2+2= 4", "rejected": "2+2= 4"},
        {"chosen": "2+2=", "rejected": "2+2= 4"},
    ]
    found, report = pairs("p", source(tmp_path, *implicit), plain(), 40, 0)
    assert report.others == {"equal pairs": 1, "empty answers": 1} and report.kept == 1
    chats = [CHATS[1], {"chosen": [ASKED, RIGHT], "rejected": [ASKED, RIGHT]}]
    assert pairs("p", source(tmp_path, *chats), tokenizer(CHATML), 99, 0)[1].others == {"equal pairs": 1}


def test_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 have an answer that with its prompt is longer than 5 tokens"):
        load(tmp_path, EXPLICIT, longest=5)
    with pytest.raises(UserError, match=r"of 1 rows 0 have .* 1 are equal pairs"):
        load(tmp_path, EXPLICIT | {"rejected": " 4"})


def test_labelled_answers(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2+2=", "completion": " 4", "label": True},
        {"prompt": "2+2=", "completion": " 5", "label": False},
        {"prompt": "2+2=", "completion": "", "label": False},
    ]
    found, report = judged("k", source(tmp_path, *rows), plain(), 99, 0)
    assert [each.desirable for each in found] == [True, False] and report.others == {"empty answers": 1}
    [pair] = load(tmp_path, EXPLICIT)
    assert np.array_equal(found[0].example.tokens, pair.chosen.tokens)
    split, _ = judged("k", source(tmp_path, EXPLICIT), plain(), 99, 0)
    assert [(each.desirable, each.example.tokens.tolist()) for each in split] == [
        (True, pair.chosen.tokens.tolist()),
        (False, pair.rejected.tokens.tolist()),
    ]
    with pytest.raises(UserError, match=r"labelled answers .* train on them with algorithm=kto"):
        load(tmp_path, *rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"prompt": "a", "text": "b"}],
            "is no preference: it has prompt, text; pairs have chosen and rejected",
        ),
        ([EXPLICIT | {"completion": "c", "label": True}], "has pairs .* and labelled answers .* in one row"),
        ([EXPLICIT, IMPLICIT], "row 2 has no column 'prompt', as earlier rows have"),
        ([EXPLICIT, CHATS[2]], "row 2: 'chosen' begins with the user's turn, and earlier rows"),
        ([EXPLICIT | {"rejected": [WRONG]}], "row 1 mixes text and chat messages in chosen and rejected"),
        ([{"chosen": "yes", "rejected": "no"}], "have no prompt in common"),
        ([{"chosen": [RIGHT], "rejected": [WRONG]}], "have no prompt in common"),
        ([EXPLICIT | {"chosen": 4}], "'chosen' is int; it must be text or messages"),
        ([EXPLICIT | {"margin": "much"}], "'margin' is 'much'; it must be a number"),
        ([EXPLICIT | {"weight": 0}], "weight is 0; it must be above 0"),
        ([CHATS[1] | {"chosen": [ASKED, RIGHT, ASKED]}], "'chosen' ends with a turn of user"),
        ([{"prompt": "a", "completion": "b", "label": "good"}], "'label' is 'good'; a label is true"),
        ([{"completion": "b", "label": True}], "labelled answers and no prompt"),
    ],
)
def test_rows_that_are_no_preference(tmp_path: Path, rows: list[Row], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, *rows, template=CHATML)


def test_the_order_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = [EXPLICIT | {"prompt": f"{i}+{i}="} for i in range(7)]
    found = load(tmp_path, *rows)
    whole = [pair.id for _, pair in PairSampler({"a": found}, {"a": 1.0}, seed=3).take(14)]
    assert sorted(whole[:7]) == sorted(whole[7:]) == sorted(pair.id for pair in found)
    first = PairSampler({"a": found}, {"a": 1.0}, seed=3)
    first.take(5)
    again = PairSampler({"a": found}, {"a": 1.0}, seed=3)
    again.load(first.state())
    assert [pair.id for _, pair in again.take(9)] == whole[5:]
    single = [Judged(example=p.chosen, desirable=True, id=p.id) for p in found]
    assert len(JudgedSampler({"a": single}, {"a": 1.0}, seed=0).take(3)) == 3


def test_held_out_prompts(tmp_path: Path) -> None:
    rows = [EXPLICIT | {"prompt": f"{i}+{i}="} for i in range(40)]
    train = source(tmp_path, *rows, holdout=0.25)
    kept, _ = pairs("train", train, plain(), 99, 0)
    train.held_out = True
    apart, _ = pairs("eval", train, plain(), 99, 0)
    assert len(kept) + len(apart) == 40 and len(apart) > 3
    assert held_out([train, train], 0, PREFERENCES)


@pytest.mark.parametrize(("family", "mark"), [("addition_pairs", "}"), ("marker_pairs", "!")])
def test_pairs_made_here(family: str, mark: str) -> None:
    rows = generate(family, "train", {"size": 300}, 0)
    assert len({row["prompt"] for row in rows}) == 300 and all(
        row["chosen"] != row["rejected"] for row in rows
    )
    if family == "marker_pairs":
        assert all(row["chosen"].count(mark) == 1 and mark not in row["rejected"] for row in rows)
        return
    for row in rows:
        a, b = map(int, row["prompt"].rstrip("=").split("+"))
        right, wrong = (row[side].split("{")[1].rstrip("}") for side in ("chosen", "rejected"))
        assert int(right) == a + b != int(wrong) and len(right) == len(wrong) == len(str(int(wrong)))
        assert sum(x != y for x, y in zip(row["chosen"], row["rejected"], strict=True)) == 1
