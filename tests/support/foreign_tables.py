"""The tables of docs/coming_from.md, made from `schema/foreign_names.yaml`."""

from __future__ import annotations

from places import ROOT

from rlvr_cli.schema import foreign_names
from rlvr_cli.schema.foreign_names import ForeignName, Kind

PAGE = ROOT / "docs" / "coming_from.md"
SHOWN = ("verl", "easyr1", "trl", "trl_pairs", "openrlhf", "openrlhf_pairs")


def table(framework: str) -> str:
    """All rows of a framework as Markdown."""
    rows = [f"| {foreign_names.NAMES[framework]} | rlvr | |", "|---|---|---|"]
    return "\n".join([*rows, *(_row(row) for row in foreign_names.table(framework))])


def _row(row: ForeignName) -> str:
    ours = f"`{row.ours}`" if row.ours else "-"
    notes = []
    if row.kind is Kind.lost:
        notes.append(f"not carried over: {row.note}")
    elif row.kind is Kind.idle:
        notes.append(f"not needed: {row.note}")
    elif row.note:
        notes.append(row.note)
    if row.has_default and row.default is not None:
        notes.append(f"default there {_plain(row.default)}")
    if row.aka:
        notes.append(f"older or also {', '.join(f'`{name}`' for name in row.aka)}")
    theirs = f"`{row.key}`"
    return f"| {theirs} | {ours} | {_escaped('; '.join(notes))} |"


def _plain(value: object) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def written(text: str) -> str:
    """The page with its tables made anew."""
    for framework in SHOWN:
        start, end = f"<!-- {framework} -->\n", f"\n<!-- end of {framework} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{table(framework)}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
