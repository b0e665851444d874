"""The site has what lies beside docs/, too: README and CHANGELOG as pages, LICENSE as a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
BESIDE = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md", "LICENSE": "LICENSE.txt"}


def on_files(files: Files, config: Any) -> Files:
    for source, target in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=_from_root(text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of docs/ lead to the pages made above."""
    depth = page.file.src_uri.count("/")
    for source, target in BESIDE.items():
        markdown = markdown.replace(f"]({'../' * (depth + 1)}{source}", f"]({'../' * depth}{target}")
    return markdown


def _from_root(text: str) -> str:
    """Links as they are from within docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    for source, target in BESIDE.items():
        text = text.replace(f"]({source}", f"]({target}")
    return text
