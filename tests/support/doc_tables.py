"""Reads the tables of the documentation, for the tests that hold them against the code."""

import re


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or a higher one; empty without it."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)
    if found is None:
        return ""
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def tables(text: str) -> list[list[dict[str, str]]]:
    """Every table as rows {column: cell}."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text + "\n", re.MULTILINE):
        head, _, *rows = [_cells(line) for line in block.splitlines()]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def _cells(line: str) -> list[str]:
    return [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _plain(cell: str) -> str:
    """What a cell says: a single code span without its backticks, and ↵ as a line break."""
    code = re.fullmatch(r"(`+)(.*)\1", cell)
    if code and not re.search(rf"(?<!`){code[1]}(?!`)", code[2]):
        spaced = code[2].startswith(" ") and code[2].endswith(" ")
        cell = code[2][1:-1] if spaced else code[2]
    return cell.replace("\\|", "|").replace("↵", "\n")
