"""The JSON schema lets right recipes pass and names what is wrong in others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from places import ROOT

from rlvr_cli import compose
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.documentation import DOCS, MODELINE, SCHEMA, editor_line
from rlvr_cli.reference import json_schema, markdown
from rlvr_cli.reference.pages import GENERATED

SCHEMA_TREE = json_schema.schema()
CHECK = Draft202012Validator(SCHEMA_TREE)
BODY = """\
defaults:
  - algorithm: dapo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - override algorithm/kl: loss
  - _self_
name: mine
"""
SFT = "defaults: [{algorithm: sft}, {model: tiny}, _self_]\nname: mine\n"


def tree(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(text), resolve=False)


def test_the_files_are_what_the_schema_makes() -> None:
    """`make reference` writes them."""
    assert SCHEMA.read_text(encoding="utf-8") == json_schema.text()
    assert (DOCS / GENERATED).read_text(encoding="utf-8") == markdown.page()
    Draft202012Validator.check_schema(SCHEMA_TREE)


@pytest.mark.parametrize("name", shipped_recipes.recipes())
def test_shipped_recipes_are_valid_and_name_the_schema(name: str) -> None:
    path = shipped_recipes.RECIPES / f"{name}.yaml"
    assert not list(CHECK.iter_errors(tree(path.read_text())))
    first = path.read_text().splitlines()[0]
    assert (
        first.startswith(MODELINE)
        and (path.resolve().parent / first.partition("$schema=")[2]).resolve() == SCHEMA.resolve()
    )
    assert not shipped_recipes.describe(path).startswith("yaml-language")
    assert editor_line().endswith(str(ROOT / "docs" / "recipe.schema.json"))


def test_resolved_recipes_are_valid() -> None:
    for made in (compose.load("tiny_dapo", []), compose.load("tiny_sft", [])):
        assert not list(CHECK.iter_errors(tree(compose.dump(made))))
    made = compose.load_eval(None, [], benches=["addition"], model="m")
    assert not list(CHECK.iter_errors(tree(compose.dump(made))))


@pytest.mark.parametrize(
    "text",
    [
        BODY,
        BODY + "trainer: {lr: 3e-6, steps: 7, offload: none}\nout: runs/${name}\nseed: ${oc.env:SEED}\n",
        BODY + "algorithm: {kl: {coef: 0.1}, loss: {name: clipped_weight, clip_ratio_high: 3}}\n",
        BODY + "stages: {late: {after: 10, lr: 1e-7, shaping: {name: stop_properly, coef: 0}}}\n",
        BODY + "verifiers: {mine: {name: of_a_plugin, anything: 3}}\n",
        "defaults: [dapo_qwen7b, {override model: my_own}, _self_]\nname: child\nbatch: {group_size: 4}\n",
        "defaults: [{bench@benches.gsm8k: gsm8k}, _self_]\nname: measure\nbenches: {gsm8k: {k: 4}}\n",
        SFT + "batch: {examples_per_step: 4}\neval: {every: 5, source: {path: x.jsonl}}\n",
    ],
)  # fmt: skip
def test_right_ones(text: str) -> None:
    assert [error.message for error in CHECK.iter_errors(tree(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        BODY + "trainer: {lrr: 1e-6}\n",
        BODY + "trainer: {steps: many}\n",
        BODY + "trainer: {steps: 1.5}\n",
        BODY + "trainer: {schedule: cosin}\n",
        BODY + "trainer: 3\n",
        BODY + "lr: 1\n",
        BODY + "rollout: {stop: end}\n",
        BODY + "batch: {examples_per_step: 4}\n",  # sft's
        BODY + "algorithm: {los: {name: clipped}}\n",
        BODY + "algorithm: {loss: {clip_hihg: 0.3}}\n",
        BODY + "algorithm: {loss: {name: reinforce, clip_ratio_high: 0.3}}\n",  # has no such key
        BODY + "verifiers: {math: {name: math, wieght: 1}}\n",
        BODY + "verifiers: {math: {name: match, units: ignore}}\n",
        BODY + "eval: {benches: {a: {kk: 1}}}\n",
        BODY + "data: {train: {columns: [a]}}\n",
        BODY.replace("- model:", "- modle:"),
        BODY.replace("algorithm/kl", "algorthm/kl"),
        "defaults: {algorithm: dapo}\nname: x\n",
        SFT + "batch: {group_size: 4}\n",
        SFT + "rollout: {max_tokens: 4}\n",
    ],
)
def test_wrong_ones(text: str) -> None:
    assert list(CHECK.iter_errors(tree(text)))


def test_editors_find_meanings_defaults_and_values() -> None:
    assert SCHEMA_TREE["$defs"]["rl"]["properties"]["trainer"]["$ref"] == "#/$defs/Trainer"
    trainer = SCHEMA_TREE["$defs"]["Trainer"]["properties"]
    assert trainer["zero_stage"]["default"] == 2 and "shards" in trainer["zero_stage"]["description"]
    assert {"enum": ["constant", "linear", "cosine"]} in trainer["schedule"]["anyOf"]
    groups = SCHEMA_TREE["$defs"]["defaults"]["items"]["anyOf"][0]["properties"]
    assert "dapo" in groups["algorithm"]["anyOf"][0]["enum"]
    assert "leave_one_out" in groups["override algorithm/advantage"]["anyOf"][0]["enum"]
    names = SCHEMA_TREE["$defs"]["verifier"]["properties"]["name"]["anyOf"]
    assert {"math", "judge"} <= {each.get("const") for each in names}
    assert len(json.dumps(SCHEMA_TREE)) < 300_000
