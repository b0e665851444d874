"""Every command in the documentation is run here, by a test that the table names, or marked with a reason.

Commands that only say something are run as they are, in this process. Of those that train, the recipe is
composed; of usage lines, the options must be the verb's.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from doc_commands import TABLE, USAGE, commands, rows_of, table
from places import ROOT

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError

SAYS = ("list", "explain", "recipes", "completion", "schema")
"""Verbs that start nothing."""
TRAINS = ("train", "sft", *shipped_recipes.all_presets())
OPO = "opo"
"""The preset that extending.md adds."""
ALL = sorted(commands())


def kind(command: str) -> str:
    """How it is held against the code."""
    words = shlex.split(command)
    if words[0] == "rlvr" and USAGE.search(command):
        return "usage"
    if rows_of(command):
        return "table"
    if words[0] == "rlvr" and (words[1] in SAYS or "--help" in words or words[1:3] == ["eval", "--list"]):
        return "said"
    if words[0] == "rlvr" and (words[1] in TRAINS or "--dry-run" in words):
        return "composed"
    return "unknown"


KINDS = {command: kind(command) for command in ALL}


def of(wanted: str) -> list[str]:
    return [command for command in ALL if KINDS[command] == wanted]


def test_no_command_is_without_a_test_or_a_mark() -> None:
    """A new one is said, composed or a usage line, or gets a row in the table."""
    assert {command: commands()[command] for command in of("unknown")} == {}
    assert len(ALL) > 80 and of("said") and of("composed") and of("usage")


def test_the_table_is_used_and_names_what_exists() -> None:
    for row in table():
        assert any(re.fullmatch(row["match"], command) for command in ALL), f"{TABLE.name}: {row['match']}"
        assert ("by" in row) != ("needs" in row)
        if "needs" in row:
            assert row["needs"] in ("gpu", "network", "time") and row["reason"]
            continue
        file, _, name = row["by"].partition("::")
        assert (ROOT / file).exists(), row["by"]
        assert not name or f"def {name}(" in (ROOT / file).read_text(), row["by"]


def test_make_knows_its_targets() -> None:
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {word for command in ALL if command.startswith("make ") for word in command.split()[1:]}
    assert named <= set(known)
    said = (ROOT / ".ci" / "run").read_text()
    assert all(f"make {target}\n" in said for target in ("lint", "demo", "test", "docs"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", of("said"))
def test_what_only_says_something(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    for word in words[1:]:  # a recipe or a file of the reader's
        if word.endswith(".yaml") and words[0] != "recipes":
            Path(word).write_text((shipped_recipes.RECIPES / "tiny_dapo.yaml").read_text())
    try:
        code = main(words)
    except SystemExit as done:  # argparse's --help
        code = int(done.code or 0)
    said = capsys.readouterr()
    assert code == 0 and said.out.strip(), said.err


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in of("composed") if not c.endswith("--dry-run")])
def test_what_trains_composes(command: str, here: Path) -> None:
    """`test_docs.py` has those that end in --dry-run, as they are."""
    _, verb, *words = shlex.split(command)
    recipe = next((word for word in words if "=" not in word and not word.startswith("-")), None)
    keys = [word for word in words if "=" in word]
    if recipe is not None and recipe.endswith(".yaml") and recipe not in shipped(recipe):
        Path(recipe).write_text((shipped_recipes.RECIPES / "tiny_dapo.yaml").read_text())
    elif recipe is not None and recipe.startswith("runs/"):
        Path(recipe).mkdir(parents=True)
        compose.save(compose.load("tiny_dapo", []), Path(recipe) / "recipe.yaml")
    elif recipe is not None and recipe.startswith("recipes/"):
        recipe = str(ROOT / recipe)
    if any(key.startswith("actor_rollout_ref.") for key in keys):  # shown with its answer
        with pytest.raises(UserError, match=r"that is batch\.group_size here"):
            compose.load(recipe, keys)
        return
    assert compose.load(recipe, keys, verb if verb != OPO else "train")


def shipped(recipe: str) -> list[str]:
    return [recipe] if recipe.startswith("recipes/") else []


@pytest.mark.parametrize("command", of("usage"))
def test_the_options_of_a_usage_line_are_the_verbs(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command.replace("[", " ").replace("]", " ").replace("|", " "))
    verb = words[1]
    two = words[1:3] == ["eval", "compare"] or verb == "inspect"
    parents = [verb, words[2]] if two else [verb]
    with pytest.raises(SystemExit) as done:
        main([*parents, "--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0
    for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(words[2:])):
        assert flag in said, f"{command}: {flag}"
