"""Functions that an environment names: files beside the recipe, recorded with the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tools import Tools
from rlvr_cli.launch.started_code import code_of
from rlvr_cli.schema import Recipe

RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - environment@environments.calc: tools
  - verifier@verifiers.math: math
  - _self_
name: calls
data: {{ train: {{ environment: calc }} }}
environments: {{ calc: {{ functions: [{functions}], syntax: tags }} }}
"""


def composed(folder: Path, functions: str) -> Recipe:
    (folder / "calls.yaml").write_text(RECIPE.format(functions=functions))
    made = compose.load(str(folder / "calls.yaml"), [], "train")
    assert isinstance(made, Recipe)
    return made


def test_files_are_found_beside_the_recipe_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("import words\n")
    (tmp_path / "words.py").write_text("")
    recipe = composed(tmp_path, '"calc.py:add", "calc.py:sub", "json:dumps"')
    found = recipe.environments["calc"]
    assert isinstance(found, Tools)
    assert found.functions == [f"{tmp_path}/calc.py:add", f"{tmp_path}/calc.py:sub", "json:dumps"]
    folder = "environments.calc.functions.0"
    assert [(code.key, code.copy) for code in code_of(recipe)] == [
        (f"{folder}.file", f"{folder}/calc.py"),
        (f"{folder}.file/words.py", f"{folder}/words.py"),
    ]


REFUSED = [
    ("absent.py", r"^calls.yaml: environments.calc.functions: there is no file absent.py; looked in "),
    (
        "calc",
        r"^calls.yaml: environments.calc.functions: 'calc' is a module; say which function: calc:function$",
    ),
    (
        '"calc.py:"',
        r"environments.calc.functions: 'calc.py:' names no function; write file.py or file.py:fun",
    ),
]


@pytest.mark.parametrize(("functions", "said"), REFUSED)
def test_what_names_no_function_is_refused(tmp_path: Path, functions: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        composed(tmp_path, functions)
