"""s3 (2505.14146): a searcher is trained to find what a frozen generator lacks, rewarded by Gain Beyond RAG.

The policy sees the question and what plain retrieval finds, chooses documents, asks for more and says when
there is enough. The generator then answers once from the chosen documents. Sections of the paper and the
authors' code differ in the reward: both are here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from rlvr_cli.environments import documents
from rlvr_cli.environments.documents import Block
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.generators import Generation, open_generator
from rlvr_cli.environments.judging import Judging
from rlvr_cli.environments.questions import opening
from rlvr_cli.environments.rag_cache import RagCache
from rlvr_cli.environments.retrieval import Document, Retrieval, index_path, open_retriever
from rlvr_cli.environments.s3_actions import parse_action

PROMPT = """\
You search documents for a model that will answer a question from nothing but what you choose. It cannot \
search itself.

<question>
{question}
</question>

What a search with the question itself has found:

<information>
{information}
</information>

In each turn write, in this order:
1. <important_info>[numbers]</important_info>: the numbers of at most {max_select} documents of the last \
<information> that help to answer the question, [] where none does.
2. <search_complete>True</search_complete> if what you have chosen is enough, else \
<search_complete>False</search_complete>.
3. After False: <query>{"query": "what to search for"}</query>. You are then shown what it finds.

Do not answer the question.
"""
INVALID = """

There is no query and no decision to stop. A query stands between <query> and </query>, in JSON.

"""


class Reward(Enum):
    gbr = "gbr"
    """Gain Beyond RAG, as the paper has it: accuracy with the chosen documents less that of plain RAG."""
    gbr_code = "gbr_code"
    """As the authors' code has it: the same, and the accuracy again."""
    acc = "acc"
    """Accuracy with the chosen documents."""


def reward_of(kind: Reward, acc: float, rag_acc: float) -> float:
    """The reward of an episode, from the generator's accuracy with its documents and with plain RAG's."""
    return {Reward.gbr: acc - rag_acc, Reward.gbr_code: 2 * acc - rag_acc, Reward.acc: acc}[kind]


@dataclass(kw_only=True)
class S3(Environment):
    name: str = "s3"
    max_turns: int = 4
    """Turns of the policy. The last gets no documents: this is the authors' `max_turns` of 3, and one."""
    step_s: float = 900.0
    """Seconds a call of the environment may take; the generator with all its retries takes less."""
    start_s: float = 7200.0
    """Seconds for a worker to load; where there is no index yet it is built then."""
    retrieval: Retrieval = field(default_factory=Retrieval)
    """Where documents come from."""
    generator: Generation = field(default_factory=Generation)
    """What answers the question, from the chosen documents and from those of plain RAG."""
    judge: Judging = field(default_factory=Judging)
    """Whom to ask about an answer that holds no gold as a span."""
    reward: Reward = Reward.gbr
    """What an episode earns."""
    topk: int = 8
    """Documents of a search."""
    max_select: int = 3
    """Documents that may be chosen of a search; further numbers count as not given."""
    information_chars: int = 6000
    """Characters of documents that a search shows; the authors cut at 1400 tokens."""
    rag_scores: str | None = None
    """File that plain RAG's accuracy on each question is kept in; null: beside the index, and in memory
    only where there is none."""
    prompt: str = PROMPT
    """What the policy sees first; {question}, {information} and {max_select} are put in."""
    stop: ClassVar[tuple[str, ...]] = ("</query>",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.retrieval.check()
        self.generator.check()
        for place in ("{question}", "{information}"):
            if place not in self.prompt:
                raise ValueError(f"prompt lacks {place}: the policy would not see it")
        for key in ("topk", "max_select", "information_chars"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 1")

    def ready(self) -> None:
        self.retrieval.ready()
        self.generator.ready()
        self.judge.ready()

    def warm(self) -> None:
        self._retriever = open_retriever(self.retrieval)
        self._generator = open_generator(self.generator)
        self._rag = RagCache(self._scores_file())

    def reset(self, task: Task) -> list[Message]:
        self._task = task
        self._plain = self._search(task.question)
        text, held = documents.shown(self._plain, self.information_chars)
        self._blocks = [Block(held)]
        values = {"question": task.question, "information": text, "max_select": str(self.max_select)}
        return opening(task, self.prompt, values)

    def step(self, turn: Turn) -> Step:
        action = parse_action(turn.text)
        last = self._blocks[-1]
        if action.selected is not None and last.chosen is None:
            known = [number for number in action.selected if 1 <= number <= len(last.documents)]
            last.chosen = known[: self.max_select]
        if action.complete or turn.last:
            return self._end(action.complete)
        self._before = list(self._blocks)
        if not action.query:
            return Step(text=INVALID, measures={"malformed": 1.0})
        found = self._search(action.query)
        text, held = documents.shown(found, self.information_chars)
        self._blocks.append(Block(held))
        measures = {"searches": 1.0, "documents_cut": float(documents.cut(found, held))}
        return Step(text=documents.information(text), measures=measures, notes={"query": action.query[:300]})

    def out_of_room(self) -> Step:
        """What was found last does not fit: the searcher has seen, and chosen from, what was there before."""
        self._blocks = self._before
        return self._end(False)

    def keeps(self, task: Task) -> bool:
        """Whether a question is worth training on: plain RAG does not answer it, and it is no yes or no."""
        if any(gold.strip().lower() in ("yes", "no", "true", "false") for gold in task.golds):
            return False
        return self._rag_acc(task, self._search(task.question)) < 1

    def _end(self, complete: bool) -> Step:
        chosen = documents.context(self._blocks)
        prediction, acc = self._accuracy(self._task, documents.context_text(chosen))
        rag_acc = self._rag_acc(self._task, self._plain)
        measures = {
            "right": acc,
            "rag_right": rag_acc,
            "chosen": float(len(chosen)),
            "completed": float(complete),
        }
        reward = reward_of(self.reward, acc, rag_acc)
        return Step(done=True, reward=reward, measures=measures, notes={"generator": prediction[:300]})

    def _search(self, query: str) -> list[Document]:
        return self._retriever.search([query], self.topk)[0]

    def _rag_acc(self, task: Task, found: list[Document]) -> float:
        held = documents.shown(found, self.information_chars)[1]
        context = documents.context_text(documents.context([Block(held)]))
        content = repr((task.question, task.golds, context))
        return self._rag.score(task.id, content, lambda: self._accuracy(task, context)[1])

    def _accuracy(self, task: Task, context: str) -> tuple[str, float]:
        """What the generator says from the context, and its GenAcc."""
        said = self._generator.answer(task.question, context, task.golds)
        return said, self.judge.gen_acc(task.question, task.golds, said)

    def _scores_file(self) -> Path | None:
        """One for each generator, judge and number of documents."""
        if self.rag_scores is not None:
            return Path(self.rag_scores).expanduser()
        path = index_path(self.retrieval)
        if path is None:
            return None
        asked = [*self.generator.identity, *self.judge.identity]
        return path.with_name(f"{path.name}.rag-{sha256(repr(asked).encode()).hexdigest()[:12]}.jsonl")
