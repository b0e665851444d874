"""The command line as users meet it: verbs, messages, exit codes, and nothing written on a mistake."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import __version__, compose
from rlvr_cli.commands.main import main
from rlvr_cli.commands.verbs import verbs
from rlvr_cli.core import shipped_recipes
from rlvr_cli.verifiers.server import Limits


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-odd.yaml").write_text("name: odd")


def rlvr(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("dpao", "there is no verb 'dpao'; did you mean 'dpo'?"),
        ("--dry-run", "there is no verb '--dry-run'"),
        ("tiny_dapo", "'tiny_dapo' is a recipe; a verb comes first: rlvr train tiny_dapo"),
        ("mine.yaml", "'mine.yaml' is a recipe; a verb comes first"),
        (
            "dapo tiny_dap",
            "no recipe tiny_dap: neither a file nor a shipped recipe; did you mean 'tiny_dapo'?",
        ),
        ("dapo tiny_dapo smoke", "smoke: one recipe at a time, and tiny_dapo is one"),
        ("grpo dapo_qwen7b", "dapo_qwen7b is a recipe of dapo: run `rlvr dapo dapo_qwen7b`"),
        ("sft tiny_dapo", "run `rlvr dapo tiny_dapo`"),
        ("dapo algorithm=rloo", "tiny_dapo is a recipe of rloo: run `rlvr rloo tiny_dapo`"),
        ("dapo trainer.lrr=1", "command line: unknown key 'trainer.lrr'; did you mean 'trainer.lr'?"),
        ("dapo +trainer.lrr=1", "command line: unknown key 'trainer.lrr'; did you mean 'trainer.lr'?"),
        ("dapo lr=1", "unknown key 'lr'; did you mean 'trainer.lr'?"),
        ("dapo --trainer.lr=1", "values are set without dashes: trainer.lr=1"),
        ("dapo --dry", "--dry: there is no such option; did you mean '--dry-run'?"),
        ("dapo -odd.yaml", "a path that begins with - is written ./-odd.yaml"),
        ("dapo model.path=/a=b", "as text it is written 'model.path=\"/a=b\"'"),
        ("dapo trainer.steps=many", "trainer.steps: Value 'many'"),
        ("dapo trainer.steps=" + 300 * "x", "trainer.steps: Value 'xxx"),  # too long for a file's name
        ("dapo", "model.path: runs/tiny_sft does not exist; run `rlvr sft tiny_sft` first"),
        ("dapo model.path=builtin:huge", "the built-in models are builtin:tiny and builtin:tiny_moe"),
        ("dapo smoke.yml", "no recipe smoke.yml"),
        ("eval", "--model PATH --bench NAME[,NAME]"),
        ("eval --bench gsm8 --model m", "--bench: there is no bench 'gsm8'; did you mean 'gsm8k'?"),
        ("eval --bench addition --model runs/x", "model.path: runs/x does not exist"),
        ("eval --bench addition --model builtin:tiny -k many", "argument -k: invalid int value: 'many'"),
        ("eval --bench addition --model builtin:tiny -k 0", "benches.addition.k is 0; it must be at least 1"),
        ("eval --bench gsm8k --model m -k 4", "benches.gsm8k.k is 4, but at temperature 0"),
        ("eval --bench", "argument --bench: expected one argument; see rlvr eval --help"),
        ("recipes show tiny", "there is no shipped recipe tiny; did you mean 'tiny_"),
        ("recipes copy", "copy needs the name of a recipe"),
        ("recipes lst", "invalid choice: 'lst'"),
        ("recipes copy smoke nowhere/x.yaml", "nowhere is not a directory"),
        ("completion csh", "invalid choice: 'csh'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = rlvr(capsys, *arguments.split())
    assert code == 2 and out == ""
    assert err.startswith("rlvr: error: ") and err.count("\n") == 1 and says in err
    assert [path.name for path in tmp_path.iterdir()] == ["-odd.yaml"]


@pytest.mark.slow
def test_dry_run_prints_a_valid_recipe_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = rlvr(capsys, "dapo", "trainer.steps=5", "--dry-run", "seed=3")
    assert (code, err) == (0, "")
    assert "# samples per step: 32 prompts x 8 = 256\n" in out and "# run directory: runs/tiny_dapo\n" in out
    assert "# preflight: a brief look before the first step" in out  # a short run
    assert (
        "# preflight: 32 prompts before the first step"
        in rlvr(capsys, "dapo", "--dry-run", "trainer.steps=200")[1]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["-odd.yaml"]
    (tmp_path / "printed.yaml").write_text(out)
    assert compose.load("printed.yaml", []) == compose.load("tiny_dapo", ["trainer.steps=5", "seed=3"])


@pytest.mark.slow
def test_defaults_of_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("sft", "train", *shipped_recipes.all_presets()):
        code, out, _ = rlvr(capsys, verb, "--dry-run")
        assert code == 0 and f"name: tiny_{'dapo' if verb == 'train' else verb}\n" in out


def test_eval_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = rlvr(
        capsys,
        "eval",
        "--bench",
        "addition,chain",
        "--model",
        "builtin:tiny",
        "-k",
        "2",
        "rollout=hf",
        "--dry-run",
    )
    assert code == 0 and out.count("k: 2\n") == 2 and "# bench chain: 2 samples a problem" in out
    code, out, _ = rlvr(capsys, "eval", "--list")
    listed = [line.split()[0] for line in out.splitlines()]
    assert code == 0 and listed == ["bench", *shipped_recipes.options("bench")]


def test_recipes_are_listed_shown_and_copied(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, _ = rlvr(capsys, "recipes", "list")
    assert [line.split()[0] for line in out.splitlines()] == shipped_recipes.recipes()
    assert all(len(line.split()) > 4 for line in out.splitlines())
    _, shown, _ = rlvr(capsys, "recipes", "show", "tiny_dapo")
    assert shown == (shipped_recipes.RECIPES / "tiny_dapo.yaml").read_text()
    code, out, _ = rlvr(capsys, "recipes", "copy", "tiny_dapo", "mine.yaml")
    assert code == 0 and out == "wrote mine.yaml; run it with: rlvr train mine.yaml\n"
    editor, _, rest = (tmp_path / "mine.yaml").read_text().partition("\n")
    assert rest == shown.partition("\n")[2]
    assert Path(editor.removeprefix("# yaml-language-server: $schema=")).is_file()
    assert compose.load("mine.yaml", []) == compose.load("tiny_dapo", [])
    (tmp_path / "mine.yaml").write_text("changed")
    code, _, err = rlvr(capsys, "recipes", "copy", "tiny_dapo", "mine.yaml")
    assert code == 2 and "mine.yaml exists" in err and (tmp_path / "mine.yaml").read_text() == "changed"


@pytest.mark.slow
def test_a_run_directory_is_a_recipe(tmp_path: Path) -> None:
    compose.save(compose.load("tiny_dapo", []), tmp_path / "run" / "recipe.yaml")
    assert compose.load(str(tmp_path / "run"), []).name == "tiny_dapo"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("--help",), ("-h",), ("help",)):
        code, out, _ = rlvr(capsys, *arguments)
        assert code == 0 and "examples:" in out
        assert all(f" {verb}" in out for verb in verbs())
    assert rlvr(capsys, "--version") == (0, f"rlvr {__version__}\n", "")
    for verb in verbs():
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0 and f"rlvr {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gpu", "code", "says"), [("h200", 0, "fits: peak"), ("l4", 1, "does not fit: peak")]
)
def test_plan_ends_with_1_where_the_recipe_does_not_fit(
    gpu: str, code: int, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 7B model on eight GPUs. The search for what would fit takes seconds and is left out."""
    monkeypatch.setattr("rlvr_cli.planning.planner.advise", lambda *_: [])
    ended, out, err = rlvr(capsys, "plan", "dapo_qwen7b", "--gpu", gpu)
    assert (ended, err) == (code, "") and says in out


