"""What the response is made of: lists, sections, highlights, JSON, a title, a postscript."""

from __future__ import annotations

import json
import re

from rlvr_cli.verifiers.ifeval_checks.arguments import count, inner_pattern, pattern, phrase
from rlvr_cli.verifiers.ifeval_checks.registry import check

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}


@check("detectable_content:number_placeholders", num_placeholders=count)
def number_placeholders(response: str, num_placeholders: int) -> bool:
    """At least so many [placeholders], each on one line; an empty [] counts."""
    # Not `\[.*?\]`: many brackets that never close would take quadratic time.
    found = 0
    for line in response.split("\n"):
        begin = line.find("[")
        while begin >= 0 and (end := line.find("]", begin)) >= 0:
            found, begin = found + 1, line.find("[", end)
    return found >= num_placeholders


@check("detectable_content:postscript", postscript_marker=phrase)
def postscript(response: str, postscript_marker: str) -> bool:
    """The marker occurs, in any case and anywhere: `p. s.` for P.S., `p. p. s` for P.P.S."""
    wanted = _POSTSCRIPTS.get(postscript_marker) or pattern(postscript_marker.lower())
    return re.search(wanted, response.lower()) is not None


@check("detectable_format:number_bullet_lists", num_bullets=count)
def number_bullet_lists(response: str, num_bullets: int) -> bool:
    """Exactly so many lines that begin with one `*` or with `-`, rules such as `---` among them."""
    # The reference's `^\s*` takes blank lines along, and reads a page of them again from each of its lines.
    stars = re.findall(r"^[^\S\n]*+\*[^\*].*$", response, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*+-.*$", response, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


@check("detectable_format:constrained_response")
def constrained_response(response: str) -> bool:
    """One of the three given answers occurs; text around it is allowed."""
    return any(answer in response for answer in CONSTRAINED)


@check("detectable_format:number_highlighted_sections", num_highlights=count)
def number_highlighted_sections(response: str, num_highlights: int) -> bool:
    """At least so many *highlights*, each on one line.

    `**bold**` counts once: for the single form its two halves are empty. So do the reference's two scans.
    """
    single = [found.strip("*") for found in re.findall(r"\*[^\n\*]*\*", response)]
    double = [found[2:-2] for found in re.findall(r"\*\*[^\n\*]*\*\*", response)]
    return sum(bool(found.strip()) for found in single + double) >= num_highlights


@check("detectable_format:multiple_sections", section_spliter=inner_pattern, num_sections=count)
def multiple_sections(response: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings: the word and a number, anywhere in a line, in this case."""
    return len(re.split(rf"\s?{section_spliter}\s?\d+\s?", response)) - 1 >= num_sections


@check("detectable_format:json_format")
def json_format(response: str) -> bool:
    """The whole response, out of its ``` fence, is JSON (NaN and Infinity too, as Python reads it)."""
    body = response.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(opening)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@check("detectable_format:title")
def title(response: str) -> bool:
    """A title <<in double angular brackets>> on one line, not empty."""
    for line in response.split("\n"):
        begin, end = line.find("<<"), line.rfind(">>") + 2
        if 0 <= begin < end - 4 and line[begin:end].lstrip("<").rstrip(">").strip():
            return True
    return False
