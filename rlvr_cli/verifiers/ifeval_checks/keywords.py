"""Which words and letters are there, and how often."""

from __future__ import annotations

import re

from rlvr_cli.verifiers.ifeval_checks.arguments import (
    Relation,
    count,
    inner_patterns,
    letter,
    pattern,
    patterns,
    relation,
)
from rlvr_cli.verifiers.ifeval_checks.registry import check


@check("keywords:existence", keywords=patterns)
def existence(response: str, keywords: list[str]) -> bool:
    """Every keyword occurs, inside longer words too."""
    return all(re.search(keyword, response, re.IGNORECASE) for keyword in keywords)


@check("keywords:frequency", keyword=pattern, frequency=count, relation=relation)
def frequency(response: str, keyword: str, frequency: int, relation: Relation) -> bool:
    """A keyword occurs so often, inside longer words too."""
    return relation(len(re.findall(keyword, response, re.IGNORECASE)), frequency)


@check("keywords:forbidden_words", forbidden_words=inner_patterns)
def forbidden_words(response: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a word of its own."""
    return not any(re.search(rf"\b{word}\b", response, re.IGNORECASE) for word in forbidden_words)


@check("keywords:letter_frequency", letter=letter, let_frequency=count, let_relation=relation)
def letter_frequency(response: str, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """A letter (or other character) occurs so often, in either case."""
    return let_relation(response.lower().count(letter), let_frequency)
