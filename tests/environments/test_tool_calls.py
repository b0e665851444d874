"""Tool calls in text: every syntax, every way in which a call fails, and what `repair` mends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.environments.tool_calls import Call, Grammar, Status, Syntax, parse, syntax_of

OBJECT = {"type": "object", "properties": {}}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
SAY = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOLS = {"add": ADD, "say": SAY, "now": OBJECT}
ARGUMENTS = {"a": 1, "b": 2}


def read(syntax: str, text: str, **settings: Any) -> list[Call]:
    tags = {"add": "add", "s": "say"} if syntax == "tags" else {}
    grammar = Grammar(syntax=Syntax(syntax), parameters=TOOLS, tags=tags, **settings)
    return parse(text, grammar).calls


def only(syntax: str, text: str, **settings: Any) -> Call:
    [call] = read(syntax, text, **settings)
    return call


def block(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


GOOD = {
    "hermes": block('{"name": "add", "arguments": {"a": 1, "b": 2}}'),
    "llama3_json": '{"name": "add", "parameters": {"a": 1, "b": 2}}',
    "pythonic": "[add(a=1, b=2)]",
    "qwen3_coder": block(
        "<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>"
    ),
    "mistral": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}, "id": "123456789"}]',
}


@pytest.mark.parametrize("syntax", GOOD)
def test_a_call(syntax: str) -> None:
    call = only(syntax, GOOD[syntax])
    assert (call.status, call.name, call.arguments) == (Status.ok, "add", ARGUMENTS)


OTHER_FORMS = [
    ("hermes", block('{"name": "now"}'), "now", {}),
    ("hermes", block('{"name": "now", "arguments": null}'), "now", {}),
    ("hermes", '<tool_call>{"arguments":{"text":"</tool_call>"},"name":"say"}</tool_call>', "say", None),
    ("llama3_json", '<|python_tag|>{"name": "add", "arguments": {"a": 1, "b": 2}}', "add", ARGUMENTS),
    ("pythonic", "<|tool_call_start|>[add(a=1, b=2)]<|tool_call_end|>", "add", ARGUMENTS),
    ("pythonic", "[say(text='[1, (2)]')]", "say", {"text": "[1, (2)]"}),
    ("pythonic", '[say(text={"deep": [true, null, -1]})]', "say", {"text": {"deep": [True, None, -1]}}),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}', "add", ARGUMENTS),
    ("mistral", '[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 1, "b": 2}', "add", ARGUMENTS),
    ("qwen3_coder", block("<function=now>\n</function>"), "now", {}),
    ("qwen3_coder", block("<function=say><parameter=text>7</parameter></function>"), "say", {"text": "7"}),
    ("tags", "so <s>hello</s>", "say", {"text": "hello"}),
]


@pytest.mark.parametrize(("syntax", "text", "name", "arguments"), OTHER_FORMS)
def test_other_forms(syntax: str, text: str, name: str, arguments: dict[str, Any] | None) -> None:
    call = only(syntax, text)
    assert (call.status, call.name) == (Status.ok, name), call
    assert arguments is None or call.arguments == arguments


def test_values_of_raw_text_have_the_types_of_the_schema() -> None:
    """Templates print Python's True and None; `"7"` and 7 look alike, and only the schema tells."""
    kinds = {"n": "integer", "x": "number", "flag": "boolean", "list": "array", "text": "string"}
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in kinds.items()}
    properties["maybe"] = {"type": "string", "nullable": True}
    properties["either"] = {"type": ["integer", "string"]}
    said = {
        "n": "7",
        "x": "0.5",
        "flag": "True",
        "list": "[1, 2]",
        "text": "7",
        "maybe": "None",
        "either": "7",
    }
    body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in said.items())
    grammar = Grammar(syntax=Syntax.qwen3_coder, parameters={"f": {"properties": properties}})
    [call] = parse(block(f"<function=f>\n{body}</function>"), grammar).calls
    assert call.arguments == {
        "n": 7, "x": 0.5, "flag": True, "list": [1, 2], "text": "7", "maybe": None, "either": 7,
    }  # fmt: skip


