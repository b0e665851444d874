"""What is wrong with a set of problems before anything is trained on it: duplicates, overlap with benchmarks.

Prompts are compared as the file has them, before the template with its instructions. An n-gram is n words in
a row, without punctuation and case (n = 13: Brown et al. 2020, 2005.14165, appendix C). Prompts of fewer
words are compared whole, with their punctuation, since `47+85=` and `47-85=` are two problems.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli.data.image_columns import identity
from rlvr_cli.schema import Hygiene

WORD = re.compile(r"[^\W_]+")
BOILERPLATE = 0.1
"""An n-gram in more than this share of a benchmark's problems is its instructions, not a problem."""

DUPLICATE, ACROSS, CONFLICT, GOLD, OVERLAP = (
    "duplicate_prompts",
    "prompts_of_another_source",
    "duplicates_with_another_answer",
    "unusable_golds",
    "benchmark_overlaps",
)
SAID = {
    DUPLICATE: "prompts that another row has",
    ACROSS: "prompts that another source has",
    CONFLICT: "of them with another answer",
    GOLD: "gold answers no verifier can use",
    OVERLAP: "prompts that overlap with a benchmark",
}

Gram = tuple[str, ...] | str


@dataclass(slots=True)
class Finding:
    """How often something was found in a source, and the first rows."""

    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


def text_of(prompt: str | list[dict[str, str]]) -> str:
    """The words of a problem: of a conversation, what the user says."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt if message["role"] == "user")


class Checker:
    """Give it the benchmarks' rows, then every row of every source, then ask for the `findings`."""

    def __init__(self, settings: Hygiene) -> None:
        self.settings = settings
        self.findings: dict[str, dict[str, Finding]] = {}
        """source -> kind -> finding"""
        self._seen: dict[str, tuple[str, str, list[str]]] = {}
        self._benches: dict[Gram, tuple[str, str]] = {}
        self._probes: set[Gram] = set()
        # A window of n words holds a whole probe of (n + 1) // 2 words that begins at a multiple of `stride`.
        self._probe = (settings.ngram + 1) // 2
        self._stride = settings.ngram - self._probe + 1

    def grams(self, text: str) -> list[Gram]:
        n = self.settings.ngram
        words = WORD.findall(text.lower())
        if len(words) < n:
            return [" ".join(text.lower().split())]
        return list(zip(*(words[i:] for i in range(n)), strict=False))

    def _grams_of(self, row: dict[str, Any]) -> list[Gram]:
        """Of a row with images one for its whole text with them: the same question is asked of many."""
        if images := identity(row):
            return [" ".join(text_of(row["prompt"]).lower().split()) + images]
        return self.grams(text_of(row["prompt"]))

    def _shared(self, key: str) -> Gram | None:
        return key if key in self._benches else None

    def overlap(self, text: str) -> Gram | None:
        """The first n-gram that a benchmark has too."""
        words = WORD.findall(text.lower())
        if len(words) >= self.settings.ngram:  # most prompts end here, after a few look-ups instead of all
            probes = zip(*(words[i :: self._stride] for i in range(self._probe)), strict=False)
            if self._probes.isdisjoint(probes):
                return None
        return next((gram for gram in self.grams(text) if gram in self._benches), None)

    def bench(self, name: str, rows: list[dict[str, Any]]) -> None:
        """What no problem may share: {id, prompt, ...} of a benchmark."""
        grams = [(row["id"], set(self._grams_of(row))) for row in rows]
        common = Counter(gram for _, found in grams for gram in found)
        most = max(1.0, BOILERPLATE * len(rows))
        for row, found in grams:
            for gram in found:
                if common[gram] <= most:
                    self._benches.setdefault(gram, (name, row))
                    if isinstance(gram, tuple):
                        self._probes |= {gram[i : i + self._probe] for i in range(self._stride)}

    def row(self, source: str, row: dict[str, Any]) -> None:
        """Look at one problem {id, prompt, answer, ...} of a source."""
        self.findings.setdefault(source, {})
        text = text_of(row["prompt"])
        images = identity(row)
        key = " ".join(text.lower().split()) + images
        golds = [gold.strip() for gold in (row["answer"], *row.get("alternatives", []))]
        first = self._seen.setdefault(key, (source, row["id"], golds))
        if first[:2] != (source, row["id"]):
            kind = DUPLICATE if first[0] == source else ACROSS
            self.found(source, kind, id=row["id"], first=f"{first[0]} {first[1]}", prompt=text[:200])
            if set(first[2]).isdisjoint(golds):
                self.found(source, CONFLICT, id=row["id"], answer=golds[0][:200], other=first[2][0][:200])
        if self._benches and (gram := self._shared(key) if images else self.overlap(text)) is not None:
            bench, other = self._benches[gram]
            shared = gram if isinstance(gram, str) else " ".join(gram)
            self.found(source, OVERLAP, id=row["id"], bench=bench, problem=other, shared=shared[:200])

    def found(self, source: str, kind: str, **example: str) -> None:
        finding = self.findings.setdefault(source, {}).setdefault(kind, Finding())
        finding.count += 1
        if len(finding.examples) < self.settings.examples:
            finding.examples.append(example)

    def summary(self, source: str) -> str:
        """`train: 3 prompts that another row has (first: row 17), ...`; empty where nothing was found."""
        parts = []
        for kind, finding in self.findings.get(source, {}).items():
            first = f" (first: row {finding.examples[0]['id']})" if finding.examples else ""
            parts.append(f"{finding.count} {SAID[kind]}{first}")
        return f"{source}: {', '.join(parts)}" if parts else ""
