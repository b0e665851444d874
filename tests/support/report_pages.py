"""`rlvr report` in tests: its page, the blocks in it, and what its script then shows."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from places import SUPPORT

from rlvr_cli.commands.main import main

NODE = shutil.which("node")


def unpack(block: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(block)))


def blocks(page: Path) -> dict[str, Any]:
    found = re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', page.read_text())
    return {name: unpack(block) for name, block in found}


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def shown(page: Path, *actions: list[Any]) -> dict[str, Any]:
    """What the page shows after `actions`, by its own script (tests/support/report_dom.js)."""
    if NODE is None:
        pytest.skip("node is not installed")
    script = SUPPORT / "report_dom.js"
    command = [NODE, str(script), str(page), json.dumps(actions)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["failed"] == ""
    return result