FAILURES = [
    ("hermes", "<tool_call>\n" + '{"name": "add", "argum', Status.unclosed),
    ("hermes", block('{"name": "add", "arguments": {"a": 1, "b": 2,}}'), Status.invalid_json),
    ("hermes", block("{'name': 'add', 'arguments': {}}"), Status.invalid_json),
    ("hermes", block('{"name": "say", "arguments": {"text": "a\nb"}}'), Status.invalid_json),
    ("hermes", block('{"name": "add", "arguments": {"a": NaN, "b": 2}}'), Status.invalid_json),
    ("hermes", block('{"name": "add", "arguments": {"a": 1e999, "b": 2}}'), Status.invalid_json),
    ("hermes", block('{"name": "say", "arguments": {"text": "\\ud800"}}'), Status.invalid_json),
    ("hermes", block('{{"name": "add", "arguments": {"a": 1}}}'), Status.invalid_json),
    ("hermes", block('{"name": "now"}{"name": "now"}'), Status.invalid_json),
    ("hermes", block("[" * 100_000), Status.invalid_json),
    ("hermes", block('```json\n{"name": "now"}\n```'), Status.invalid_json),
    ("hermes", block('{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}'), Status.malformed),
    ("hermes", block('["add"]'), Status.malformed),
    ("hermes", block('{"arguments": {}}'), Status.missing_name),
    ("hermes", block('{"name": 3}'), Status.missing_name),
    ("hermes", block('{"name": "functions.add", "arguments": {}}'), Status.unknown_tool),
    ("hermes", block('{"name": "add ", "arguments": {}}'), Status.unknown_tool),
    ("llama3_json", '{"name": "add", "parameters": {"a": 1', Status.unclosed),
    ("llama3_json", '{"name": "add", "parameters": {"a": 1,}}', Status.invalid_json),
    ("llama3_json", "<|python_tag|>brave_search.call(query='x')", Status.invalid_json),
    ("pythonic", "[add(a=1, b=2)", Status.unclosed),
    ("pythonic", "<|tool_call_start|>[add(a=1", Status.unclosed),
    ("pythonic", "[add(1, 2)]", Status.malformed),
    ("pythonic", "[add(a=x, b=2)]", Status.malformed),
    ("pythonic", "[add(**{'a': 1})]", Status.malformed),
    ("pythonic", "[add(a=1, a=2)]", Status.malformed),
    ("pythonic", "[say(text=b'x')]", Status.malformed),
    ("pythonic", "[say(text=1e999)]", Status.malformed),
    ("pythonic", "[math.add(a=1, b=2)]", Status.unknown_tool),
    ("qwen3_coder", block('{"name": "add"}'), Status.malformed),
    ("qwen3_coder", block("<function=add>\n<parameter=a>\nx\n</parameter>\n</function>"), Status.malformed),
    ("qwen3_coder", block("<function=add>\n1 + 2\n</function>"), Status.malformed),
    ("qwen3_coder", block("<function=></function>"), Status.missing_name),
    ("qwen3_coder", "<tool_call>\n<function=add>\n<parameter=a>", Status.unclosed),
    ("mistral", '[TOOL_CALLS] [{"name": "add", "argu', Status.unclosed),
    ("mistral", "[TOOL_CALLS] [{'name': 'add'}]", Status.invalid_json),
    ("mistral", '[TOOL_CALLS] {"name": "add"}', Status.malformed),
    ("mistral", '[TOOL_CALLS] [{"arguments": {}}]', Status.missing_name),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": 1', Status.unclosed),
    ("mistral", "[TOOL_CALLS]add[ARGS][1]", Status.malformed),
    ("tags", "<s>hello", Status.unclosed),
]  # fmt: skip


@pytest.mark.parametrize(("syntax", "text", "status"), FAILURES)
def test_failures(syntax: str, text: str, status: Status) -> None:
    call = only(syntax, text)
    assert call.status is status, call
    assert call.problem or status is Status.unknown_tool


CONTENT = [
    ("hermes", '{"name": "add", "arguments": {}}'),
    ("hermes", "the end </tool_call>"),
    ("llama3_json", 'Sure: {"name": "add", "parameters": {"a": 1, "b": 2}}'),
    ("llama3_json", '{"answer": 3}'),
    ("pythonic", "[1, 2]"),
    ("pythonic", "The list is [add(a=1, b=2)]"),
    ("mistral", "[add(a=1)]"),
    ("tags", "1 < 2 and <t>x</t>"),
]


@pytest.mark.parametrize(("syntax", "text"), CONTENT)
def test_what_is_no_attempt_is_content(syntax: str, text: str) -> None:
    tags = {"s": "say"} if syntax == "tags" else {}
    said = parse(text, Grammar(syntax=Syntax(syntax), parameters=TOOLS, tags=tags))
    assert (said.content, said.calls) == (text, [])


