"""Loss falls on completions and their EOS, and on nothing else."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sft import Example, ExampleSampler, examples
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Chat, Source

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<eos>{% endgeneration %}{% else %}{{ m['content'] }}<eos>{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Like Qwen3: reasoning of earlier turns disappears from the history.
FORGETS = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if loop.last %}{{ m['content'] }}{% else %}{{ m['content'].split('</think>')[-1] }}{% endif %}<eos>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_EOS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TURNS = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "bb"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "dd"},
]


@cache
def plain() -> Any:
    return tiny_tokenizer(512)


def tokenizer(template: str | None) -> Any:
    made = copy.deepcopy(plain())
    made.chat_template = template
    return made


def load(tmp_path: Path, *lines: dict[str, Any], template: str | None = None, **fields: Any) -> list[Example]:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = Source(path=str(path), **fields)
    return examples("train", source, tokenizer(template), 200, seed=0)[0]


def shown(example: Example) -> str:
    """The text, trained stretches in brackets."""
    text, inside = "", False
    for token, trained in zip(example.tokens.tolist(), example.mask.tolist(), strict=True):
        text += "[" * (trained and not inside) + "]" * (inside and not trained) + plain().decode([token])
        inside = trained
    return text + "]" * inside


def test_types(tmp_path: Path) -> None:
    (made,) = load(tmp_path, {"prompt": "1+1=", "completion": "2"})
    assert made.tokens.dtype == np.int32 and made.mask.dtype == bool and made.tokens.shape == made.mask.shape


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "1+1=", "completion": "2"}, "1+1=[2<eos>]"),
        ({"prompt": "1+1=", "response": "2"}, "1+1=[2<eos>]"),
        ({"question": "q ", "answer": "w #### 2"}, "q [w #### 2<eos>]"),
        ({"problem": "p", "solution": "s", "answer": "2"}, "p[s<eos>]"),
        ({"input": "i", "output": "o"}, "i[o<eos>]"),
        ({"instruction": "add", "input": "1 1", "output": "2"}, "add\n\n1 1[2<eos>]"),
        ({"instruction": "add", "input": "", "output": "2"}, "add[2<eos>]"),
    ],
)
def test_layouts_without_chat(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    assert shown(load(tmp_path, row)[0]) == text


def test_the_prompt_template_applies(tmp_path: Path) -> None:
    assert shown(load(tmp_path, {"prompt": "1", "completion": "2"}, prompt="<{prompt}>")[0]) == "<1>[2<eos>]"


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_assistant_turns_of_a_chat(tmp_path: Path, template: str) -> None:
    (made,) = load(tmp_path, {"messages": TURNS}, template=template)
    expected = (
        "<|system|>S<eos>\n<|user|>a<eos>\n<|assistant|>[bb<eos>]\n<|user|>c<eos>\n<|assistant|>[dd<eos>]"
    )
    assert shown(made) == expected


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_prompt_and_completion_in_a_chat(tmp_path: Path, template: str) -> None:
    (made,) = load(tmp_path, {"prompt": "a", "completion": "bb"}, template=template, system="S")
    assert shown(made) == "<|system|>S<eos>\n<|user|>a<eos>\n<|assistant|>[bb<eos>]"
    # Assistant turns inside the prompt are context, not targets.
    (made,) = load(tmp_path, {"prompt": TURNS[:4], "completion": TURNS[4:]}, template=template)
    text = "<|system|>S<eos>\n<|user|>a<eos>\n<|assistant|>bb<eos>\n<|user|>c<eos>\n<|assistant|>[dd<eos>]"
    assert shown(made) == text


def test_eos_is_appended_where_the_template_writes_none(tmp_path: Path) -> None:
    (made,) = load(tmp_path, {"messages": TURNS[1:3]}, template=NO_EOS)
    assert shown(made) == "<|user|>a\n<|assistant|>[bb\n<eos>]"


def test_a_template_that_rewrites_history_is_refused(tmp_path: Path) -> None:
    turns = [*TURNS[:2], {"role": "assistant", "content": "<think>x</think>bb"}, *TURNS[3:]]
    with pytest.raises(UserError, match=r"chat template rewrites earlier turns .row 1 of .*generation"):
        load(tmp_path, {"messages": turns}, template=FORGETS)
    (made,) = load(tmp_path, {"messages": turns[:3]}, template=FORGETS)
    assert shown(made).endswith("<|assistant|>[<think>x</think>bb<eos>]")


@pytest.mark.parametrize(
    ("row", "template", "message"),
    [
        ({"messages": TURNS[:2]}, CHATML, "row 1: 'messages' must hold a request, then an assistant turn"),
        ({"messages": TURNS[2:]}, CHATML, "must hold a request, then an assistant turn"),
        ({"messages": TURNS}, None, "holds chat messages, which need a chat template"),
        ({"prompt": "a", "completion": TURNS[2:3]}, None, "row 1 completes text with chat messages"),
        ({"prompt": "a", "completion": " "}, None, "row 1: 'completion' is empty"),
        (
            {"prompt": "a", "compltion": "b"},
            None,
            "no column for the completion .*columns.completion=compltion",
        ),
    ],
)
def test_wrong_rows(tmp_path: Path, row: dict[str, Any], template: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, row, template=template)


def test_long_examples_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    lines = [{"prompt": "ab", "completion": "c" * n} for n in (1, 3, 2, 9)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made, report = examples("train", Source(path=str(path)), tokenizer(None), 5, seed=0)
    assert [len(example.tokens) for example in made] == [4, 5]
    assert (report.rows, report.too_long, report.kept, report.tokens) == (4, 2, 2, 9)
    with pytest.raises(
        UserError, match=r"all 4 examples .* longer than 2 tokens; raise algorithm.max_length"
    ):
        examples("train", Source(path=str(path)), tokenizer(None), 2, seed=0)


@pytest.mark.parametrize("chat", [Chat.never, Chat.always])
def test_synthetic_examples_start_with_the_prompts_rl_sees(chat: Chat) -> None:
    source = Source(path="synthetic:addition", chat=chat, options={"size": 20})
    made, _ = examples("train", source, plain(), 64, seed=0)
    asked, _ = problems("train", source, plain(), 64, seed=0)
    for example, problem in zip(made, asked, strict=True):
        assert example.tokens[~example.mask].tolist() == problem.tokens
        trained = plain().decode(example.tokens[example.mask])
        assert trained.endswith(f" \\boxed{{{problem.answer}}}<eos>")


def test_example_sampler_epochs_and_resume(tmp_path: Path) -> None:
    made = load(tmp_path, *({"prompt": "p", "completion": "c" * n} for n in range(1, 6)))
    sampler = ExampleSampler({"train": made}, {"train": 1.0}, seed=0)
    lengths = [len(example.tokens) for _, example in sampler.take(10)]
    assert sorted(lengths[:5]) == sorted(lengths[5:]) == [3, 4, 5, 6, 7]
    again = ExampleSampler({"train": made}, {"train": 1.0}, seed=0)
    again.take(3)
    resumed = ExampleSampler({"train": made}, {"train": 1.0}, seed=0)
    resumed.load(again.state())
    assert [len(example.tokens) for _, example in resumed.take(7)] == lengths[3:]
