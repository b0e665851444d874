"""Problems ready for the model: the template is applied here, once, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.types import Problem
from rlvr_cli.data.golds import AskVerifiers, any_text
from rlvr_cli.data.image_columns import looked, sized
from rlvr_cli.data.instructions import drawn, instructed, phrasings
from rlvr_cli.data.layouts import PROBLEMS, lookup
from rlvr_cli.data.shots import Shots, examples
from rlvr_cli.data.sources import Report, select, unusable_images
from rlvr_cli.vision.marks import typed
from rlvr_cli.vision.processor import processor_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rlvr_cli.data.experiences import Library

Messages = list[dict[str, str]]


def render(
    row: dict[str, Any],
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    tools: Sequence[dict[str, Any]] = (),
    library: Library | None = None,
) -> tuple[str, list[int]]:
    """The prompt as the model sees it, and its token ids. `tools`: what it announces, in OpenAI's form;
    `library`: experiences to read before the problem."""
    shots: Shots = row.get("shots", [])
    if uses_chat(row["prompt"], source, tokenizer, images=bool(row.get("images"))):
        messages = as_messages(row, source, library)
        text = apply_chat(shown_to_model(messages, row), source, tokenizer, generation=True, tools=tools)
        # The chat template writes the BOS token itself where the model wants one.
        return text, with_images(encode(text, tokenizer), row, source, tokenizer)
    worked = "".join(f"{wrap(question, source)}\n{answer}\n\n" for question, answer in shots)
    text = worked + _read_before(library, wrap(row["prompt"], source)) + ("\n" if shots else "")
    return text, encode_plain(text, tokenizer)


def shown_to_model(messages: Messages, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages as a chat template takes them: with images as typed parts."""
    return typed(messages) if row.get("images") else messages


