"""Small tokenizers with chat templates that print what those of known families print.

One token a byte, and one for each special token: what a template puts between turns is seen id by id.
"""

# ruff: noqa: E501 - lines of templates

from __future__ import annotations

from functools import cache
from typing import Any

QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SYSTEM = "{{ '<|im_start|>system\n' + %s + '<|im_end|>\n' }}"
OPENING = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
RESULTS = (
    "{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
)
CALLS = (
    "{% for c in m.tool_calls or [] %}"
    "{% if not loop.first or m.content %}{{ '\n' }}{% endif %}"
    '{{ \'<tool_call>\n{"name": "\' + c.function.name + \'", "arguments": \' + (c.function.arguments | tojson) '
    "+ '}\n</tool_call>' }}{% endfor %}"
)
TOOLS = (
    "{% if tools %}{{ '\n\n# Tools\n<tools>' }}{% for t in tools %}{{ '\n' + (t | tojson) }}{% endfor %}"
    "{{ '\n</tools>' }}{% endif %}"
)
QWEN25 = (
    "{{ '<|im_start|>system\n' + (messages[0].content if messages[0].role == 'system' else 'You are Qwen.') }}"
    + TOOLS
    + "{{ '<|im_end|>\n' }}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{{ '<|im_start|>assistant\n' + m.content }}"
    + CALLS
    + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + RESULTS + "{% endif %}{% endfor %}" + OPENING
)
QWEN3 = (
    "{% set ns = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' and not (m.content.startswith('<tool_response>') and "
    "m.content.endswith('</tool_response>')) %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% if messages[0].role == 'system' or tools %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    + TOOLS
    + "{{ '<|im_end|>\n' }}"
    "{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}"
    "{% set thought = m.reasoning_content or '' %}{% set said = m.content %}"
    "{% if not thought and '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}"
    "{{ '<|im_start|>assistant\n<think>\n' + thought + '\n</think>\n\n' + said }}"
    "{% else %}{{ '<|im_start|>assistant\n' + said }}{% endif %}" + CALLS + "{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}" + RESULTS + "{% endif %}{% endfor %}" + OPENING
)
HEADER = "'<|start_header_id|>%s<|end_header_id|>\n\n'"
LLAMA31 = (
    "{{ bos_token }}"
    "{{ " + HEADER % "system" + " + 'Cutting Knowledge Date: December 2023\n\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% endif %}{{ '<|eot_id|>' }}"
    "{% set first = namespace(user=true) %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ " + HEADER % "user" + " }}"
    "{% if tools and first.user %}{% for t in tools %}{{ t | tojson + '\n\n' }}{% endfor %}{% endif %}"
    "{% set first.user = false %}{{ (m.content | trim) + '<|eot_id|>' }}"
    "{% elif m.role == 'assistant' and m.tool_calls %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls') }}{% endif %}"
    "{% set c = m.tool_calls[0].function %}{{ " + HEADER % "assistant" + ' + \'{"name": "\' + c.name + '
    "'\", \"parameters\": ' + (c.arguments | tojson) + '}<|eot_id|>' }}"
    "{% elif m.role == 'assistant' %}{{ " + HEADER % "assistant" + " + (m.content | trim) + '<|eot_id|>' }}"
    "{% elif m.role == 'tool' %}{{ " + HEADER % "ipython" + " + (m.content | tojson) + '<|eot_id|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ " + HEADER % "assistant" + " }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}"
    "{% set lead = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% set talk = messages[1:] if lead else messages %}"
    "{% for m in talk %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' "
    "+ (lead if loop.first else '') + (m.content | trim) + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
R1 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + '<|end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
MISTRAL3 = (
    "{{ bos_token }}"
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}"
    "{% if tools and loop.index0 == ns.last %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}"
    "{% endif %}{{ '[INST]' + m.content + '[/INST]' }}"
    "{% elif m.role == 'assistant' and m.tool_calls %}"
    "{{ '[TOOL_CALLS]' + (m.tool_calls | map(attribute='function') | list | tojson) + eos_token }}"
    "{% elif m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% elif m.role == 'tool' %}"
    "{{ '[TOOL_RESULTS]' + ({'content': m.content, 'call_id': m.tool_call_id} | tojson) + '[/TOOL_RESULTS]' }}"
    "{% endif %}{% endfor %}"
)
FAMILIES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "qwen2.5": (QWEN25, QWEN, ("<|im_end|>", "<|endoftext|>")),
    "qwen3": (QWEN3, QWEN, ("<|im_end|>", "<|endoftext|>")),
    "llama3.1": (
        LLAMA31,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
        ("<|eot_id|>", "<|end_of_text|>"),
    ),
    "gemma3": (GEMMA3, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), ("<end_of_turn>",)),
    "r1": (R1, ("<|begin|>", "<|end|>", "<|User|>", "<|Assistant|>"), ("<|end|>",)),
    "mistral3": (
        MISTRAL3,
        ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
        ("</s>",),
    ),
}
"""Name -> template, special tokens, and those of them that end a turn."""


@cache
def chat_tokenizer(family: str) -> Any:
    """A tokenizer of that family; `bos` is the first of its special tokens, where it has one."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    template, specials, ends = FAMILIES[family]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=specials[0], eos_token=ends[-1], pad_token=ends[-1]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(specials)})
    tokenizer.chat_template = template
    return tokenizer


def stop_ids(family: str) -> list[int]:
    """Ids that end a turn."""
    return list(chat_tokenizer(family).convert_tokens_to_ids(list(FAMILIES[family][2])))


def encode(family: str, text: str) -> list[int]:
    return list(chat_tokenizer(family)(text, add_special_tokens=False)["input_ids"])
