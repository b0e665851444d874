"""`rlvr init`: what rows and models look like decides the recipe, and what cannot be trained on is
refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.init.model import ModelFacts
from rlvr_cli.init.rows import Rows
from rlvr_cli.init.sizes import sizes_of
from rlvr_cli.init.task import Task
from rlvr_cli.schema import Recipe, SFTRecipe, TinyModel
from rlvr_cli.verifiers.math import Math

Init = Callable[..., tuple[int, str, str]]
N = range(40)
NUMBERS = [{"question": f"What is {n}+1?", "answer": str(n + 1)} for n in N]
BOXED = [{"problem": f"{n}+1, in \\boxed{{}}", "solution": f"It is \\boxed{{{n + 1}}}."} for n in N]
GSM8K = [{"question": f"What is {n}+1?", "answer": f"One more.\n#### {n + 1}"} for n in N]
WORDS = [{"question": f"Capital {n}?", "answer": ["Paris", "New York"][n % 2]} for n in N]
LETTERS = [{"question": f"{n}?\nA. one\nB. two", "answer": "AB"[n % 2]} for n in N]
PROGRAMS = [{"prompt": f"Add {n}", "test_list": [f"assert add(1) == {n + 1}"]} for n in N]
CHATS = [
    {"messages": [{"role": "user", "content": f"Hi {n}"}, {"role": "assistant", "content": "Hello"}]}
    for n in N
]
PAIRS = [{"prompt": f"Say {n}", "completion": str(n)} for n in N]
ORDERS = [{"prompt": f"Say {n}", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]} for n in N]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    make_tiny(folder, TinyModel(hidden_size=16, layers=1, heads=2, kv_heads=1), 0)
    return folder


@pytest.fixture
def init(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Init:
    monkeypatch.chdir(tmp_path)
    Path("my_model").symlink_to(made)

    def called(rows: list[dict[str, Any]], *words: str) -> tuple[int, str, str]:
        Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        code = main(["init", "--data", "problems.jsonl", "--model", "./my_model", "-o", "mine.yaml", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "verifier", "asks", "told"),
    [
        (NUMBERS, {"name": "math", "extraction": "boxed"}, "\\boxed{}", "it accepts 40 of 40 of them"),
        (BOXED, {"name": "math"}, None, "numbers or formulas"),
        (GSM8K, {"name": "math"}, "\\boxed{}", "it accepts 40 of 40"),
        (WORDS, {"name": "match", "lower": True, "extraction": "boxed"}, "\\boxed{}", "a few words"),
        (LETTERS, {"name": "choice"}, "Answer:", "letters of options"),
        (PROGRAMS, {"name": "code"}, "```python", "tests of programs"),
        (ORDERS, {"name": "ifeval"}, None, "which instructions to follow"),
    ],
    ids=["numbers", "boxed", "gsm8k", "words", "letters", "programs", "orders"],
)
def test_the_answers_choose_the_verifier_and_the_prompt(
    rows: list[dict[str, Any]], verifier: dict[str, Any], asks: str | None, told: str, init: Init
) -> None:
    code, out, err = init(rows)
    assert code == 0, err
    assert told in out and "wrote mine.yaml" in out
    recipe = compose.load("mine.yaml", [])
    assert isinstance(recipe, Recipe) and (recipe.name, recipe.out) == ("mine", "runs/mine")
    [used] = recipe.verifiers.values()
    found = {key: getattr(value, "value", value) for key, value in vars(used).items()}
    assert verifier.items() <= found.items()
    source = recipe.data["problems"]
    assert source.prompt == "{prompt}" if asks is None else asks in source.prompt
    assert recipe.eval.benches["problems"].source.held_out and source.holdout == 10
    text = Path("mine.yaml").read_text()
    assert text.startswith("# Reinforcement learning on problems.jsonl") and len(text.splitlines()) < 50
    commands = re.findall(r"`rlvr ([^`]+)`", text.partition("defaults:")[2])
    assert commands and all(main(command.split()) == 0 for command in commands)


@pytest.mark.parametrize("rows", [CHATS, PAIRS], ids=["chats", "pairs"])
def test_replies_without_answers_are_for_fine_tuning(rows: list[dict[str, Any]], init: Init) -> None:
    code, out, err = init(rows)
    assert code == 0 and "task    chat: the rows have replies to learn from" in out, err
    recipe = compose.load("mine.yaml", [])
    assert isinstance(recipe, SFTRecipe) and recipe.eval.source is not None and recipe.eval.source.held_out


@pytest.mark.parametrize(
    ("rows", "words", "says"),
    [
        ([{"text": "a"}] * 40, [], "has no column for the prompt"),
        (
            [{"prompt": f"Write {n}"} for n in N],
            [],
            "has no answers that can be checked (columns: prompt); name",
        ),
        (NUMBERS[:8], [], "problems.jsonl has 8 rows; at least 16 are needed"),
        (
            NUMBERS,
            ["--task", "code"],
            "--task code: problems.jsonl has no tests that programs could be run on",
        ),
        (NUMBERS, ["--task", "maths"], "there is no such task; there are math, code"),
        (NUMBERS, ["--task", "reward"], "--task reward needs --reward"),
        (NUMBERS, ["--reward", "none.py"], "--reward: there is no file none.py"),
        (NUMBERS, ["--model", "my_modle"], "--model: my_modle does not exist; did you mean my_model?"),
        (
            NUMBERS,
            ["--data", "problem.jsonl"],
            "there is no file problem.jsonl; did you mean problems.jsonl?",
        ),
        (
            NUMBERS,
            ["columns.answer=gold"],
            "columns.answer=gold: problems.jsonl has no such column; it has question, answer",
        ),
        (NUMBERS, ["trainer.lr=1"], "trainer.lr=1: init takes columns.NAME=COLUMN only"),
        (NUMBERS, ["-o", "mine.yml"], "a recipe's name ends in .yaml"),
        (
            [{"question": f"{n}?", "options": ["one", "two"], "answer": "A"} for n in N],
            [],
            "has its options in a column of their own",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(
    rows: list[dict[str, Any]], words: list[str], says: str, init: Init
) -> None:
    code, out, err = init(rows, *words)
    assert (code, out) == (2, "") and err.count("\n") == 1 and says in err, err
    assert not Path("mine.yaml").exists()


def test_a_recipe_that_is_there_stays(init: Init) -> None:
    Path("mine.yaml").write_text("mine")
    code, _, err = init(NUMBERS)
    assert code == 2 and "mine.yaml exists" in err and Path("mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "which scores and does not write"),
        ({"is_encoder_decoder": True}, "is an encoder-decoder model"),
        ({"architectures": ["LlamaForCausalLM"]}, "there is no tokenizer in"),
    ],
)
def test_a_model_that_is_no_language_model_is_refused(config: dict[str, Any], says: str, init: Init) -> None:
    Path("other").mkdir()
    Path("other/config.json").write_text(json.dumps(config))
    code, _, err = init(NUMBERS, "--model", "other")
    assert code == 2 and says in err


def test_adapters_are_named_with_their_base(init: Init) -> None:
    Path("adapters").mkdir()
    Path("adapters/adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    code, _, err = init(NUMBERS, "--model", "adapters")
    assert code == 2 and "--model: adapters holds adapters of owner/base and no model" in err


@pytest.mark.parametrize(
    ("billions", "gpus", "gib", "lora"),
    [(0.5, 1, 80, False), (7, 8, 80, False), (7, 1, 80, True), (1.5, 0, 256, False)],
)
def test_adapters_where_the_weights_do_not_fit(billions: float, gpus: int, gib: int, lora: bool) -> None:
    rows = Rows(path="p.jsonl", count=5000, exact=True, raw=[], columns={}, rows=[], examples={})
    model = ModelFacts(given="m", tokenizer=None, parameters=int(billions * 1e9), positions=32768)
    task = Task(name="math", why="", verifier={"name": "math"}, key="math")
    sizes = sizes_of(rows, model, task, gpus, gib * 2**30)
    assert (sizes.lora, sizes.checkpointing) == (lora, lora)
    assert sizes.rate == (1e-5 if lora else 1e-6)
    assert ("LoRA" in sizes.memory) is lora
    assert sizes.prompts * sizes.steps >= 4 * sizes.prompts and sizes.holdout == 0.1


@pytest.mark.slow
def test_a_reward_function_is_found_and_asked_how_it_is_called(init: Init) -> None:
    Path("my_reward.py").write_text(
        "def helper(x):\n    return x\n\n"
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    return float(ground_truth in solution_str)\n"
    )
    code, out, err = init(NUMBERS, "--reward", "my_reward.py")
    assert code == 0 and "compute_score" in out and "is called as verl" in out, err
    recipe = compose.load("mine.yaml", [])
    assert isinstance(recipe, Recipe) and recipe.verifiers["reward"].function == "compute_score"
    code, _, err = init(NUMBERS, "--reward", "my_reward.py:score", "-o", "other.yaml")
    assert code == 2 and "has no function 'score'" in err and "it has helper, compute_score" in err


@pytest.mark.slow
def test_a_verifier_that_accepts_no_answer_is_not_chosen(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would be if it could not read the way in which it wants answers to be written."""
    monkeypatch.setattr(Math, "gold_responses", lambda self, answer, extra: {"other": ["\\boxed{9999}"]})
    code, _, err = init(NUMBERS)
    assert code == 2 and "the verifier math accepts 0 of 40 answers of problems.jsonl" in err
    assert not Path("mine.yaml").exists()
