"""Whose code has judged: of a verifier its plugins and files, by the paths that are the user's own."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from own_code import OPTION, SCRIPTED, VERIFIER

from rlvr_cli import verifiers
from rlvr_cli.compose import find_plugins
from rlvr_cli.core import recorded_code
from rlvr_cli.core.code_behind import of_file, of_verifier
from rlvr_cli.verifiers.python import Python

pytestmark = pytest.mark.usefixtures("no_plugins_afterwards")


def use(folder: Path, *names: str) -> None:
    find_plugins.load([f"{folder / name}" for name in names], "", find_plugins.Places([folder]))


def test_a_verifier_of_this_package_has_none() -> None:
    assert of_verifier(verifiers.find("math")()) == []


def test_of_a_plugin_it_is_that_and_those_it_takes_from(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text("MARK = '!'\n\ndef mark(n):\n    return MARK * n\n")
    (tmp_path / "shouting.py").write_text("from words import mark\n" + VERIFIER)
    (tmp_path / "my_algo.py").write_text(OPTION)
    use(tmp_path, "my_algo.py", "words.py", "shouting.py")
    rows = of_verifier(verifiers.find("shout")())
    assert [(row["key"], row["path"], row["installed"]) for row in rows] == [
        ("plugins.shouting", str(tmp_path / "shouting.py"), False),
        ("plugins.words", str(tmp_path / "words.py"), False),
    ]
    assert rows[1]["sha256"] == sha256((tmp_path / "words.py").read_bytes()).hexdigest()


def test_of_a_file_it_is_that_and_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    (source / "reward.py").write_text("import utils\n")
    (source / "utils.py").write_text("x = 1\n")
    codes = of_file("verifiers.own.path", source / "reward.py")
    assert [(code.key, code.copy) for code in codes] == [
        ("verifiers.own.path", "verifiers.own/reward.py"),
        ("verifiers.own.path/utils.py", "verifiers.own/utils.py"),
    ]
    recorded_code.record(tmp_path / "run", codes)
    copy = tmp_path / "run" / "code" / "verifiers.own" / "reward.py"
    assert (copy.with_name("utils.py")).read_text() == "x = 1\n"
    for path in (source / "reward.py", copy):  # a copy is told by the path it was made of
        rows = of_verifier(Python(path=str(path)))
        assert [(row["key"], row["path"]) for row in rows] == [
            ("verifier.path", str(source / "reward.py")),
            ("verifier.path/utils.py", str(source / "utils.py")),
        ]
    recorded_code.record(tmp_path / "again", of_file("benches.b.verifier.path", copy))
    twice = tmp_path / "again" / "code" / "benches.b.verifier" / "reward.py"
    assert recorded_code.origins(twice) == [twice, copy, source / "reward.py"]


def test_a_file_that_is_no_python_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "rubric.txt").write_text("import utils\n")
    (tmp_path / "utils.py").write_text("")
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    use(tmp_path, "scripted.py")
    rows = of_verifier(verifiers.find("scripted")(path=str(tmp_path / "rubric.txt")))
    assert [row["key"] for row in rows] == ["plugins.scripted", "verifier.path"]


def test_a_copy_that_was_altered_is_none(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text("x = 1\n")
    [code] = of_file("verifiers.own.path", tmp_path / "reward.py")
    recorded_code.record(tmp_path / "run", [code])
    results = tmp_path / "run" / "eval"
    copy = tmp_path / "run" / "code" / "verifiers.own" / "reward.py"
    assert list(recorded_code.copies_of(results, tmp_path / "reward.py", code.sha256)) == [copy.resolve()]
    recorded_code.keep(tmp_path / "run", "5")
    aside = tmp_path / "run" / "code.5" / "verifiers.own" / "reward.py"
    assert list(recorded_code.copies_of(results, tmp_path / "reward.py", code.sha256)) == [aside.resolve()]
    assert list(recorded_code.copies_of(results, tmp_path / "other.py", code.sha256)) == []
    aside.write_text("x = 2\n")
    assert list(recorded_code.copies_of(results, tmp_path / "reward.py", code.sha256)) == []
