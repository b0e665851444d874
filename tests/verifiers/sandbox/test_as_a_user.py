"""The tier without a box is for ordinary users; where the tests run as root, they try it as one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rlvr_cli

pytestmark = pytest.mark.slow

NOBODY = 65534
PYTHON = shutil.which(f"python3.{sys.version_info[1]}", path="/usr/bin:/usr/local/bin:/opt/bin")
"""One that others can read; root's own is in a folder of root's."""
ATTEMPTS = "rlimit and (refused or daemon or time or owner or programs_may_use or numpy)"


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as a user already")
@pytest.mark.skipif(PYTHON is None, reason="no Python of this version that another user can read")
def test_the_tier_without_a_box_holds_for_a_user(tmp_path: Path) -> None:
    root = Path(rlvr_cli.__file__).parents[1]
    packages = Path(pytest.__file__).parents[1]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{root}:{root / 'tests/support'}:{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
    }
    tests = root / "tests/verifiers/sandbox/test_attacks.py"
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", ATTEMPTS, str(tests)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    if "PermissionError" in done.stderr or "No module named" in done.stderr:
        pytest.skip(f"another user cannot read this installation: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count(".") > 50, done.stdout  # and were not left out
