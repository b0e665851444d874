"""Levenshtein's distance, a column of the table in the bits of one number (Hyyrö 2003)."""

from __future__ import annotations


def distance(a: str, b: str) -> int:
    """Insertions, deletions and replacements that make `b` of `a`.

    len(b) operations on numbers of len(a) bits: texts of ten thousand characters take tens of milliseconds.
    """
    if not a or not b:
        return len(a) + len(b)
    mask, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    places: dict[str, int] = {}
    for n, character in enumerate(a):
        places[character] = places.get(character, 0) | 1 << n
    # Where the table grows by one from row to row, and where it falls.
    plus, minus, found = mask, 0, len(a)
    for character in b:
        here = places.get(character, 0)
        same = (((here & plus) + plus) ^ plus) | here | minus
        right_plus, right_minus = minus | ~(same | plus) & mask, plus & same
        found += bool(right_plus & last) - bool(right_minus & last)
        right_plus, right_minus = right_plus << 1 | 1, right_minus << 1
        plus = (right_minus | ~(same | right_plus)) & mask
        minus = right_plus & same & mask
    return found
