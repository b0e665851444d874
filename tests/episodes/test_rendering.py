"""What is put behind a turn is the template's own, and what was sampled is never encoded again."""

from __future__ import annotations

import pytest
from chat_tokenizers import chat_tokenizer, encode, stop_ids

from rlvr_cli.episodes.rendering import Rendering, TemplateRefuses

CALL = {"type": "function", "id": "123456789", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
RESULT = {"role": "tool", "name": "add", "tool_call_id": "123456789", "content": "3"}
USER = {"role": "user", "content": "Q2"}


def rendering(family: str) -> Rendering:
    return Rendering(chat_tokenizer(family), stop_ids(family))


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (
            "qwen2.5",
            "\n<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "qwen3",
            "\n<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "llama3.1",
            '<|start_header_id|>ipython<|end_header_id|>\n\n"3"<|eot_id|>'
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("mistral3", '[TOOL_RESULTS]{"content": "3", "call_id": "123456789"}[/TOOL_RESULTS]'),
    ],
)
def test_the_result_of_a_tool(family: str, expected: str) -> None:
    assert rendering(family).added([RESULT], [CALL]) == encode(family, expected)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("qwen2.5", "\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"),
        ("qwen3", "\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"),
        (
            "llama3.1",
            "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("gemma3", "\n<start_of_turn>user\nQ2<end_of_turn>\n<start_of_turn>model\n"),
        ("r1", "<|User|>Q2<|Assistant|><think>\n"),
        ("mistral3", "[INST]Q2[/INST]"),
    ],
)
def test_what_a_user_says(family: str, expected: str) -> None:
    assert rendering(family).added([USER]) == encode(family, expected)


def test_several_results_are_one_turn_of_the_user_where_the_template_has_it_so() -> None:
    two = rendering("qwen2.5").added([RESULT, RESULT | {"content": "4"}], [CALL, CALL])
    one = "<tool_response>\n3\n</tool_response>\n<tool_response>\n4\n</tool_response>"
    assert two == encode("qwen2.5", f"\n<|im_start|>user\n{one}<|im_end|>\n<|im_start|>assistant\n")


def test_a_template_without_tools_says_so() -> None:
    with pytest.raises(TemplateRefuses, match=r"cannot go on with messages of tool: .*roles must alternate"):
        rendering("gemma3").added([RESULT], [CALL])


def test_two_calls_where_the_template_takes_one() -> None:
    with pytest.raises(TemplateRefuses, match="only single tool-calls"):
        rendering("llama3.1").added([RESULT, RESULT], [CALL, CALL])


def test_the_opening_announces_tools() -> None:
    schema = {"type": "function", "function": {"name": "add"}}
    own = Rendering(chat_tokenizer("qwen2.5"), stop_ids("qwen2.5"), tools=[schema])
    opened = chat_tokenizer("qwen2.5").decode(own.opened([{"role": "user", "content": "Q"}]))
    assert '<tools>\n{"type": "function", "function": {"name": "add"}}\n</tools>' in opened
    assert opened.endswith("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n")
    assert own.added([RESULT], [CALL]) == rendering("qwen2.5").added([RESULT], [CALL])


@pytest.mark.parametrize(
    ("family", "end"), [("qwen2.5", "<|im_end|>"), ("gemma3", "<end_of_turn>"), ("r1", "<|end|>")]
)
def test_the_end_of_a_turn_that_was_cut_off(family: str, end: str) -> None:
    assert rendering(family).end == encode(family, end)[0]


def test_without_a_template_messages_are_their_texts() -> None:
    from rlvr_cli.engine.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(64)
    tokenizer.chat_template = None
    plain = Rendering(tokenizer, [tokenizer.eos_token_id])
    assert tokenizer.decode(plain.added([USER])) == "Q2"
    assert tokenizer.decode(plain.opened([USER, USER])) == "Q2Q2"
