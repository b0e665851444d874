"""Which files belong to a configuration and split, as the README.md of a downloaded data set says.

The hub reads `configs:` of that file's YAML front matter: configuration -> split -> patterns of paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from rlvr_cli.core.errors import UserError, hint

MOST = 4 << 20
"""Bytes of a README.md that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    default: bool
    folder: str
    """What its patterns are relative to, within the data set."""
    splits: dict[str, list[str]] | None
    """Split -> patterns of paths; None: the names of its files tell the splits apart."""


def configs(folder: Path) -> list[Config]:
    """Those that the README.md of the folder lists; none where there is no such list."""
    listed = (_front_matter(folder / "README.md") or {}).get("configs")
    if not isinstance(listed, list):
        return []
    return [_config(entry, folder) for entry in listed if isinstance(entry, dict)]


def chosen(found: list[Config], name: str | None, folder: Path) -> Config:
    """The configuration of that name, or the default one; UserError where nothing says which."""
    names = [config.name for config in found]
    if name is not None:
        if name not in names:
            raise UserError(f"{folder} has no config '{name}'{hint(name, names)}")
        return found[names.index(name)]
    defaults = [config for config in found if config.default or config.name == "default"]
    if len(found) > 1 and not defaults:
        raise UserError(f"{folder} has the configs {', '.join(names)}: set config")
    return (defaults or found)[0]


def files(config: Config, folder: Path, split: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The data files of a split that the front matter lists; UserError where they are not there."""
    assert config.splits is not None
    if split not in config.splits:
        raise UserError(
            f"{folder}: config '{config.name}' has no split '{split}'; "
            f"its splits are {', '.join(config.splits)}: set split"
        )
    base, patterns = folder / config.folder, config.splits[split]
    found = sorted({path for pattern in patterns for path in base.glob(pattern) if path.suffix in suffixes})
    if not found:
        raise UserError(
            f"{folder}: config '{config.name}' keeps its split '{split}' in {', '.join(patterns)}, and no "
            f"{', '.join(suffixes)} file is there; fetch it (hf download --include)"
        )
    return found


def _front_matter(path: Path) -> dict[str, Any] | None:
    """The YAML between the first two lines of `---`, if that is how the file begins."""
    if not path.is_file():
        return None
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        text = file.read(MOST)
    head, _, rest = text.partition("\n")
    block, end, _ = rest.partition("\n---")
    if head.strip() != "---" or not end:
        return None
    try:
        content = yaml.safe_load(block)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: its front matter is no YAML ({problem}); mend or remove it") from None
    return content if isinstance(content, dict) else None


def _config(entry: dict[str, Any], folder: Path) -> Config:
    name = str(entry.get("config_name", "default"))
    within = _inside(str(entry.get("data_dir") or "."), folder, name)
    given = entry.get("data_files")
    splits: dict[str, list[str]] | None = None
    if isinstance(given, str | list) and given:
        splits = {}
        for each in [given] if isinstance(given, str) else given:
            split, paths = (each.get("split"), each.get("path")) if isinstance(each, dict) else (None, each)
            patterns = [paths] if isinstance(paths, str) else paths
            if not isinstance(patterns, list) or not all(isinstance(p, str) and p for p in patterns):
                raise UserError(f"{folder / 'README.md'}: data_files of config '{name}' lists no paths")
            splits.setdefault(str(split or "train"), []).extend(_inside(p, folder, name) for p in patterns)
    return Config(name=name, default=entry.get("default") is True, folder=within, splits=splits)


def _inside(path: str, folder: Path, config: str) -> str:
    """The path, which must not lead out of the data set."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise UserError(f"{folder / 'README.md'}: config '{config}' names files outside the set ({path})")
    return path
