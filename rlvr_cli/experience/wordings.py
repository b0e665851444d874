"""The prompts, each a file of its own that a user may replace (`algorithm.prompts`)."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.templates import fill

HERE = Path(__file__).parent / "prompts"
NEEDED: dict[str, tuple[str, ...]] = {
    "problem": ("experiences", "problem"),
    "summary": ("problem", "response", "grade"),
    "merge_critique": ("problem", "attempts", "experiences"),
    "merge_plan": ("experiences", "proposals"),
    "update_insights": ("problem", "attempts"),
    "update_operations": ("experiences", "insights"),
    "update_plan": ("experiences", "proposals"),
    "again": ("fault",),
}
"""Name of a prompt -> the places without which it would not say what it is about."""


class Wordings:
    """All prompts by their names; `shared` is filled in in each."""

    def __init__(self, folder: str | None, shared: dict[str, str]) -> None:
        """UserError for a file in `folder` that is no prompt, or lacks a place."""
        self._shared = shared
        self._texts = {name: (HERE / f"{name}.txt").read_text(encoding="utf-8") for name in NEEDED}
        if folder is not None:
            self._texts |= own(Path(folder).expanduser())

    def text(self, name: str) -> str:
        """A prompt as it is written."""
        return self._texts[name].rstrip("\n")

    def filled(self, name: str, **values: str) -> str:
        """A prompt with its places filled; what stands in values is not looked at again."""
        return fill(self.text(name), self._shared | values)


def own(folder: Path) -> dict[str, str]:
    """The prompts of a user's folder. UserError, one line, for what is none."""
    if not folder.is_dir():
        raise UserError(f"algorithm.prompts: there is no folder {folder}")
    found = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem not in NEEDED:
            raise UserError(
                f"algorithm.prompts: {path} has the name of no prompt{hint(path.stem, NEEDED, 'prompts')}"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"algorithm.prompts: {path} cannot be read: {error}") from error
        for place in NEEDED[path.stem]:
            if f"{{{place}}}" not in text:
                raise UserError(f"algorithm.prompts: {path} lacks {{{place}}}")
        found[path.stem] = text
    if not found:
        raise UserError(
            f"algorithm.prompts: {folder} has no prompt; their names are {', '.join(NEEDED)}, ending in .txt"
        )
    return found
