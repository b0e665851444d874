"""Prompts that no model can answer rightly: not opened, closed already, begun twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_cli.core.types import Problem
from rlvr_cli.data.prompts import render
from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
from rlvr_cli.preflight.template import replaced, template_faults
from rlvr_cli.schema import Chat, Model, Source, TinyModel

TURNS = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TAGS = (  # nothing of its own before an answer, as [INST] ... [/INST] has it
    "{% for m in messages %}{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [/Q]{% else %}"
    " {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def faults(template: str | None, **source: Any) -> list[str]:
    tokenizer = tiny_tokenizer(128)
    tokenizer.chat_template = template
    given = Source(path="mine.jsonl", **source)
    row = {"id": "0", "prompt": "47+85=", "shots": []}
    text, tokens = render(row, given, tokenizer)
    problem = Problem(
        id="0",
        prompt=text,
        tokens=tokens,
        answer="",
        source="train",
        verifiers=[],
        extra={"prompt": "47+85="},
    )
    recipe: Any = SimpleNamespace(data={"train": given})
    return template_faults({"train": [problem] * 3}, recipe, tokenizer, [1])


@pytest.mark.parametrize("template", [TURNS, TAGS, tiny_tokenizer(9).chat_template, None])
def test_good_templates_are_good(template: str | None) -> None:
    assert faults(template) == [] and faults(template, prompt="Q: {prompt}\nA:") == []


def test_a_template_that_does_not_open_the_answer_is_told_by_what_is_missing() -> None:
    [said] = faults(TURNS.replace("add_generation_prompt", "false"))
    assert "do not open the answer: the chat template writes '<assistant>' before what" in said
    assert faults(TURNS.replace("add_generation_prompt", "false"), chat=Chat.never) == []


def test_a_prompt_that_is_closed_already_is_told_with_its_token() -> None:
    [said] = faults(TURNS.replace("<assistant>{% endif %}", "<assistant>{{ eos_token }}\n{% endif %}"))
    assert "end with '<eos>', which ends a response" in said and "model.chat_template" in said
    [said] = faults(None, prompt="{prompt}<eos>")
    assert "data.train.prompt" in said


def test_a_prompt_that_begins_twice_is_told() -> None:
    assert faults("<bos>" + TURNS) == []
    [said] = faults("<bos>{{ bos_token }}" + TURNS)
    assert "begin with '<bos>' twice" in said


def test_only_another_template_than_the_models_own_replaces_it(tmp_path: Path) -> None:
    make_tiny(
        tmp_path / "model", TinyModel(hidden_size=32, layers=1, heads=2, kv_heads=1, max_positions=32), 0
    )
    own, other = tmp_path / "own.jinja", tmp_path / "other.jinja"
    own.write_text(tiny_tokenizer(9).chat_template + "\n")
    other.write_text(TURNS)

    def given(template: Path | None) -> Any:
        path = None if template is None else str(template)
        return SimpleNamespace(model=Model(path=str(tmp_path / "model"), chat_template=path))

    assert [replaced(given(each)) for each in (None, own, other)] == [False, False, True]
