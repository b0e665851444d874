"""Completion in shells: every verb with every option that its `--help` shows, and the names behind it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlvr_cli.commands import completion, convert, inspect
from rlvr_cli.commands.main import main
from rlvr_cli.commands.verbs import VERBS, verbs
from rlvr_cli.convert.convert import LAUNCH
from rlvr_cli.core import shipped_recipes

COMMANDS = [*verbs(), "eval compare", *(f"inspect {name}" for name in inspect.INSPECTIONS)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options in what `rlvr COMMAND --help` prints."""
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    listed = re.findall(r"^  (-.*?)(?:  |$)", capsys.readouterr().out, flags=re.MULTILINE)
    return {flag for line in listed for flag in re.findall(r"(?:^|(?<= ))--?[\w-]+", line)}


def in_bash(script: str, *words: str) -> list[str]:
    line = " ".join(f"'{word}'" for word in words)
    probe = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _rlvr; echo ${{COMPREPLY[@]}}"
    ran = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return ran.stdout.split()


def of_fish(script: str, command: str) -> set[str]:
    """The options that fish would offer behind `rlvr COMMAND`, by the conditions of its lines."""
    found = set()
    for line in script.splitlines():
        seen = re.search(r'-n "(.*?)"', line)
        parts = seen[1].split("; and ") if seen else []
        names = [part.removeprefix("__fish_seen_subcommand_from ").split() for part in parts]
        if names and all(set(group) & set(command.split()) for group in names):
            found |= {f"-{flag}" for flag in re.findall(r" -s (\w)\b", line)}
            found |= {f"--{flag}" for flag in re.findall(r" -l ([\w-]+)", line)}
    return found


def test_every_option_of_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """A new verb, or a new option of one, cannot be forgotten: what --help shows is what is offered."""
    bash, fish, zsh = completion.bash(), completion.fish(), completion.zsh()
    assert set(COMMANDS) == {name for each in completion.commands() for name in each.names}
    for command in COMMANDS:
        options = helped(command, capsys)
        assert {"-h", "--help"} <= options
        assert {word for word in in_bash(bash, "rlvr", *command.split(), "-") if word[0] == "-"} == options
        [case] = [line for line in zsh.splitlines() if f'"{command}"|' in line]
        assert {word for word in case.split() if re.fullmatch(r"--?\w[\w-]*", word)} == options
        more = helped("eval", capsys) if command == "eval compare" else set()
        assert of_fish(fish, command) == options | more


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_verbs_and_recipes(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    words = re.findall(r"[\w.+-]+", capsys.readouterr().out)
    assert {*verbs(), *shipped_recipes.recipes()} <= set(words)


def test_names_behind_a_verb_and_files(tmp_path: Path) -> None:
    script = completion.bash()
    assert in_bash(script, "rlvr", "dap") == ["dapo"]
    assert in_bash(script, "rlvr", "dapo", "tiny_da") == ["tiny_dapo"]
    assert in_bash(script, "rlvr", "recipes", "c") == ["copy"]
    assert in_bash(script, "rlvr", "eval", "comp") == ["compare"]
    assert in_bash(script, "rlvr", "eval", "compare", "--f") == ["--force"]
    assert in_bash(script, "rlvr", "list", "b") == ["benches"]
    assert in_bash(script, "rlvr", "completion", "z") == ["zsh"]
    assert in_bash(script, "rlvr", "convert", "op") == ["openrlhf"]
    (tmp_path / "tiny_data.jsonl").touch()
    assert in_bash(script, "rlvr", "verify", "tiny_d") == ["tiny_data.jsonl"]
    assert set(convert.FRAMEWORKS) == set(LAUNCH)


@pytest.mark.skipif(shutil.which("fish") is None and shutil.which("zsh") is None, reason="neither is here")
@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_the_other_shells_read_their_scripts(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    text = completion.SHELLS[shell]()
    ran = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_imports_nothing_heavy() -> None:
    """A shell asks for it whenever it starts."""
    code = (
        "import sys; from rlvr_cli.commands.main import main; main(['completion', 'bash']);"
        "heavy = {'torch', 'hydra', 'omegaconf', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert "serve-verifier" in VERBS