def test_one_bad_call_of_three_does_not_void_the_others() -> None:
    text = "First.\n" + "\n".join([GOOD["hermes"], block("{"), GOOD["hermes"]]) + "\nLast."
    said = parse(text, Grammar(syntax=Syntax.hermes, parameters=TOOLS))
    assert [call.status for call in said.calls] == [Status.ok, Status.invalid_json, Status.ok]
    assert said.content.split() == ["First.", "Last."]


def test_several_calls_of_a_turn() -> None:
    assert len(read("llama3_json", "; ".join([GOOD["llama3_json"]] * 2))) == 2
    assert len(read("pythonic", "[add(a=1, b=2), now()]")) == 2
    [first, second] = read(
        "mistral", '[TOOL_CALLS] [{"name": "now", "id": "abcdefgh1"}, {"name": "now", "id": "x"}]'
    )
    assert (first.id, second.id) == ("abcdefgh1", "")  # templates take nine letters and digits, and no others


def test_examples_within_a_thought_are_no_calls() -> None:
    example = GOOD["hermes"]
    assert read("hermes", f"<think>I could write {example}</think>No.") == []
    assert len(read("hermes", f"<think>{example}</think>{example}")) == 1
    assert read("hermes", f"<think>a</think>{example}</think>No.") == []
    assert read("hermes", f"<think>{example}") == []
    assert read("hermes", example, thinking=True) == []  # the prompt has opened the thought
    assert len(read("hermes", f"well</think>{example}", thinking=True)) == 1


THREE = '{"name": "add", "arguments": "{\\"a\\":1,\\"b\\":2}",}'
REPAIRS = [
    ("hermes", block('{"name": "add", "arguments": {"a": 1, "b": 2,},}'), ("comma",)),
    ("hermes", block('```json\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n```'), ("fence",)),
    ("hermes", block('{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}'), ("quoted",)),
    ("hermes", block(f"```\n{THREE}\n```"), ("fence", "comma", "quoted")),
    ("llama3_json", '```json\n{"name": "add", "parameters": {"a": 1, "b": 2}}\n```', ("fence",)),
    ("llama3_json", '{"name": "add", "parameters": {"a": 1, "b": 2,}}', ("comma",)),
    ("pythonic", "```python\n[add(a=1, b=2)]\n```", ("fence",)),
    ("mistral", '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2},}]', ("comma",)),
    ("mistral", '[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2,}', ("comma",)),
]  # fmt: skip


@pytest.mark.parametrize(("syntax", "text", "repairs"), REPAIRS)
def test_repairs_are_counted_and_asked_for(syntax: str, text: str, repairs: tuple[str, ...]) -> None:
    assert [call for call in read(syntax, text) if call.status is Status.ok] == []
    call = only(syntax, text, repair=True)
    assert (call.status, call.arguments, call.repairs) == (Status.ok, ARGUMENTS, repairs)


UNREPAIRED = [
    text for syntax, text, status in FAILURES if syntax == "hermes" and status is Status.invalid_json
]


@pytest.mark.parametrize("text", [t for t in UNREPAIRED if "```" not in t and ",}" not in t])
def test_nothing_else_is_repaired(text: str) -> None:
    assert only("hermes", text, repair=True).status is Status.invalid_json


def test_a_comma_within_a_string_stays() -> None:
    text = block('{"name": "say", "arguments": {"text": ",}\\",]"},}')
    assert only("hermes", text, repair=True).arguments == {"text": ',}",]'}


@pytest.mark.parametrize("syntax", [each for each in Syntax if each is not Syntax.auto])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<tool_call>", "</tool_call>", "<function=add>", "</function>", "<parameter=a>",
             "</parameter>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<|tool_call_start|>",
             "<think>", "</think>", "<s>", "</s>", "```", "[add(", ")]", '{"name": "add"', ', "arguments": {',
             "}", "]", '"', "; ", ","]
        )
        | st.text(max_size=6),
        max_size=14,
    ),
    st.booleans(),
)  # fmt: skip
def test_no_text_raises(syntax: Syntax, parts: list[str], repair: bool) -> None:
    tags = {"s": "say"}
    grammar = Grammar(syntax=syntax, parameters=TOOLS, repair=repair, tags=tags)
    for call in parse("".join(parts), grammar).calls:
        json.dumps(call.arguments, allow_nan=False, ensure_ascii=False).encode()  # a template can print it


