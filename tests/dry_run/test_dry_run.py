"""A dry run looks at model and data, prints what differs, and refuses what a start would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import render
from rlvr_cli.dry_run import changes, tokenizer
from rlvr_cli.dry_run.unread import told, unread
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.environments.guess import Guess
from rlvr_cli.launch import run_directory
from rlvr_cli.schema import Model, Recipe, Source, TinyModel

MINE = """
defaults: [{algorithm: grpo}, {verifier@verifiers.math: math}, {rollout: hf}, _self_]
name: mine
model: {path: my_model}
data: {mine: {path: problems.jsonl, prompt: "{prompt} Think."}}
batch: {prompts_per_step: 4, group_size: 4}
rollout: {max_prompt_tokens: 32, max_tokens: 16}
trainer: {steps: 2, precision: fp32}
tracker: {wandb: disabled}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    make_tiny(folder, TinyModel(hidden_size=16, layers=1, heads=2, kv_heads=1, max_positions=64), 0)
    return folder


@pytest.fixture
def here(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("my_model").symlink_to(made)
    Path("mine.yaml").write_text(MINE)
    rows = [{"question": f"{n}+1=", "answer": str(n + 1)} for n in range(40)]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*words: str) -> tuple[int, str, str]:
        code = main(["train", "mine.yaml", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def test_it_tells_what_it_has_looked_at(run: Run, here: Path) -> None:
    code, out, err = run("--dry-run")
    assert (code, err) == (0, "")
    assert "# model: my_model: tokenizer with a chat template, 64 positions\n" in out
    assert "# data.mine: problems.jsonl: 40 rows with prompt, answer\n" in out
    assert "# data.mine: prompt (through the chat template, 11 tokens): '0+1= Think.'\n" in out
    assert "gold '1' of row 1: verifier math scores" in out and "warning" not in out
    assert sorted(path.name for path in here.iterdir()) == ["mine.yaml", "my_model", "problems.jsonl"]
    assert "weight" not in out and "weight: 1.0" in run("--dry-run", "--full")[1]


WRONG = [
    ("model.path=my_modle", "model.path: my_modle does not exist; did you mean my_model?"),
    ("model.path=nothing", "model.path: nothing does not exist; .* hub id is owner/name"),
    (
        "data.mine.path=problem.jsonl",
        "data.mine.path: there is no file problem.jsonl; did you mean problems.jsonl?",
    ),
    ("data.mine.columns={prompt: questoin}", "problems.jsonl row 1 has no column 'questoin'"),
    ("data.mine.prompt='no place'", "data.mine.prompt has no {prompt}"),
    ("data.mine.chat=never data.mine.system=Be", "has a system message, which needs a chat template"),
    ("data.mine.holdout=40", "data.mine.holdout is 40, and problems.jsonl has 40 rows"),
    ("rollout.max_tokens=40", "add up to 72 tokens, more than the 64 positions of 'my_model'"),
    ("model.chat_template=none.jinja", "model.chat_template: cannot read 'none.jinja'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "says"), WRONG, ids=[words for words, _ in WRONG])
@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "start"])
def test_what_is_wrong_is_one_line_in_a_dry_run_and_at_a_start(
    words: str, says: str, dry: list[str], run: Run, here: Path
) -> None:
    """A start refuses it before a process or a directory of the run is there."""
    code, _, err = run(*(words.split() if "{" not in words and "'" not in words else [words]), *dry)
    assert code == 2 and err.startswith("rlvr: error: ") and err.count("\n") == 1
    head, _, tail = says.partition(".*")
    assert head in err and tail in err
    assert not (here / "runs").exists()


def test_a_model_that_a_shipped_recipe_makes_is_a_note(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dapo", "--dry-run"]) == 0
    assert (
        "# model.path: runs/tiny_sft does not exist; run `rlvr sft tiny_sft` first" in capsys.readouterr().out
    )


def test_a_broken_row_is_named(run: Run, here: Path) -> None:
    with open("problems.jsonl", "r+") as file:
        file.write('{"question": }')
    code, _, err = run("--dry-run")
    assert code == 2 and "problems.jsonl row 1 is not valid JSON" in err


def test_a_verifier_that_cannot_use_the_golds_is_told(run: Run) -> None:
    code, out, _ = run("--dry-run", "verifiers.math.extraction=choice")
    assert code == 0
    assert (
        "warning: data.mine: none of the first 20 rows of problems.jsonl has a gold answer that can be used"
        in out
    )


def test_more_prompts_a_step_than_there_are_is_told(run: Run) -> None:
    said = "batch.prompts_per_step is 80, and data.mine has 40 rows: each comes about 2.0 times in a step"
    assert said in run("--dry-run", "batch.prompts_per_step=80")[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes.recipes())
def test_what_differs_is_a_recipe_that_resolves_to_the_same(name: str, tmp_path: Path) -> None:
    recipe = compose.load(name, [])
    (tmp_path / "short.yaml").write_text(changes.text_of(recipe))
    assert compose.load(str(tmp_path / "short.yaml"), []) == recipe
    assert len(changes.text_of(recipe)) < 0.6 * len(compose.dump(recipe))


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "algorithm/loss=reinforce",
        "algorithm.kl.coef=0.5",
        "algorithm/advantage=leave_one_out",
        "trainer.betas=[0.8,0.9]",
    ],
)
def test_changes_of_the_algorithm_too(override: str, here: Path) -> None:
    recipe = compose.load("mine.yaml", [override])
    Path("short.yaml").write_text(changes.text_of(recipe))
    assert compose.load("short.yaml", []) == recipe


UNREAD = [
    ("eval.every=5", "eval.every"),
    ("trainer.min_lr=1e-9", "trainer.min_lr"),
    ("rollout.kv_cache_gb=2", "rollout.kv_cache_gb"),
    ("+verifier@verifiers.format=format", "verifiers.format"),
    ("model.lora.alpha=8", "model.lora.alpha"),
    ("controller.every=7", "controller.every"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("override", "key"), UNREAD)
def test_a_key_that_nothing_reads_is_told_before_the_start_only(override: str, key: str, here: Path) -> None:
    only = ["data.mine.verifiers=[math]"]
    assert unread(compose.load("mine.yaml", only)) == {}
    recipe = compose.load("mine.yaml", [override, *only])
    assert list(unread(recipe)) == [key]
    known = told(recipe)
    assert known(key) and known("trainer.weight_decay")  # set by nobody
    assert not known("trainer.steps")


def test_what_only_the_preset_sets_is_nobodys_mistake(here: Path) -> None:
    recipe = compose.load("mine.yaml", [])
    assert isinstance(recipe, Recipe) and recipe.algorithm.kl.clamp_value == 10.0
    assert told(recipe)("algorithm.kl.clamp_value")
    assert not told(compose.load("mine.yaml", ["algorithm.kl.clamp_value=9"]))("algorithm.kl.clamp_value")


TEMPLATES = [
    None,
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'tool' %}{% continue "
    "%}{% endif %}"
    "{% set ns.n = ns.n + 1 %}{{ ns.n }}{{ m | tojson }}{% generation %}x{% endgeneration %}{% endfor %}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompts_are_those_of_the_run(template: str | None, made: Path, tmp_path: Path) -> None:
    model = Model(path=str(made))
    if template is not None:
        (tmp_path / "t.jinja").write_text(template)
        model = replace(model, chat_template=str(tmp_path / "t.jinja"))
    light, real = tokenizer.load(model), load_tokenizer(model)
    row = {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "12+7= é?"}]}
    assert light is not None
    for source in (Source(path="x"), Source(path="x", system="No.", prompt="<{prompt}>")):
        assert render(row, source, light) == render(row, source, real)  # type: ignore[arg-type]
    assert light.eos_token_id == real.eos_token_id


def test_the_built_in_model_is_known_before_it_is_made(made: Path) -> None:
    light = tokenizer.load(Model(path="builtin:tiny"))
    row, source = {"prompt": "12+7="}, Source(path="x")
    assert light is not None
    assert render(row, source, light)[0] == render(row, source, load_tokenizer(Model(path=str(made))))[0]  # type: ignore[arg-type]


def test_a_model_in_the_cache_of_the_hub_is_found(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert tokenizer.load(Model(path="owner/name")) is None
    cache = tmp_path / "models--owner--name"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots").mkdir()
    (cache / "snapshots" / "abc").symlink_to(made)
    assert tokenizer.load(Model(path="owner/name")) is not None


def test_a_finished_run_is_told_before_its_data_is_looked_at(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_directory, "finished", lambda recipe, out: f"{out} is finished")
    Path("problems.jsonl").unlink()
    assert run() == (0, "", "rlvr: runs/mine is finished\n")


@pytest.mark.slow
def test_it_loads_nothing_heavy(here: Path) -> None:
    code = (
        "import sys; from rlvr_cli.commands.main import main; assert main(['train', 'mine.yaml', "
        "'--dry-run']) == 0;"
        "heavy = {'torch', 'transformers', 'vllm', 'datasets', 'wandb'} & set(sys.modules); assert not "
        "heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


GAME = MINE.replace(
    "{verifier@verifiers.math: math}",
    "{environment@environments.game: guess}, {verifier@verifiers.won: environment}",
)


def test_environments_and_what_they_announce(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.yaml").write_text(GAME)
    played = ("data.mine.environment=game", "data.mine.verifiers=[won]")
    code, out, err = run(*played, "environments.game.turn_tokens=4", "--dry-run")
    assert (code, err) == (0, "")
    assert "# data.mine: environments.game: guess, at most 10 turns of at most 4 tokens; it may begin" in out
    assert "  game:\n    name: guess\n    turn_tokens: 4\n" in out
    bench = (
        "+eval.benches.own={source: {path: problems.jsonl}, verifier: {name: environment}, "
        "environment: {name: guess}, max_tokens: 16}"
    )
    assert "eval.benches.own.environment: guess, at most 10" in run(*played, bench, "--dry-run")[1]
    announced = [
        {"type": "function", "function": {"name": "double", "description": "Twice.", "parameters": {}}}
    ]
    monkeypatch.setattr(Guess, "schemas", lambda self: announced)
    Path("template.jinja").write_text(
        "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}{{ messages[0].content }}"
    )
    code, out, _ = run(*played, "model.chat_template=template.jinja", "--dry-run")
    assert code == 0 and "'[double]0+1= Think.'" in out and "environments.game: tools double" in out
    monkeypatch.setattr(Guess, "ready", lambda self: refuse("no server"))
    code, _, err = run(*played, "--dry-run")
    assert code == 2 and err == "rlvr: error: environments.game: no server\n"


def refuse(why: str) -> None:
    raise UserError(why)
