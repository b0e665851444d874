"""What is wrong with prompts themselves, whatever the model: how they begin and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.prompts import apply_chat, uses_chat
from rlvr_cli.schema import Model, Recipe, Source

LOOKED_AT = 32
"""Prompts of a source."""
MARK = "ANSWER"


def template_faults(
    items: Mapping[str, Sequence[Problem]], recipe: Recipe, tokenizer: Any, eos: Sequence[int]
) -> list[str]:
    """Sentences on the prompts of each source; `eos`: ids that end a response."""
    found = []
    for name, problems in items.items():
        single = [p for p in problems[:LOOKED_AT] if p.environment is None and p.tokens]
        if not single:
            continue
        source = recipe.data[name]
        opening = not_opened(single[0], source, tokenizer)
        if opening is not None:
            found.append(
                f"the prompts of data.{name} do not open the answer: the chat template writes {opening!r} "
                "before what the assistant says, and not where it is to begin (add_generation_prompt); mend "
                "the template (model.chat_template)"
            )
        elif (closed := closed_by(single, tokenizer, eos)) is not None:
            found.append(
                f"the prompts of data.{name} end with {closed!r}, which ends a response, so that the model "
                f"has nothing left to say; take it out of the template (model.chat_template, "
                f"data.{name}.prompt)"
            )
        begin = tokenizer.bos_token_id
        if begin is not None and all(p.tokens[:2] == [begin, begin] for p in single):
            found.append(
                f"the prompts of data.{name} begin with {tokenizer.bos_token!r} twice; write it in the chat "
                f"template or in data.{name}.prompt, not in both"
            )
    return found


def not_opened(problem: Problem, source: Source, tokenizer: Any) -> str | None:
    """What a chat template writes before an answer and leaves out at the end of a prompt; None: nothing."""
    asked = problem.extra.get("prompt", "")
    if not isinstance(asked, str) or not uses_chat(asked, source, tokenizer):
        return None
    messages = [{"role": "user", "content": "QUESTION"}]
    try:
        closed, opened = (apply_chat(messages, source, tokenizer, generation=g) for g in (False, True))
        whole = apply_chat(
            [*messages, {"role": "assistant", "content": MARK}], source, tokenizer, generation=False
        )
    except UserError:  # it takes other conversations only
        return None
    if opened != closed or not whole.startswith(closed):
        return None
    header = whole[len(closed) :].partition(MARK)[0]
    return header if header.strip() else None


def closed_by(problems: Sequence[Problem], tokenizer: Any, eos: Sequence[int]) -> str | None:
    """The end token that all of the prompts end with, white space apart."""
    for token in tokenizer.convert_ids_to_tokens(list(eos)):
        if token and all(problem.prompt.rstrip().endswith(token) for problem in problems):
            return str(token)
    return None


def replaced(recipe: Recipe) -> bool:
    """Whether `model.chat_template` stands in the place of another one that the model has itself."""
    if recipe.model.chat_template is None:
        return False
    own = own_template(recipe.model)
    with open(recipe.model.chat_template, encoding="utf-8") as file:
        return own is not None and own.strip() != file.read().strip()


def own_template(model: Model) -> str | None:
    """The chat template that the model came with."""
    from transformers import AutoTokenizer

    found: str | None = AutoTokenizer.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    ).chat_template
    return found
