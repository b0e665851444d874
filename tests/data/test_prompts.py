"""The template is applied once, BOS appears once, and every row left out is counted."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems, render
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Chat, Source

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def plain() -> Any:
    return tiny_tokenizer(512)


def tokenizer(template: str | None, *, adds_bos: bool = False) -> Any:
    made = copy.deepcopy(plain())
    made.chat_template = template
    if adds_bos:
        bos = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)])
        made.backend_tokenizer.post_processor = bos
    return made


def test_template_is_applied_exactly_once() -> None:
    source = Source(path="x", prompt="Solve {prompt} in \\boxed{}.", system="Be brief.")
    text, tokens = render({"prompt": "a {prompt} {0} b"}, source, tokenizer(CHATML))
    assert (
        text == "<|system|>Be brief.<eos>\n<|user|>Solve a {prompt} {0} b in \\boxed{}.<eos>\n<|assistant|>"
    )
    assert plain().decode(tokens) == text


def test_template_wraps_the_last_user_message_and_system_replaces() -> None:
    chat = [
        {"role": "system", "content": "old"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    source = Source(path="x", prompt="[{prompt}]", system="new")
    text, _ = render({"prompt": chat}, source, tokenizer(CHATML))
    assert (
        text
        == "<|system|>new<eos>\n<|user|>one<eos>\n<|assistant|>two<eos>\n<|user|>[three]<eos>\n<|assistant|>"
    )
    assert chat[3]["content"] == "three"


def test_chat_never_and_no_template_give_plain_text() -> None:
    for source, made in (
        (Source(path="x", chat=Chat.never), tokenizer(CHATML)),
        (Source(path="x"), tokenizer(None)),
    ):
        assert render({"prompt": "1+1="}, source, made)[0] == "1+1="


def test_bos_comes_once_and_eos_never() -> None:
    source = Source(path="x")
    one = plain()("1", add_special_tokens=False)["input_ids"]
    assert render({"prompt": "1"}, source, tokenizer(None))[1] == one
    assert render({"prompt": "1"}, source, tokenizer(None, adds_bos=True))[1] == [2, *one]
    assert render({"prompt": "<bos>1"}, source, tokenizer(None, adds_bos=True))[1] == [2, *one]
    written = "<bos>{{ messages[0]['content'] }}"
    assert render({"prompt": "1"}, source, tokenizer(written, adds_bos=True))[1] == [2, *one]
    unwritten = "{{ messages[0]['content'] }}"
    assert render({"prompt": "1"}, source, tokenizer(unwritten, adds_bos=True))[1] == one


@pytest.mark.parametrize(
    ("source", "prompt", "template", "message"),
    [
        (Source(path="x", chat=Chat.always), "1", None, "chat: always .*set model.chat_template"),
        (Source(path="x", system="s"), "1", None, "system message, which needs .*set model.chat_template"),
        (Source(path="x", system="s", chat=Chat.never), "1", CHATML, "system message.*set chat: auto"),
        (
            Source(path="x"),
            [{"role": "user", "content": "1"}],
            None,
            "chat messages.*set model.chat_template",
        ),
        (Source(path="x"), [{"role": "system", "content": "1"}], CHATML, "has no user message"),
        (Source(path="x", prompt="Solve"), "1", None, "lacks {prompt}: 'Solve'"),
        (Source(path="x"), "1", "{{ raise_exception('no system role') }}", "refuses .*no system role"),
    ],
)
def test_impossible_templates(source: Source, prompt: Any, template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        render({"prompt": prompt}, source, tokenizer(template))


def write(path: Path, *prompts: str) -> str:
    path.write_text("".join(json.dumps({"problem": p, "answer": "1", "level": 3}) + "\n" for p in prompts))
    return str(path)


def test_problems_counts_duplicates_and_long_prompts(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", "aa", "aa", "b" * 9, "cc", "dd", "ee")
    source = Source(path=path, deduplicate=True, limit=4, verifiers=["math"])
    found, report = problems("train", source, plain(), 8, seed=0)
    assert [p.prompt for p in found] == ["aa", "cc", "dd"]
    assert (report.rows, report.duplicates, report.too_long, report.kept, report.tokens) == (5, 1, 1, 3, 6)
    assert str(report) == "train: 3 of 5 rows, 6 tokens, 1 duplicates left out, 1 too long left out"
    first = found[0]
    assert (first.id, first.answer, first.source, first.verifiers) == ("1", "1", "train", ["math"])
    assert first.tokens == plain()("aa")["input_ids"] and first.extra == {"level": 3, "prompt": "aa"}


def test_nothing_fits(tmp_path: Path) -> None:
    source = Source(path=write(tmp_path / "d.jsonl", "aaaa", "bbbb"))
    with pytest.raises(
        UserError, match=r"train: all 2 prompts .* longer than 3 tokens; raise rollout.max_prompt"
    ):
        problems("train", source, plain(), 3, seed=0)
    with pytest.raises(UserError, match="train: limit is 0"):
        problems("train", Source(path=source.path, limit=0), plain(), 3, seed=0)
