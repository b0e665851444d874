"""A library of experiences as a file, and how its texts get into a prompt (docs/experience.md).

`rlvr experience` writes it, `rlvr eval` reads it. The wording around the texts stands in the file, so that
whoever uses a library asks as it was learned with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json, write_atomically
from rlvr_cli.core.templates import fill

VERSION = 1
PLACES = ("experiences", "problem")
"""What stands in curly brackets in a library's wording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """One text of a library."""

    text: str
    problems: tuple[str, ...] = ()
    """Those whose rollouts it comes from, as source:id, in the order in which they came in."""
    step: int = 0
    """The step that wrote it or changed it last."""


@dataclass(slots=True, kw_only=True)
class Library:
    """Texts that a model reads before a problem, and how they came to be."""

    experiences: dict[str, Experience] = field(default_factory=dict)
    """`G0`, `G1`, ... in this order -> text."""
    wording: str
    """The user's message, with {experiences} and {problem}."""
    made: dict[str, Any] = field(default_factory=dict)
    """Who learned it, and how: model, editor, form."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry a step."""

    @property
    def sha256(self) -> str:
        """Of what a model reads: texts and wording, whatever came before."""
        read = [self.wording, *(each.text for each in self.experiences.values())]
        return hashlib.sha256(json.dumps(read).encode()).hexdigest()

    def around(self, problem: str) -> str:
        """The message to the model; the problem as it is where there are no experiences yet."""
        if not self.experiences:
            return problem
        return fill(self.wording, {"experiences": listed(self.experiences), "problem": problem})

    def identity(self) -> dict[str, Any]:
        """What a result says of the library it was made with."""
        return {"sha256": self.sha256, "experiences": [each.text for each in self.experiences.values()]}


def listed(experiences: dict[str, Experience]) -> str:
    """`[G0]. text`, a line each: always in the same order, so that servers find the beginning in their
    cache."""
    return "\n".join(f"[{key}]. {each.text}" for key, each in experiences.items())


def write_library(path: Path, library: Library) -> None:
    """Without anything that depends on the clock: the same steps write the same bytes."""
    experiences = [{"id": key} | asdict(each) for key, each in library.experiences.items()]
    content = {
        "library": VERSION,
        **library.made,
        "experiences": experiences,
        "wording": library.wording,
        "history": library.history,
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_library(given: str | Path) -> Library:
    """A library, by its file or by the run that learned it. UserError where it is something else."""
    path = Path(given).expanduser()
    path = path / "experiences.json" if path.is_dir() else path
    try:
        content = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise UserError(f"{path} cannot be read: {reason}; give a library of rlvr experience") from error
    if not isinstance(content, dict) or content.get("library") != VERSION:
        raise UserError(f"{path} is no library of rlvr experience: it has no `library: {VERSION}`")
    try:
        library = Library(
            experiences={
                str(row["id"]): Experience(
                    text=_text(row["text"]),
                    problems=tuple(map(str, row.get("problems", ()))),
                    step=int(row.get("step", 0)),
                )
                for row in content["experiences"]
            },
            wording=_text(content["wording"]),
            made={key: x for key, x in content.items() if key not in NOT_MADE},
            history=list(content.get("history", [])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no whole library: {error!r}; mend it, or learn it anew") from error
    for place in PLACES:
        if f"{{{place}}}" not in library.wording:
            raise UserError(f"{path}: `wording` lacks {{{place}}}")
    return library


NOT_MADE = ("library", "experiences", "wording", "history")


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r:.60} is no text")
    return value
