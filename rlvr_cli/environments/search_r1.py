"""Search-R1 (2503.09516): the policy thinks, searches and answers within one turn of the assistant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rlvr_cli.environments import documents
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.questions import opening
from rlvr_cli.environments.retrieval import Retrieval, open_retriever

PROMPT = """\
Answer the given question. You must conduct reasoning inside <think> and </think> first every time you get \
new information. After reasoning, if you find you lack some knowledge, you can call a search engine by \
<search> query </search>, and it will return the top searched results between <information> and \
</information>. You can search as many times as you want. If you find no further external knowledge needed, \
you can directly provide the answer inside <answer> and </answer> without detailed illustrations. For \
example, <answer> Beijing </answer>. Question: {question}
"""
INVALID = """
My previous action is invalid. If I want to search, I should put the query between <search> and </search>. \
If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.
"""
_ACTION = re.compile(r"<(search|answer)>(.*?)</\1>", re.DOTALL)


@dataclass(kw_only=True)
class SearchR1(Environment):
    """Its reward is a verifier's, such as `em`: the environment gives none."""

    name: str = "search_r1"
    max_turns: int = 3
    """Turns of the policy. The last gets no documents: this is the authors' `max_turns` of 2, and one."""
    step_s: float = 300.0
    """Seconds a call of the environment may take; a search with all its retries takes less."""
    start_s: float = 7200.0
    """Seconds for a worker to load; where there is no index yet it is built then."""
    retrieval: Retrieval = field(default_factory=Retrieval)
    """Where documents come from."""
    topk: int = 3
    """Documents of a search."""
    information_chars: int = 2000
    """Characters of documents that a search shows; the authors cut at 500 tokens."""
    prompt: str = PROMPT
    """What the policy sees first; {question} is put in. The default is the paper's."""
    stop: ClassVar[tuple[str, ...]] = ("</search>", "</answer>")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.retrieval.check()
        if "{question}" not in self.prompt:
            raise ValueError("prompt lacks {question}: the policy would not see what it is asked")
        for key in ("topk", "information_chars"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 1")

    def ready(self) -> None:
        self.retrieval.ready()

    def warm(self) -> None:
        self._retriever = open_retriever(self.retrieval)

    def reset(self, task: Task) -> list[Message]:
        return opening(task, self.prompt, {"question": task.question})

    def step(self, turn: Turn) -> Step:
        action = _ACTION.search(turn.text)
        if action is not None and action[1] == "answer":
            return Step(done=True)
        if turn.last:
            return Step(done=True, measures={"unanswered": 1.0})
        if action is None:
            return Step(text=INVALID, measures={"malformed": 1.0})
        return self._search(action[2].strip())

    def _search(self, query: str) -> Step:
        [found] = self._retriever.search([query], self.topk)
        text, held = documents.shown(found, self.information_chars)
        measures: dict[str, Any] = {
            "searches": 1.0,
            "documents": float(len(held)),
            "documents_cut": float(documents.cut(found, held)),
        }
        return Step(text=documents.information(text), measures=measures, notes={"query": query})
