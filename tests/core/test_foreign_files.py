"""Text files that somebody else has written: too deep or too strange is a message, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli.checkpoints import manifest
from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError, told
from rlvr_cli.core.files import from_json
from rlvr_cli.core.result_files import read_result

DEEP = "[" * 200_000 + "]" * 200_000


def test_json_that_is_too_deep_is_bad_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(DEEP)
    assert from_json('{"a": [1, "\\ud800"]}') == {"a": [1, "\ud800"]}
    (tmp_path / "addition.json").write_text(DEEP)
    with pytest.raises(UserError, match="nested too deeply; give a result file"):
        read_result(tmp_path / "addition.json")
    (tmp_path / manifest.NAME).write_text(DEEP)
    assert manifest.wrong(tmp_path) == "manifest.json is not as it was written"


def test_a_run_of_somebody_else_is_reported_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": ' + DEEP + "}\n")
    assert main(["report", str(tmp_path)]) == 2
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    (tmp_path / "recipe.yaml").write_text(bomb)
    assert main(["report", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "metrics.jsonl cannot be read: it is nested too deeply" in first
    assert "recipe.yaml cannot be read: more than 3000 keys and values" in second


def test_a_message_is_one_line_of_printable_text() -> None:
    assert told("a\nb\x1b[31m\x07\x9b\u202e\udce9 \u00e9\u4e2d") == (
        "a b\\x1b[31m\\x07\\x9b\\u202e\\udce9 \u00e9\u4e2d"
    )