@pytest.mark.parametrize(
    ("options", "limits"),
    [([], (16_777_216, 64)), (["--max-body-mb", "0.5", "--max-requests", "3"], (524_288, 3))],
)
def test_a_served_verifier_is_given_its_limits(
    options: list[str], limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Limits] = []

    def serve(*arguments: Any) -> int:
        given.append(arguments[-1])
        return 0

    monkeypatch.setattr("rlvr_cli.verifiers.server.serve", serve)
    assert main(["serve-verifier", "--verifier", "math", *options]) == 0
    assert [(each.max_body, each.max_requests) for each in given] == [limits]


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("rlvr_cli.commands.main.run", interrupted)
    assert main(["dapo"]) == 130


COMMAND = [sys.executable, "-m", "rlvr_cli"]


@pytest.mark.slow
def test_as_a_process() -> None:
    started = time.perf_counter()
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    print(f"rlvr --help took {time.perf_counter() - started:.2f} s")
    assert shown.stdout.startswith("usage: rlvr VERB")
    wrong = subprocess.run([*COMMAND, "dapo", "lr=1"], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    head = subprocess.run(
        f"{' '.join(COMMAND)} recipes list | head -1", shell=True, capture_output=True, text=True
    )
    assert head.stderr == ""


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rlvr_cli.commands.main import main; main(['--help']); main(['recipes']);"
        "heavy = {'torch', 'hydra', 'omegaconf', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