def words(*control: str) -> Any:
    """Texts without what ends a call in its syntax."""
    spelled = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return spelled.filter(lambda text: not any(each in text for each in control))


def values(words: Any) -> Any:
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=5,
    )


VALUES = values(words("</think>", "[TOOL_CALLS]"))
NAMES = st.sampled_from(["x", "a_b", "query"])
CALLS = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=3)


def printed(syntax: str, calls: list[dict[str, Any]]) -> str:
    """As the chat templates of the families print them (`tojson` there leaves characters as they are)."""
    spelled = [json.dumps(each, ensure_ascii=False) for each in calls]
    if syntax == "hermes":
        return "\n".join(block(f'{{"name": "f", "arguments": {each}}}') for each in spelled)
    if syntax == "llama3_json":
        return "; ".join(f'{{"name": "f", "parameters": {each}}}' for each in spelled)
    if syntax == "mistral":
        inner = ", ".join(f'{{"name": "f", "arguments": {each}, "id": "abcdefgh1"}}' for each in spelled)
        return f"[TOOL_CALLS] [{inner}]"
    return "[" + ", ".join(f"f({', '.join(f'{k}={v!r}' for k, v in each.items())})" for each in calls) + "]"


@pytest.mark.parametrize("syntax", ["hermes", "llama3_json", "mistral", "pythonic"])
@settings(max_examples=30, deadline=None)
@given(CALLS)
def test_what_a_template_prints_is_read_back(syntax: str, calls: list[dict[str, Any]]) -> None:
    grammar = Grammar(syntax=Syntax(syntax), parameters={"f": OBJECT})
    found = parse(printed(syntax, calls), grammar).calls
    assert [(each.status, each.name) for each in found] == [(Status.ok, "f")] * len(calls)
    assert [each.arguments for each in found] == calls


RAW = words("</think>", "</parameter>", "<tool_call>", "</tool_call>")
TYPED = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(), "x": st.floats(allow_nan=False, allow_infinity=False), "flag": st.booleans(),
        "text": RAW, "rows": st.lists(values(RAW), max_size=3),
        "table": st.dictionaries(RAW, values(RAW), max_size=3),
    },
)  # fmt: skip
TYPES = {
    "n": "integer",
    "x": "number",
    "flag": "boolean",
    "text": "string",
    "rows": "array",
    "table": "object",
}


@settings(max_examples=30, deadline=None)
@given(st.lists(TYPED, min_size=1, max_size=3))
def test_what_a_template_of_tags_prints_is_read_back(calls: list[dict[str, Any]]) -> None:
    """Qwen3.5's prints lists and objects as JSON and all else by Python's `str`."""
    parameters = {"properties": {name: {"type": kind} for name, kind in TYPES.items()}}
    text = ""
    for each in calls:
        body = ""
        for key, value in each.items():
            shown = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
            body += f"<parameter={key}>\n{shown}\n</parameter>\n"
        text += f"\n<tool_call>\n<function=f>\n{body}</function>\n</tool_call>"
    found = parse(text, Grammar(syntax=Syntax.qwen3_coder, parameters={"f": parameters})).calls
    assert [each.arguments for each in found] == calls


TEMPLATES = [
    ('{{- \'\\n<tool_call>\\n{"name": "\' }}{{- \'", "arguments": \' }}', Syntax.hermes),
    ("{{ '<tool_call>\\n<function=' + name + '>\\n' }}{{ '<parameter=' + k + '>' }}", Syntax.qwen3_coder),
    ('{%- set c = message.tool_calls[0] %}{{ \'{"name": "\' }}{{ \'"parameters": \' }}', Syntax.llama3_json),
    ("{{ '[TOOL_CALLS] [' }}{{ '\"arguments\": ' }}", Syntax.mistral),
    ("{{ '<|tool_call_start|>[' }}", Syntax.pythonic),
    ("{{ '<tool_call>' + name + '<arg_key>' }}", None),
    ("{% for message in messages %}{{ message.content }}{% endfor %}", None),
    (None, None),
]


@pytest.mark.parametrize(("template", "syntax"), TEMPLATES)
def test_the_syntax_of_a_template(template: str | None, syntax: Syntax | None) -> None:
    assert syntax_of(template) is syntax
