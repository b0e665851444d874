"""Mistakes found only once the model's tokenizer is loaded: still one line, exit code 2, nothing left."""

from dataclasses import replace
from pathlib import Path

import pytest
from run_helpers import rlvr

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.problems import load_problems

CASES = {
    "empty file": ("", [], ["train", "is empty"]),
    "malformed row": ('{"prompt": "1+1=", "answer": "2"}\n{"prompt": "2+\n', [], ["train.jsonl", "2"]),
    "missing answer": ('{"prompt": "1+1="}\n', [], ["answer", "prompt"]),
    "wrong column": ('{"q": "1+1=", "a": "2"}\n', ["+data.train.columns={prompt: qq, answer: a}"], ["qq"]),
    "empty prompt": ('{"prompt": "1", "answer": "2"}\n{"prompt": "", "answer": "2"}\n', [], ["row 2"]),
    "all too long": ('{"prompt": "' + "1" * 40 + '", "answer": "2"}\n', [], ["rollout.max_prompt_tokens"]),
    "system without template": (
        '{"prompt": "1+1=", "answer": "2"}\n',
        ["data.train.system=Add.", "model.path=plain"],
        ["chat template"],
    ),
    "messages without template": (
        '{"prompt": [{"role": "user", "content": "1+1="}], "answer": "2"}\n',
        ["model.path=plain"],
        ["chat template"],
    ),
}


def plain_model(folder: Path, source: Path) -> None:
    """The tiny model without its chat template."""
    import shutil

    shutil.copytree(source, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def prepared(case: str, folder: Path, tiny: Path) -> tuple[list[str], list[str]]:
    """Overrides of the case, for a process in `folder`, and the words its message must have."""
    content, overrides, says = CASES[case]
    (folder / "train.jsonl").write_text(content)
    plain_model(folder / "plain", tiny)
    return ["data.train.path=train.jsonl", "data.train.chat=auto", "out=run", *overrides], says


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_said_in_one_line(case, tmp_path, tiny_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides, says = prepared(case, tmp_path, tiny_path)
    recipe = compose.load("smoke", overrides, "grpo")
    model = recipe.model if recipe.model.path == "plain" else replace(recipe.model, path=str(tiny_path))
    with pytest.raises(UserError) as caught:
        load_problems(recipe, load_tokenizer(model), NullTracker())
    assert "\n" not in str(caught.value)
    for words in says:
        assert words in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["malformed row", "messages without template"])
def test_the_command_says_it_and_leaves_nothing(case, tmp_path, tiny_path, monkeypatch):
    overrides, says = prepared(case, tmp_path, tiny_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    done = rlvr("grpo", "smoke", *overrides, timeout=120)
    errors = [line for line in done.stderr.splitlines() if line.startswith("rlvr: error")]
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(errors) == 1 and "Traceback" not in done.stderr + done.stdout
    for words in says:
        assert words in errors[0], errors[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == before
