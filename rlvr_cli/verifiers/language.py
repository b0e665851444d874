"""The share of a text in the wanted language or script: DeepSeek-R1's language consistency (2501.12948)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Rejected, after_reasoning
from rlvr_cli.verifiers.several_golds import Reads

# What langdetect knows; its zh-cn and zh-tw are both called zh here.
_LANGUAGES = (
    "af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne nl no "
    "pa pl pt ro ru sk sl so sq sv sw ta te th tl tr uk ur vi zh"
)
LANGUAGES = frozenset(_LANGUAGES.split())
_SCRIPTS = (
    "arabic bengali cyrillic devanagari georgian greek gujarati gurmukhi han hangul hebrew hiragana kannada "
    "katakana latin malayalam tamil telugu thai"
)
SCRIPTS = frozenset(_SCRIPTS.split())
CHUNK = 150
"""Letters that are put before the detector at a time: fewer are guessed badly, more hide a change."""
CHUNKS = 200
"""About so many times the detector is asked, at most: 2 s of ideographs. Of longer texts it sees parts."""
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\[A-Za-z]+|https?://\S+", re.DOTALL
)


@dataclass(kw_only=True)
class Language:
    reads = Reads.no_gold
    by_nature = "a language"
    name: str = "language"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    language: str | None = None
    """ISO 639-1 code, e.g. en, de, zh: found by langdetect, about every 150 letters."""
    script: str | None = None
    """A script in the place of a language, e.g. latin, cyrillic, han: exact, letter by letter."""
    answer_only: bool = False
    """Only what comes after the last `</think>`; otherwise the reasoning counts as well."""

    def __post_init__(self) -> None:
        if (self.language is None) == (self.script is None):
            raise ValueError("language: set either language or script")
        if self.language is not None and self.language not in LANGUAGES:
            raise ValueError(
                f"language is '{self.language}'; it must be one of {', '.join(sorted(LANGUAGES))}"
            )
        if self.script is not None and self.script not in SCRIPTS:
            raise ValueError(f"script is '{self.script}'; it must be one of {', '.join(sorted(SCRIPTS))}")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        """Score: letters in the wanted language or script / all letters; code, TeX and links aside."""
        try:
            text = _NOT_PROSE.sub(" ", after_reasoning(response) if self.answer_only else response)
        except Rejected as rejected:
            return rejected.verdict
        text = text.replace("<think>", " ").replace("</think>", " ")
        letters = wanted = 0
        for count, hits in self._counts(text):
            letters, wanted = letters + count, wanted + hits
        if not letters:
            return Verdict(score=0.0, reason=Reason.no_answer, detail="no letters")
        share = wanted / letters
        return Verdict(
            score=share,
            reason=Reason.correct if wanted == letters else Reason.wrong,
            extracted=f"{wanted} of {letters} letters",
        )

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        return self.verify(response, answer, extra) if self.script else None

    def warm(self) -> None:
        if self.language:
            _detect("Profiles of fifty-five languages are read once.")

    def _counts(self, text: str) -> Iterator[tuple[int, int]]:
        """(letters, letters as wanted) of the parts of the text."""
        if self.script is not None:
            found = [_script(letter) for letter in text if letter.isalpha()]
            yield len(found), found.count(self.script)
            return
        for chunk in _chunks(text):
            letters = sum(map(str.isalpha, chunk))
            seen = chunk if letters < 2 * CHUNK else chunk[: 2 * CHUNK]
            yield letters, letters * (_detect(seen) == self.language)


def _chunks(text: str) -> Iterator[str]:
    """Sentences put together to about CHUNK letters (more in long texts), or to half where a line ends.

    A rest of less than half goes to the last.
    """
    wanted = max(CHUNK, sum(map(str.isalpha, text)) // CHUNKS)
    chunks: list[list[str]] = [[""]]
    size = 0
    for piece in re.split(r"(?<=[.!?。！？\n])", text):
        for start in range(0, len(piece), 4 * CHUNK):  # text without any end
            part = piece[start : start + 4 * CHUNK]
            if size >= (wanted / 2 if chunks[-1][-1].endswith("\n") else wanted):
                chunks.append([])
                size = 0
            chunks[-1].append(part)
            size += sum(map(str.isalpha, part))
    if len(chunks) > 1 and size < wanted / 2:
        chunks[-2:] = [chunks[-2] + chunks[-1]]
    yield from map("".join, chunks)


def _detect(text: str) -> str | None:
    from rlvr_cli.verifiers.ifeval_checks.text import language

    return (language(text) or "").partition("-")[0] or None


@lru_cache(maxsize=1 << 16)
def _script(letter: str) -> str:
    """The first word of a letter's Unicode name; ideographs are han."""
    name = unicodedata.name(letter, "")
    return "han" if name.startswith("CJK") else name.partition(" ")[0].lower()