def with_images(
    tokens: list[int], row: dict[str, Any], source: schema.Source, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Token ids with the images of the row in the place of the model's token for them."""
    if (processor := processor_of(tokenizer)) is None:
        return tokens
    try:
        return processor.expand(tokens, row.get("images", []))
    except ValueError as error:
        raise UserError(
            f"'{source.path}' row {row['id']}: its prompt has {error}; take the model's own image token out "
            "of the text, or set model.chat_template to a template that prints one for each image"
        ) from None


def as_messages(row: dict[str, Any], source: schema.Source, library: Library | None = None) -> Messages:
    """The prompt for a server with a chat template of its own; worked examples are turns before it."""
    messages = conversation(row["prompt"], source)
    if library is not None:
        last = max(i for i, message in enumerate(messages) if message["role"] == "user")
        messages[last] = messages[last] | {"content": library.around(messages[last]["content"])}
    return before_last_user(messages, row.get("shots", []), source)


def _read_before(library: Library | None, problem: str) -> str:
    return problem if library is None else library.around(problem)


def shown(messages: Messages) -> str:
    """Messages as a reader sees them; a single one of the user as it is."""
    if [message["role"] for message in messages] == ["user"]:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def problems(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase | None,
    max_prompt_tokens: int,
    seed: int,
    remedy: str = "raise rollout.max_prompt_tokens",
    look: Callable[[dict[str, Any]], None] | None = None,
    ask: AskVerifiers | None = None,
    refused: Callable[[dict[str, Any], str | None, str], None] = lambda row, gold, why: None,
    apart: Set[int] = frozenset(),
    raw: bool = False,
    environment: str | None = None,
    tools: Sequence[dict[str, Any]] = (),
    library: Library | None = None,
    chat: bool = False,
) -> tuple[list[Problem], Report]:
    """All problems of a source that have a usable gold and a prompt that fits; what became of the others.

    Without a tokenizer prompts are messages of unknown length; with `chat` those without images. `look` is
    shown each row {id, prompt, answer, extra} as the file has it; `ask` says why the verifiers of a row can
    not use a gold, without it any text is one; `refused` is told of each (row, gold, why). `apart`: prompts
    that other sources hold out. `raw`: problems have the columns as they are. `environment`: the name of what
    takes part in them, which announces `tools`. `library`: experiences that each prompt begins with.
    """
    report, kept, processor = Report(name=name), [], processor_of(tokenizer)
    shots_of, lists = examples(name, source, seed), phrasings(source.instructions, f"data.{name}")

    def fault(row: dict[str, Any], gold: str | None) -> str | None:
        if ask is None:
            return any_text(row, gold)
        if not sized(row, source, processor):
            return None  # it is left out below, for its image
        why = ask(routed(row, source), gold, row["extra"] | {"prompt": row["prompt"]})
        if why is not None:
            refused(row, gold, why)
        return why

    for row in select(source, seed, PROBLEMS, report, fault, apart, processor):
        if look is not None:
            look(row)
        if not looked(row, source, processor, report, f"'{source.path}' row {row['id']}"):
            continue
        given, row["shots"] = row, shots_of(row)
        reads = None if chat and not row.get("images") else tokenizer
        if lists:  # what identifies a problem is its own text
            row = row | {"prompt": instructed(row["prompt"], drawn(lists, seed, str(row["id"])))}
        messages = as_messages(row, source, library) if chat or reads is None or environment else []
        made: tuple[str, list[int]] = (shown(messages), [])
        text, tokens = made if reads is None else render(row, source, reads, tools, library)
        if len(tokens) > max_prompt_tokens:
            report.too_long += 1
            continue
        found = _problem(given, name, text, tokens, routed(given, source))
        found.messages, found.environment, found.raw = messages, environment, row["raw"] if raw else None
        kept.append(found)
    report.kept, report.tokens = len(kept), sum(len(problem.tokens) for problem in kept)
    if not kept:
        raise UserError(nothing_left(source, report, max_prompt_tokens, remedy))
    return kept, report


def nothing_left(source: schema.Source, report: Report, limit: int, remedy: str) -> str:
    """Why there is no problem of a source."""
    if not report.too_long:
        return f"{report.name}: nothing of '{source.path}' is left: {unusable_images(report)}"
    many = f"all {report.too_long} prompts of '{source.path}'"
    return f"{report.name}: {many} are longer than {limit} tokens; {remedy}"


def _problem(row: dict[str, Any], source: str, text: str, tokens: list[int], verifiers: list[str]) -> Problem:
    return Problem(
        id=row["id"],
        prompt=text,
        tokens=tokens,
        answer=row["answer"],
        alternatives=row["alternatives"],
        source=source,
        verifiers=verifiers,
        extra=row["extra"] | {"prompt": row["prompt"]},
    )


def guesses_read(found: list[Problem], verifier: Any, key: str) -> str | None:
    """What to say where prompts open `<think>` and `verifier`, the recipe's `key`, is not told so."""
    opened = sum(problem.prompt.rstrip().endswith("<think>") for problem in found)
    if not opened or getattr(verifier, "thinking", None) is not False:
        return None
    return (
        f"{opened} of {len(found)} prompts end in <think> and {key}.thinking is false: a guess inside the "
        f"reasoning counts as the answer where a response is cut off; set {key}.thinking=true"
    )


def routed(row: dict[str, Any], source: schema.Source) -> list[str]:
    """The verifiers a row names (a list, or text with commas) where `columns` says so; else those that
    `verifiers_by` has for it, or the source's."""
    if source.verifiers_by.column is not None:
        return by_column(row, source)
    own = row["extra"].get("verifiers") if "verifiers" in source.columns else None
    names = [name.strip() for name in own.split(",")] if isinstance(own, str) else list(own or [])
    return [str(name) for name in names if name] or list(source.verifiers)


def by_column(row: dict[str, Any], source: schema.Source) -> list[str]:
    """The verifiers of the first entry of `verifiers_by.map` that fits the row; UserError without one."""
    by = source.verifiers_by
    where = f"'{source.path}' row {row['id']}"
    try:
        value = str(lookup(row["extra"], str(by.column)))
    except KeyError:
        raise UserError(f"{where} has no column '{by.column}' (verifiers_by.column)") from None
    for wanted, verifiers in by.map.items():
        if value == wanted or (wanted.endswith("*") and value.startswith(wanted[:-1])):
            return list(verifiers)
    raise UserError(
        f"{where}: {by.column} is '{value}', for which verifiers_by.map has no verifiers{hint(value, by.map)}"
    )


def uses_chat(
    prompt: str | Messages,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    images: bool = False,
) -> bool:
    """Whether the chat template applies; an error where the source needs one and there is none."""
    has_template = bool(tokenizer.chat_template)
    remedy = "set model.chat_template to a Jinja file" if not has_template else "set chat: auto"
    if source.chat is schema.Chat.always and not has_template:
        raise UserError(f"'{source.path}' has chat: always but the tokenizer has no chat template; {remedy}")
    chat = has_template and source.chat is not schema.Chat.never
    if source.system is not None and not chat:
        raise UserError(f"'{source.path}' has a system message, which needs a chat template; {remedy}")
    if images and not chat:
        raise UserError(f"'{source.path}' has images, which need a chat template; {remedy}")
    if not isinstance(prompt, str) and not chat:
        raise UserError(f"'{source.path}' holds chat messages, which need a chat template; {remedy}")
    return chat


def wrap(text: str, source: schema.Source) -> str:
    """The problem inside the source's template. Not str.format: problems and templates hold LaTeX braces."""
    if "{prompt}" not in source.prompt:
        raise UserError(f"the prompt template of '{source.path}' lacks {{prompt}}: {source.prompt!r}")
    return source.prompt.replace("{prompt}", text)


def conversation(prompt: str | Messages, source: schema.Source) -> Messages:
    """Messages with the template around the last user turn and the source's system message first."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=None)
    if last is None:
        raise UserError(f"a prompt of '{source.path}' has no user message: {messages!r:.200}")
    messages[last] = {"role": "user", "content": wrap(messages[last]["content"], source)}
    if source.system is None:
        return messages
    if messages[0]["role"] == "system":
        messages = messages[1:]
    return [{"role": "system", "content": source.system}, *messages]


def before_last_user(messages: Messages, shots: Shots, source: schema.Source) -> Messages:
    """Worked examples as turns that went before."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    turns = [
        {"role": role, "content": content}
        for question, answer in shots
        for role, content in (("user", wrap(question, source)), ("assistant", answer))
    ]
    return [*messages[:last], *turns, *messages[last:]]


def apply_chat(
    messages: Messages,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    *,
    generation: bool,
    tools: Sequence[dict[str, Any]] = (),
) -> str:
    """The chat template's text, with or without the opening of the assistant's turn."""
    from jinja2 import TemplateError

    try:
        more: dict[str, Any] = {"tools": list(tools)} if tools else {}  # [] makes some print boilerplate
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation, **more
        )
    except TemplateError as error:  # e.g. templates that refuse a system message
        raise UserError(f"the chat template refuses messages of '{source.path}': {error}") from error
    return str(text)


def encode_plain(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a text outside the chat template, with the BOS token where the tokenizer adds one."""
    tokens = encode(text, tokenizer)
    bos = tokenizer.bos_token_id
    # Only the leading BOS: some tokenizers also append EOS, which would end the prompt.
    if bos is not None and tokens[:1] != [bos] and tokenizer("")["input_ids"][:1] == [bos]:
        tokens = [bos, *tokens]
    return tokens


def encode(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the text and nothing around it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
