"""What a file imports from its folder, found in its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli.core.imports_beside import imports_beside

FILES = (
    "utils.py",
    "deep.py",
    "other.py",
    "pkg/__init__.py",
    "pkg/a.py",
    "pkg/sub/__init__.py",
    "pkg/sub/b.py",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def found(folder: Path, text: str) -> list[str]:
    (folder / "reward.py").write_text(text)
    return [each.relative_to(folder).as_posix() for each in imports_beside(folder / "reward.py")]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import os, json\nfrom math import gcd", []),
        ("import utils", ["utils.py"]),
        ("import utils as u, deep", ["deep.py", "utils.py"]),
        ("from utils import *", ["utils.py"]),
        ("def f():\n    from utils import strip\n    return strip", ["utils.py"]),
        ("try:\n    import deep\nexcept ImportError:\n    deep = None", ["deep.py"]),
        ("import pkg.sub.b", ["pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/b.py"]),
        ("from pkg import a, nothing", ["pkg/__init__.py", "pkg/a.py"]),
        ("from pkg.sub import b", ["pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/b.py"]),
        ("from . import utils", []),  # the file is in no package
        ("import reward", []),
        ("import utils\nthis is no Python", []),
    ],
)
def test_one_file(folder: Path, text: str, files: list[str]) -> None:
    assert found(folder, text) == files


def test_what_is_imported_imports_too(folder: Path) -> None:
    (folder / "utils.py").write_text("import deep\nimport reward")
    (folder / "deep.py").write_text("import utils")
    assert found(folder, "import utils") == ["deep.py", "utils.py"]
    (folder / "pkg" / "__init__.py").write_text("from . import a")
    (folder / "pkg" / "a.py").write_text("from .sub.b import x\nfrom .. import other")
    (folder / "pkg" / "sub" / "b.py").write_text("from ... import other\nfrom ..a import y\nimport other")
    assert found(folder, "import pkg") == [
        "other.py",
        "pkg/__init__.py",
        "pkg/a.py",
        "pkg/sub/__init__.py",
        "pkg/sub/b.py",
    ]
