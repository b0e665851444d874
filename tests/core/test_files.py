"""Files are whole or absent, and an error of the disk says which file it was."""

from __future__ import annotations

import errno
import resource
import signal
from pathlib import Path

import pytest

from rlvr_cli.core.files import write_atomically


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    """A limit on the size of files is the full disk that needs no root."""
    path = tmp_path / "metrics.json"
    write_atomically(path, "old")
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: .*metrics\.json") as caught:
            write_atomically(path, "x" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG and path.read_text() == "old"
