"""`benches.<name>.tracked`: a section for each verifier, and those alone that look at a response."""

from __future__ import annotations

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Recipe
from rlvr_cli.verifiers.contains import Contains

KEY = "eval.benches.addition.tracked"

pytestmark = pytest.mark.slow


def test_a_recipe_and_its_dump_have_tracked_verifiers(tmp_path) -> None:
    given = [f"+verifier@{KEY}.code=contains", f"{KEY}.code.text=carry"]
    recipe = compose.load("tiny_dapo", given)
    assert isinstance(recipe, Recipe)
    assert recipe.eval.benches["addition"].tracked == {"code": Contains(text="carry")}
    compose.save(recipe, tmp_path / "recipe.yaml")
    assert compose.read(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [f"+verifier@{KEY}.right=math"],
            "math reads gold answers, and only",
        ),
        ([f"+verifier@{KEY}.vote=majority"], "majority judges more than one response by itself"),
        ([f"+verifier@{KEY}.chance=random"], "random judges more than one response by itself"),
        ([f"+{KEY}.good={{name: judge, base_url: http://h/v1, model: m}}"], "judge asks another program"),
        ([f"+{KEY}.code={{name: containz}}"], "there is no 'containz'"),
        ([f"+{KEY}={{my-code: {{name: contains}}}}"], "a metric is called so; use letters, digits and _"),
    ],
)
def test_what_needs_more_than_a_response_is_refused_in_one_line(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        compose.load("tiny_dapo", given)
    assert "\n" not in str(caught.value)


def test_the_shipped_recipes_track_code_and_language() -> None:
    for name in ("spurious_qwen2.5_math_7b", "spurious_llama3.1_8b"):
        recipe = compose.load(name, [])
        assert isinstance(recipe, Recipe)
        tracked = recipe.eval.benches["math500"].tracked
        assert {key: each.name for key, each in tracked.items()} == {
            "code": "contains",
            "language": "language",
        }
