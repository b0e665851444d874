"""Which files of a folder are a source: those of its configuration and split, and nothing that is guessed."""

from __future__ import annotations

import re
from pathlib import Path

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data import front_matter

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")
SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev|eval)(?=\d*[-_.])")


def data_files(folder: Path, source: schema.Source) -> list[Path]:
    """The data files of the source's config and split: what the README.md says, or what the names say."""
    if listed := front_matter.configs(folder):
        config = front_matter.chosen(listed, source.config, folder)
        if config.splits is not None:
            return front_matter.files(config, folder, source.split, SUFFIXES)
        return _of_one_folder(folder / config.folder, source.split)
    if not source.config:
        return _of_one_folder(folder, source.split)
    if files := [p for suffix in SUFFIXES if (p := folder / f"{source.config}{suffix}").is_file()]:
        return files[:1]
    if (place := folder / source.config).is_dir():
        return _of_one_folder(place, source.split)
    named = [path for path in _below(folder) if path.is_dir() and path.name == source.config]
    if len(named) > 1:
        raise UserError(f"{folder} has several folders {source.config}; set path to the one that is meant")
    return _of_one_folder(named[0] if named else folder, source.split)


def _below(folder: Path) -> list[Path]:
    """All that is in the folder, sorted; without what is hidden, such as the hub client's own notes."""
    found = sorted(folder.rglob("*"))
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def _of_one_folder(folder: Path, split: str) -> list[Path]:
    """The folder's data files of one format; those of the split, where names tell splits apart.

    UserError where they lie in more than one folder: which of them belong together would be a guess.
    """
    below = _below(folder)
    for suffix in SUFFIXES:
        files = [p for p in below if p.suffix == suffix and p.is_file()]
        if not files:
            continue
        chosen = [p for p in files if re.match(rf"{re.escape(split)}\d*[-_.]", p.name)]
        chosen = chosen or [p for p in files if split in p.relative_to(folder).parts[:-1]]
        # Falling back to all files here would train on a test file.
        if not chosen and (splits := sorted({s for p in files if (s := _split_of(p, folder))})):
            raise UserError(f"{folder} has no '{split}' file; its splits are {', '.join(splits)}: set split")
        chosen = chosen or files
        if len(folders := sorted({str(p.parent.relative_to(folder)) for p in chosen})) > 1:
            raise UserError(
                f"{folder} has data files in several folders ({', '.join(folders[:5])}"
                f"{', ...' if len(folders) > 5 else ''}) and no README.md that lists its configs; set path "
                "(or config) to the one that is meant, or fetch the README.md too"
            )
        return chosen
    raise UserError(f"{folder} holds no {', '.join(SUFFIXES)} file")


def _split_of(path: Path, folder: Path) -> str | None:
    """The split that the name of a file, or of a folder it is in, says it belongs to."""
    names = [path.name, *(f"{part}." for part in path.relative_to(folder).parts[:-1])]
    return next((m[1] for name in names if (m := SPLIT_NAME.match(name))), None)
