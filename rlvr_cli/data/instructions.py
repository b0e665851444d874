"""Instructions appended to prompts: of each of several lists of phrasings one, drawn by the seed and the row.

V-Triune (2505.18129) draws one of ten ways to ask for a thought and one of ten to ask for an answer. It draws
when a row is loaded; here the draw is a function of seed and row, so that a resumed run asks the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from rlvr_cli.core.errors import UserError, hint

Messages = list[dict[str, str]]

LISTS: dict[str, tuple[str, ...]] = {
    "think": (
        "First reason about the problem between <think> and </think>.",
        "Write down your reasoning inside <think> and </think> before you answer.",
        "Work it out step by step within <think> and </think>.",
        "Begin with your thoughts, enclosed by <think> and </think>.",
        "Think before you answer, and put the thinking between <think> and </think>.",
        "Put everything you consider on the way into <think> and </think>.",
        "Start by examining what is given, inside <think> and </think>.",
        "Reason carefully, and keep the reasoning within <think> and </think>.",
        "Use <think> and </think> around the steps that lead to your answer.",
        "Explain to yourself how to solve it between <think> and </think>.",
    ),
    "answer": (
        "Then give the final answer between <answer> and </answer>.",
        "Put only the final answer inside <answer> and </answer>.",
        "Finish with the answer within <answer> and </answer>.",
        "State your answer afterwards, enclosed by <answer> and </answer>.",
        "The final answer belongs between <answer> and </answer>.",
        "After that, write the result into <answer> and </answer>.",
        "Close with your answer inside <answer> and </answer>.",
        "Once you are sure, answer within <answer> and </answer>.",
        "Report what you found between <answer> and </answer>.",
        "End with the answer and nothing else in <answer> and </answer>.",
    ),
    "box": (
        "Put the final answer into \\boxed{}.",
        "Give your answer inside \\boxed{}.",
        "End with the answer in \\boxed{}.",
        "Write the result within \\boxed{}.",
        "The final answer belongs in \\boxed{}.",
    ),
}
"""Name -> phrasings of ours, with the tags that verifiers look for."""


def phrasings(names: Sequence[str], where: str) -> list[tuple[str, ...]]:
    """The lists of these names: ours, or files with one phrasing a line. UserError without such."""
    found = []
    for name in names:
        path = Path(name).expanduser()
        if name in LISTS:
            found.append(LISTS[name])
        elif os.path.isfile(path):  # False also for a phrasing in its place, too long for a name
            try:
                lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
            except UnicodeDecodeError:
                raise UserError(f"{where}: instructions: {path} is no UTF-8 text") from None
            if not any(lines):
                raise UserError(f"{where}: instructions: {path} is empty; write one phrasing a line")
            found.append(tuple(line for line in lines if line))
        else:
            raise UserError(
                f"{where}: instructions has '{name}', which is neither a list ({', '.join(LISTS)}) nor a file"
                f"{hint(name, LISTS)}"
            )
    return found


def drawn(lists: Sequence[Sequence[str]], seed: int, row: str) -> str:
    """One phrasing of each list, in their order."""
    return " ".join(each[_draw(f"{seed}\0{row}\0{n}") % len(each)] for n, each in enumerate(lists))


def _draw(of: str) -> int:
    digest = hashlib.blake2b(of.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def instructed(prompt: str | Messages, text: str) -> str | Messages:
    """A prompt, its last turn of the user if it is a conversation, with instructions below."""
    if isinstance(prompt, str):
        return f"{prompt}\n\n{text}"
    last = max((i for i, message in enumerate(prompt) if message["role"] == "user"), default=None)
    if last is None:
        return prompt
    changed = prompt[last] | {"content": f"{prompt[last]['content']}\n\n{text}"}
    return [*prompt[:last], changed, *prompt[last + 1 :]]
