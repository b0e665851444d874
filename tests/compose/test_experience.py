"""What a recipe of experiences may not say."""

from __future__ import annotations

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.experience.wordings import NEEDED, Wordings
from rlvr_cli.schema import Editor, Experience, ExperienceBatch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("lm_eval=true", "lm_eval is for rlvr eval"),
        ("contamination=0.5", "contamination is for rlvr eval"),
        ("ranks=2", "ranks is 2, and one process asks all"),
        ("rollout.tensor_parallel=2", "tensor_parallel"),
        ("data.train.shots=2", "data.train.shots is 2"),
        ("data.train.environment=game", "data.train.environment has no use"),
        ("~data.train", "data is empty"),
        ("algorithm.ground_truth=false", "verifiers.math (math) compares with gold answers"),
        ("algorithm.form=paper", "algorithm.form"),
        ("algorithm.kl.coef=1", "kl"),
        ("batch.group_size=1", "batch.group_size is 1; it must be at least 2"),
        ("editor.model=x", "editor.model is set, and editor.url is null"),
    ],
)
def test_refused(override: str, says: str) -> None:
    given = ["+verifier@verifiers.math=math", "data.train.verifiers=[math]", "~verifiers.chance", override]
    with pytest.raises(UserError) as caught:
        compose.load("tiny_experience", given, "experience")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_no_verifier_selects_among_rollouts() -> None:
    with pytest.raises(UserError, match="select is for rlvr eval"):
        compose.load(
            "tiny_experience", ["select.by=otv", "select.verifier=runs/x", "rollout=hf"], "experience"
        )


def test_each_section_says_what_it_does_not_take() -> None:
    for section, key, value in (
        (Experience, "steps", 0),
        (Experience, "attempts", 0),
        (Experience, "max_words", 0),
        (Experience, "call_budget", 0),
        (ExperienceBatch, "problems", 0),
        (Editor, "max_tokens", 0),
        (Editor, "temperature", -1.0),
    ):
        with pytest.raises(ValueError, match=f"{key} is {value}"):
            section(**{key: value})
    with pytest.raises(ValueError, match="must begin with http"):
        Editor(url="localhost", model="m")
    with pytest.raises(ValueError, match=r"editor\.model is not set"):
        Editor(url="http://localhost")


def test_an_experience_recipe_is_no_other_kind() -> None:
    with pytest.raises(UserError, match="is a recipe of experience: run `rlvr experience tiny_experience`"):
        compose.load("tiny_experience", [], "dapo")
    with pytest.raises(UserError, match="is a recipe of dapo: run `rlvr dapo tiny_dapo`"):
        compose.load("tiny_dapo", [], "experience")


def test_prompts_of_ones_own_keep_their_places(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    for name, text, says in (
        ("sumary.txt", "x", "no prompt; did you mean 'summary'"),
        ("summary.txt", "{problem} {grade}", "lacks {response}"),
    ):
        path = folder / name
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            Wordings(str(folder), {})
        assert says in str(caught.value)
        path.unlink()
    with pytest.raises(UserError, match="has no prompt"):
        Wordings(str(folder), {})
    with pytest.raises(UserError, match="there is no folder"):
        Wordings(str(folder / "none"), {})
    packaged = Wordings(None, {})
    for name, places in NEEDED.items():
        assert all(f"{{{place}}}" in packaged.text(name) for place in places), name
    (folder / "again.txt").write_text("No: {fault}\n")
    mine = Wordings(str(folder), {"fault": "never"})
    assert mine.filled("again", fault="{fault}") == "No: {fault}"
    assert mine.text("summary") == packaged.text("summary")
