"""The user's own code that a run was started with: `code/` in its directory, `code.json` and copies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import directory_atomically, from_json

FOLDER = "code"
FILE = "code.json"
SKIPPED = ("__pycache__",)
MOST_BYTES = 32 << 20
"""Of one folder of code, which every run copies."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """A file or folder of the user's code."""

    key: str
    """`plugins.<module>`, or the key of the recipe that has its path."""
    path: str
    """Where it was, absolute."""
    sha256: str
    copy: str | None = None
    """Below `code/`; None: it is installed, and was not copied."""
    version: str | None = None
    """Of the distribution it is installed with."""
    files: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What to copy, by path below it ("" where it is one file); not in code.json."""


def contents(path: Path) -> dict[str, bytes]:
    """The files of a folder of code by relative path, or {"": bytes} of a file; UserError if unreadable."""
    try:
        if not path.is_dir():
            return {"": path.read_bytes()}
        found: dict[str, bytes] = {}
        size = 0
        for file in sorted(path.rglob("*")):
            parts = file.relative_to(path).parts
            if file.is_file() and not any(p in SKIPPED or p.startswith(".") for p in parts):
                found["/".join(parts)] = file.read_bytes()
                size += len(found["/".join(parts)])
                if size > MOST_BYTES:
                    raise UserError(
                        f"{path}: a folder of code holds more than {MOST_BYTES >> 20} MB, which every run "
                        "would copy; keep data elsewhere, or install it as a package"
                    )
        return found
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 of a file, as sha256sum has it; of a folder, that of its files' names and sums."""
    if set(files) == {""}:
        return sha256(files[""]).hexdigest()
    lines = (f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()


def record(out: Path, codes: Sequence[Code]) -> None:
    """Make `code/` hold these and nothing else; without any there is none."""
    folder = out / FOLDER
    if recorded(out) == list(codes):
        return
    with directory_atomically(folder) as aside:
        rows = []
        for code in codes:
            rows.append({key: value for key, value in asdict(code).items() if key != "files"})
            for name, content in code.files.items():
                assert code.copy is not None
                file = aside / code.copy / name if name else aside / code.copy
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        (aside / FILE).write_text(json.dumps(rows, indent=1) + "\n")


def keep(out: Path, name: str) -> None:
    """Put `code/` aside as `code.<name>/`, in place of an earlier one."""
    if (out / FOLDER).exists():
        shutil.rmtree(out / f"{FOLDER}.{name}", ignore_errors=True)
        (out / FOLDER).rename(out / f"{FOLDER}.{name}")


def recorded(out: Path, folder: str = FOLDER) -> list[Code]:
    """What `record` has written in a directory of a run or results; UserError where it cannot be read."""
    path = out / folder / FILE
    if not path.is_file():
        return []
    try:
        return [Code(**row) for row in from_json(path.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def sums(out: Path) -> dict[str, dict[str, str]]:
    """What a checkpoint holds of it, to be compared when the run goes on: the beginning of each SHA-256."""
    found = {code.key: code.sha256[:12] for code in recorded(out)}
    return {FOLDER: found} if found else {}


def copies(out: Path) -> dict[str, Path]:
    """Path of each file or folder that was copied -> its copy."""
    found = {code.path: out / FOLDER / code.copy for code in recorded(out) if code.copy is not None}
    return {path: copy.resolve() for path, copy in found.items() if copy.exists()}


def around(folder: Path) -> Path | None:
    """The directory with the code that results in `folder` were made with: an evaluation's own, or the run's
    around it; None: neither has any."""
    return next((each for each in (folder, *folder.parents[:2]) if recorded(each)), None)


def copies_of(folder: Path, path: Path, sha256: str) -> Iterator[Path]:
    """Copies of what was at `path`, with these contents, in or around a folder of results, also in a `code/`
    that was put aside."""
    for out in (folder, *folder.parents[:2]):
        for kept in sorted(out.glob(f"{FOLDER}*")):
            for code in recorded(out, kept.name):
                copy = kept / (code.copy or "")
                if code.copy is None or code.sha256 != sha256 or copy.name != path.name:
                    continue
                if copy.exists() and digest(contents(copy)) == sha256:
                    yield copy.resolve()


def origins(path: Path) -> list[Path]:
    """A path, and where it is a copy what it was made of, and so on: the last one is the user's own."""
    found = [path]
    while (earlier := _origin(found[-1])) is not None and earlier not in found:
        found.append(earlier)
    return found


def _origin(copy: Path) -> Path | None:
    for folder in copy.parents:
        if folder.name.partition(".")[0] == FOLDER and (folder / FILE).is_file():
            rows = recorded(folder.parent, folder.name)
            below = copy.relative_to(folder).as_posix()
            return next((Path(code.path) for code in rows if code.copy == below), None)
    return None
