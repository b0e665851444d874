"""`rlvr list`, and what of it is the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_code import ENVIRONMENT, OPTION

from rlvr_cli.commands.main import main
from rlvr_cli.core import shipped_recipes
from rlvr_cli.reference.inventory import GROUPS, all_metrics, entries, options, recipes


@pytest.mark.parametrize("what", GROUPS)
def test_every_entry_has_a_line(what: str) -> None:
    found = {entry.name: entry for entry in entries(what, [])}
    assert set(shipped_recipes.options(GROUPS[what])) <= set(found)
    assert all(entry.text and not entry.origin for entry in found.values())


def test_recipes_options_and_metrics_have_a_line() -> None:
    assert [entry.name for entry in recipes()] == shipped_recipes.recipes()
    assert all(entry.text and "yaml-language" not in entry.text for entry in recipes())
    assert {"group_zscore", "gae"} <= {entry.name for entry in options("advantage")}
    assert all(entry.text for entry in options("advantage"))
    names = {entry.name for entry in all_metrics()}
    assert {"reward/mean", "response_length/p99", "eval/<bench>/maj@j", "eval/<bench>/gpass@k_0.75"} <= names


def rlvr(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.slow
def test_entries_and_plugins_of_the_user_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# My own model.\npath: /models/mine\n")
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "my_median.py").write_text(OPTION)
    monkeypatch.setenv("COLUMNS", "200")
    code, said = rlvr(capsys, "list", "models")
    assert code == 0 and f"mine                  My own model  ({tmp_path / 'model' / 'mine.yaml'})" in said
    code, said = rlvr(capsys, "list", "options", "advantage")
    [line] = [line for line in said.splitlines() if line.startswith("median")]
    assert "Against the median" in line and "my_median.py)" in line
    code, said = rlvr(capsys, "explain", "algorithm.advantage=median")
    assert code == 0 and "Against the median of the group" in said
    code, said = rlvr(capsys, "explain", "mine")
    assert code == 0 and "group `model`" in said and "My own model" in said
    (tmp_path / "plugins" / "my_parrot.py").write_text(ENVIRONMENT)
    code, said = rlvr(capsys, "list", "environments")
    [line] = [line for line in said.splitlines() if line.startswith("parrot")] or [said]
    assert code == 0 and "Says everything again  (" in line and line.endswith("my_parrot.py)"), said
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "mine" not in rlvr(capsys, "list", "models")[1]
    (tmp_path / "my.yaml").write_text((shipped_recipes.RECIPES / "tiny_dapo.yaml").read_text())
    assert "mine" in rlvr(capsys, "list", "models", "../my.yaml")[1]


def test_list_by_itself_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = rlvr(capsys, "list")
    assert code == 0 and all(f"  {what}" in said for what in (*GROUPS, "metrics", "recipes", "options"))
    assert rlvr(capsys, "list", "verifers")[1].startswith(
        "rlvr: error: list: there is no 'verifers' to list; did you mean 'verifiers'?"
    )
    assert "did you mean 'advantage'?" in rlvr(capsys, "list", "options", "advantag")[1]
    code, said = rlvr(capsys, "explain", "trainer.lrr")
    assert code == 2 and said.count("\n") == 1 and "did you mean trainer.lr" in said
