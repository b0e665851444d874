"""Does the model complete the statements of a benchmark's problems word for word?

The probe of "Reasoning or Memorization?" (Wu et al. 2025, 2507.10532), which the literature on spurious
rewards uses: the first share of a problem's words is shown as plain text, and greedy decoding goes on.
"""

from __future__ import annotations

from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import encode_plain
from rlvr_cli.data.sources import Report, select
from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.schema import Bench
from rlvr_cli.tracking import Timer

SPARE = 8
"""Tokens beyond those of the missing text: it may be tokenised otherwise."""


def halves(text: str, share: float) -> tuple[str, str] | None:
    """The text cut after `share` of its words; None where a side would be empty."""
    words = text.split()
    cut = round(share * len(words))
    if not 0 < cut < len(words):
        return None
    return " ".join(words[:cut]), " ".join(words[cut:])


def verbatim(completion: str, rest: str) -> bool:
    """Whether the completion begins with the missing words, spacing aside."""
    wanted = rest.split()
    return completion.split()[: len(wanted)] == wanted


def rouge_l(completion: str, rest: str) -> float:
    """Longest common subsequence of words over the number of missing words (ROUGE-L recall)."""
    wanted = rest.split()
    said = completion.split()[: len(wanted)]
    best = [0] * (len(wanted) + 1)
    for word in said:
        diagonal = 0
        for place, other in enumerate(wanted, 1):
            above = best[place]
            best[place] = diagonal + 1 if word == other else max(above, best[place - 1])
            diagonal = above
    return best[-1] / len(wanted)


def probe(
    name: str, bench: Bench, engine: Engine, tokenizer: Any, share: float, limit: int, timer: Timer
) -> dict[str, float]:
    """`contamination_verbatim` and `contamination_rouge_l` over the problems that fit; all ranks call it."""
    number, engines = engine.share
    rows = list(select(bench.source, bench.seed, PROBLEMS, Report(name=name)))[number::engines]
    cut = [pair for row in rows if (pair := halves(text_of(row["prompt"]), share))]
    prompts = [(encode_plain(shown, tokenizer), rest) for shown, rest in cut]
    prompts = [(tokens, rest) for tokens, rest in prompts if len(tokens) <= limit]
    longest = max((len(encode_plain(rest, tokenizer)) for _, rest in prompts), default=0) + SPARE
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=min(longest, bench.max_tokens))
    requests = [Request(key=n, tokens=t, samples=1, seed=None) for n, (t, _) in enumerate(prompts)]
    with timer("contamination"):
        mine = [
            (verbatim(sample.text, prompts[key][1]), rouge_l(sample.text, prompts[key][1]))
            for key, [sample] in engine.generate(requests, greedy)
            if engine.leader
        ]
    scores = [score for part in distributed.gather(mine) for score in part]
    if not scores:
        return {}
    return {
        "contamination_verbatim": sum(exact for exact, _ in scores) / len(scores),
        "contamination_rouge_l": sum(overlap for _, overlap in scores) / len(scores),
    }


def text_of(prompt: str | list[dict[str, str]]) -> str:
    """The problem alone; of a chat, its last user message."""
    if isinstance(prompt, str):
        return prompt
    return next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")
