"""Recipes: layers, groups, inheritance, what is refused and how, dumps."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from places import GOLDEN

from rlvr_cli import algorithms, compose, environments, verifiers
from rlvr_cli.compose import algorithm, files
from rlvr_cli.compose.overrides import parse
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import (
    DistillationRecipe,
    EvalRecipe,
    ExperienceRecipe,
    OTVRecipe,
    PreferenceRecipe,
    Recipe,
    RewardModelRecipe,
    RolloutEngine,
    SFTRecipe,
    derived,
)

KEYS = GOLDEN / "schema_keys.txt"
BODY = """\
defaults:
  - algorithm: dapo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - _self_
name: base
"""


def test_a_shipped_recipe_is_composed_once_and_not_shared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second is not what the first was made into, and an edited file is read anew."""
    (tmp_path / "edited.yaml").write_text(BODY)
    monkeypatch.setattr(shipped_recipes, "RECIPES", tmp_path)
    first = files.compose(tmp_path / "edited.yaml", parse([]))
    first["data"]["train"]["problems"] = -1
    hits = files._composed.cache_info().hits
    second = files.compose(tmp_path / "edited.yaml", parse([]))
    assert files._composed.cache_info().hits == hits + 1
    assert second["data"]["train"].get("problems") != -1
    (tmp_path / "edited.yaml").write_text(BODY.replace("base", "other"))
    assert files.compose(tmp_path / "edited.yaml", parse([]))["name"] == "other"


def test_a_recipe_of_ones_own_is_composed_once_until_an_entry_stands_beside_it(tmp_path: Path) -> None:
    """Also one it inherits from, and one that is edited, is read anew."""
    (tmp_path / "base.yaml").write_text(BODY)
    (tmp_path / "mine.yaml").write_text("defaults: [base, _self_]\nname: mine\n")

    def composed() -> tuple[dict[str, Any], bool]:
        hits = files._composed.cache_info().hits
        return files.compose(tmp_path / "mine.yaml", parse([])), files._composed.cache_info().hits > hits

    (first, _), (second, kept) = composed(), composed()
    assert kept and first == second and second["model"]["path"] == "builtin:tiny"
    (tmp_path / "base.yaml").write_text(BODY.replace("name: base", "seed: 7"))
    (third, kept) = composed()
    assert not kept and third["seed"] == 7
    (tmp_path / "model").mkdir()
    for path in ("beside", "edited"):
        (tmp_path / "model" / "tiny.yaml").write_text(f"path: {path}\n")
        fourth, kept = composed()
        assert not kept and fourth["model"] == {"path": path}


def test_kinds_without_a_preset_have_a_schema() -> None:
    assert tuple(algorithm.WITHOUT_PRESET) == shipped_recipes.WITHOUT_PRESET


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "mine.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture(scope="module")
def tiny_dapo() -> Recipe:
    recipe = compose.load("tiny_dapo", [])
    assert isinstance(recipe, Recipe)
    return recipe


def refused(path: str | None, *overrides: str, verb: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        compose.load(path, list(overrides), verb)
    message = str(caught.value)
    assert "\n" not in message and "full_key" not in message and "object_type" not in message
    return message


def test_layers_schema_group_recipe_override(write: Any) -> None:
    recipe = compose.load(write(BODY + "trainer: {lr: 3e-6}\n"), ["trainer.steps=7"])
    assert isinstance(recipe, Recipe)
    assert recipe.algorithm.loss.clip_ratio_high == 0.28  # preset
    assert recipe.model.path == "builtin:tiny"  # group
    assert (recipe.trainer.lr, recipe.trainer.steps, recipe.trainer.zero_stage) == (3e-6, 7, 2)
    assert recipe.out == "runs/base"
    assert type(recipe.algorithm.loss) is algorithms.options("loss")["clipped"]
    assert type(recipe.verifiers["math"]) is verifiers.find("math")


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes.recipes())
def test_shipped_recipe_composes_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    recipe = compose.load(name, [])
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    compose.save(recipe, first)
    again = compose.load(str(first), [])
    compose.save(again, second)
    assert again == recipe == compose.read(first)
    assert first.read_bytes() == second.read_bytes()
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert all("\n" not in number for number in derived.derive(recipe).values())


@pytest.mark.slow
def test_a_trainer_sleeps_only_where_it_makes_room() -> None:
    assert compose.load("tiny_dapo", ["trainer.sleep=true"]).trainer.sleep
    assert "set rollout.sleep=true" in refused("tiny_dapo", "trainer.sleep=true", "rollout.sleep=false")
    offloaded = ("trainer.zero_stage=3", "trainer.offload=all")
    assert "no use with trainer.offload=all" in refused("tiny_dapo", "trainer.sleep=true", *offloaded)
    assert "sft samples nothing" in refused("tiny_sft", "trainer.sleep=true", verb="sft")


@pytest.mark.slow
def test_an_fp32_head_is_for_runs_that_are_not_fp32_throughout() -> None:
    head, bf16 = "model.fp32_head=true", "trainer.precision=bf16"
    assert "model.fp32_head has no use" in refused("tiny_dapo", head)
    assert "model.fp32_head has no use" in refused("tiny_sft", head, verb="sft")
    assert compose.load("tiny_dapo", [head, bf16]).model.fp32_head
    assert compose.load("tiny_dapo", [head, "rollout.dtype=bf16"]).model.fp32_head


@pytest.mark.slow
def test_a_dump_takes_values_and_options_but_no_groups(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    compose.save(compose.load("tiny_dapo", []), path)
    changed = compose.load(str(path), ["trainer.steps=3", "algorithm/loss=sequence_ratio"])
    assert changed.trainer.steps == 3
    assert changed.algorithm.loss == algorithms.options("loss")["sequence_ratio"]()
    assert "names no groups (it is resolved)" in refused(str(path), "algorithm=rloo")
    assert "model=tiny: recipe.yaml names no groups" in refused(str(path), "model=tiny")
    assert "did you mean 'trainer.lr'" in refused(str(path), "trainer.lrr=1")
    text = path.read_text().replace("clip_ratio_high", "clip_ratio_hgih")
    path.write_text(text)
    assert "recipe.yaml: unknown key 'algorithm.loss.clip_ratio_hgih'" in refused(str(path))


def test_a_dump_keeps_text_that_looks_like_an_interpolation(write: Any, tmp_path: Path) -> None:
    path = write(BODY + 'data: {train: {prompt: "cost \\\\${x} $y {prompt}"}}\n')
    recipe = compose.load(path, [])
    assert recipe.data["train"].prompt == "cost ${x} $y {prompt}"
    compose.save(recipe, tmp_path / "dump.yaml")
    assert compose.read(tmp_path / "dump.yaml") == recipe


@pytest.mark.slow
@pytest.mark.parametrize("preset", shipped_recipes.presets())
def test_every_preset_fits_tiny_dapo(preset: str) -> None:
    taught = {
        "opd": ["teacher.path=runs/teacher"],
        "gkd": ["teacher.path=runs/teacher"],
        "sdft": ["teacher.policy=ema", "teacher.context=demonstration", "teacher.column=answer"],
        "sdpo": ["teacher.policy=ema", "teacher.context=sibling"],
    }
    recipe = compose.load("tiny_dapo", [f"algorithm={preset}", *taught.get(preset, [])], preset)
    assert recipe.algorithm.name == preset
    without = compose.load(None, [], preset)
    assert without.name == f"tiny_{preset}" and without.algorithm.name == preset
    own = without.name in shipped_recipes.recipes() or preset == "gkd"
    if not own:  # else a recipe of its own may change the preset: tiny_distill takes the reverse KL
        assert without.algorithm == recipe.algorithm


@pytest.mark.slow
@pytest.mark.parametrize("axis", algorithms.AXES)
def test_every_option_of_an_axis_can_be_swapped_in(axis: str, tiny_dapo: Recipe) -> None:
    preset = tiny_dapo.algorithm
    for name, option in algorithms.options(axis).items():
        try:
            recipe = compose.load("tiny_dapo", [f"algorithm/{axis}={name}"])
        except UserError as error:  # combinations refused by algorithms.check name the axis
            assert f"{axis}={name}" in str(error) or f"algorithm.{axis}." in str(error)
            continue
        same = getattr(preset, axis).name == name
        assert getattr(recipe.algorithm, axis) == (getattr(preset, axis) if same else option())


@pytest.mark.slow
def test_another_option_starts_from_its_own_values(write: Any) -> None:
    parent = write(
        BODY + "algorithm: {loss: {clip_ratio_high: 0.5, dual_clip: 3.0}, filter: {metric: reward}}\n"
    )
    swapped = compose.load(parent, ["algorithm/loss=clipped_weight"])
    assert swapped.algorithm.loss == algorithms.options("loss")["clipped_weight"]()
    assert compose.load(parent, ["algorithm.loss.name=clipped_weight"]) == swapped
    assert compose.load(parent, ["algorithm.loss=clipped_weight"]) == swapped
    valued = compose.load(parent, ["algorithm.loss.clip_ratio_high=2.5", "algorithm/loss=clipped_weight"])
    assert valued.algorithm.loss.clip_ratio_high == 2.5
    child = write(
        "defaults: [mine, {override algorithm/loss: clipped_weight}, _self_]\nname: child\n"
        "algorithm: {loss: {clip_ratio_low: 0.9}}\n",
        "child.yaml",
    )
    loss = compose.load(child, []).algorithm.loss
    assert (loss.name, loss.clip_ratio_low, loss.clip_ratio_high) == ("clipped_weight", 0.9, 4.0)
    other = compose.load(parent, ["algorithm=grpo"])
    assert other.algorithm.loss.clip_ratio_high == 0.5  # written for the same option
    assert other.algorithm.filter.name == "none"
    named = write(BODY + "algorithm: {loss: {name: clipped_weight}}\n", "named.yaml")
    assert compose.load(named, []).algorithm.loss == algorithms.options("loss")["clipped_weight"]()


def test_values_stay_with_the_option_they_were_written_for(write: Any) -> None:
    """The same clip range means something else to another loss."""
    text = "algorithm: {loss: {clip_ratio_high: 0.5}, gradient: {max_norm: 0.7}}\n"
    path = write(BODY.replace("dapo", "grpo") + text)
    swapped = compose.load(path, ["algorithm/loss=clipped_weight"]).algorithm
    assert swapped.loss == algorithms.options("loss")["clipped_weight"]()
    assert (swapped.gradient.name, swapped.gradient.max_norm) == ("global_clip", 0.7)


def test_a_section_on_the_command_line_leaves_the_keys_it_does_not_name(write: Any) -> None:
    recipe = compose.load(write(BODY + "trainer: {lr: 3e-6, steps: 9}\n"), ["trainer={steps:7}"])
    assert (recipe.trainer.lr, recipe.trainer.steps) == (3e-6, 7)


@pytest.mark.slow
def test_groups_from_the_command_line(write: Any) -> None:
    recipe = compose.load(
        write(BODY),
        ["model=qwen2.5_0.5b", "rollout=hf", "trainer=zero3", "+verifier@verifiers.format=format"],
    )
    assert recipe.model.path == "Qwen/Qwen2.5-0.5B"
    assert recipe.rollout.engine is RolloutEngine.hf
    assert recipe.trainer.zero_stage == 3
    assert set(recipe.verifiers) == {"math", "format"}
    swapped = compose.load(write(BODY), ["data@data.train=chain", "bench@eval.benches.chain=chain"])
    assert (
        swapped.data["train"].path == "synthetic:chain"
        and swapped.eval.benches["chain"].verifier.name == "math"
    )
    removed = compose.load("tiny_dapo", ["~eval.benches.addition"])
    assert isinstance(removed, Recipe) and removed.eval.benches == {}


def test_inheritance_also_from_shipped_recipes(write: Any) -> None:
    write(BODY + "trainer: {steps: 5, lr: 2e-5}\n", "base.yaml")
    child = write(
        "defaults: [base, {override model: qwen2.5_1.5b}, _self_]\nname: child\ntrainer: {steps: 6}\n"
    )
    recipe = compose.load(child, [])
    assert (recipe.name, recipe.trainer.steps, recipe.trainer.lr) == ("child", 6, 2e-5)
    assert recipe.model.path == "Qwen/Qwen2.5-1.5B"
    mine = compose.load(
        write("defaults: [dapo_qwen7b, _self_]\nname: m\nbatch: {group_size: 4}\n"), [], "dapo"
    )
    assert (mine.batch.group_size, mine.batch.prompts_per_step, mine.algorithm.loss.dual_clip) == (
        4,
        512,
        10.0,
    )


def test_private_group_entry_beside_the_recipe(write: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("path: /models/mine\n")
    assert compose.load(write(BODY.replace("model: tiny", "model: mine")), []).model.path == "/models/mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "algorithm: {loss: {clip_hihg: 0.3}}",
            "mine.yaml: unknown key 'algorithm.loss.clip_hihg'; did you mean",
        ),
        ("lr: 1", "unknown key 'lr'; did you mean 'trainer.lr'?"),
        (
            "trainer: {steps: many}",
            "mine.yaml: trainer.steps: Value 'many' of type 'str' could not be converted",
        ),
        ("trainer: 3", "mine.yaml: trainer: 3 is no section of keys"),
        ("model: qwen", "named in the defaults list: `- model: qwen`"),
        ("eval: 3", "mine.yaml: eval is '3'; it must be a section of keys"),
        ("data: {train: {verifiers: [mth]}}", "'mth' is not in verifiers; did you mean 'math'?"),
        ("data: {train: {verifiers: []}}", "data.train.verifiers is empty; name at least one of: math"),
        ("verifiers: {math: {extraction: bxed}}", "expected one of [boxed, answer_line"),
        ("verifiers: {x: {weight: 1}}", "verifiers.x must be a section with a name"),
        ("rollout: {stop: end}", "rollout.stop: it must be a list"),
        ("hydra: {run: 1}", "unknown key 'hydra'"),
        ("out: .", "out is '.'; it must be a directory of its own"),
        ("batch: {prompts_per_step: 3, updates_per_step: 2}", "must divide"),
        ("trainer: {steps: 1", "line 9: not valid YAML"),
        ("algorithm: {loss: clipped}", "named in the defaults list: `- override algorithm/loss: clipped`"),
    ],
)
def test_mistakes_in_a_file(write: Any, text: str, says: str) -> None:
    assert says in refused(write(BODY + text + "\n"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (BODY.replace("dapo", "dappo"), "mine.yaml: there is no algorithm 'dappo'; did you mean 'dapo'?"),
        (
            BODY.replace("@data.train: addition", "@data.train: adition"),
            "no data 'adition'; did you mean 'addition'?",
        ),
        (BODY.replace("  - algorithm: dapo\n", ""), "no algorithm is named; add e.g. `- algorithm: dapo`"),
        (BODY.replace("  - data@data.train: addition\n", ""), "mine.yaml: data is empty"),
        (BODY.replace("- model", "- model: tiny\n  - model"), "`- override model: ...`"),
        (
            BODY.replace("- model: tiny", "- override algorithm/kl: none\n  - model: tiny"),
            "must stand behind",
        ),
        ("defaults: [dapo_qwen8b, _self_]\n", "no recipe 'dapo_qwen8b'; did you mean 'dapo_qwen7b'?"),
        ("defaults: [mine, _self_]\n", "inherits from itself"),
        ("defaults: {algorithm: dapo}\n", "defaults must be a list"),
        ("- 1\n", "a recipe is a list of `key: value`"),
        (BODY.replace("base", "a/b"), "use letters, digits"),
        (BODY.replace("  - model: tiny\n", ""), "mine.yaml: required keys are not set: model.path"),
        (BODY.replace("name: base", ""), "required keys are not set: name"),
        (BODY + "trainer:\n  steps: ???\n", "mine.yaml: required keys are not set: trainer.steps"),
    ],
)
def test_mistakes_in_the_defaults(write: Any, body: str, says: str) -> None:
    assert says in refused(write(body))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.lrr=1", "command line: unknown key 'trainer.lrr'; did you mean 'trainer.lr'?"),
        ("+trainer.lrr=1", "command line: unknown key 'trainer.lrr'; did you mean 'trainer.lr'?"),
        ("++algorithm.loss.clip_hihg=1", "did you mean 'algorithm.loss.clip_ratio_high'?"),
        ("+verifiers.math.wieght=2", "did you mean 'verifiers.math.weight'?"),
        ("eval.benches.addition.kk=2", "did you mean 'eval.benches.addition.k'?"),
        ("eval.benches.addition.verifier.wight=2", "did you mean 'eval.benches.addition.verifier.weight'?"),
        ("trian.lr=1", "did you mean 'trainer'?"),
        ("trainer.steps=1.5", "command line: trainer.steps: Value '1.5' of type 'float'"),
        ("trainer.steps=0", "command line: trainer.steps is 0; it must be at least 1"),
        ("algorithm=dappo", "command line: there is no algorithm 'dappo'; did you mean 'dapo'?"),
        ("model=nope", "command line: there is no model 'nope'; available: qwen2.5_0.5b"),
        ("algorithm/loss=clippd", "algorithm.loss.name: there is no 'clippd'; did you mean 'clipped'?"),
        (
            "algorithm.loss={name:clipped,clip_hihg:1}",
            "command line: unknown key 'algorithm.loss.clip_hihg'; did you mean",
        ),
        ("trainer={step:3}", "command line: unknown key 'trainer.step'; did you mean 'trainer.steps'?"),
        ("model.tiny={layers:two}", "command line: model.tiny.layers: Value 'two' of type 'str'"),
        ("algorithm/los=clipped", "algorithms have no part 'los'; did you mean 'loss'?"),
        ("verifiers.math.name=mth", "verifiers.math.name: there is no 'mth'; did you mean 'math'?"),
        ("foo", "expected key=value"),
        ("model.path=/ckpt/step=100", "as text it is written 'model.path=\"/ckpt/step=100\"'"),
        ("trainer.lr=1e-6,2e-6", "a run takes one value"),
        ("~trainer.foo", "there is no such key to remove"),
        ("seed=${nope}", "'nope' not found"),
    ],
)
def test_mistakes_on_the_command_line(override: str, says: str) -> None:
    assert says in refused("tiny_dapo", override)


def test_quoted_text_may_hold_equals_signs() -> None:
    assert compose.load("tiny_dapo", ["model.path='/ckpt/step=100'"]).model.path == "/ckpt/step=100"


def test_the_verb_must_fit() -> None:
    assert (
        refused("dapo_qwen7b", verb="grpo") == "dapo_qwen7b is a recipe of dapo: run `rlvr dapo dapo_qwen7b`"
    )
    assert "run `rlvr sft tiny_sft`" in refused("tiny_sft", verb="dapo")
    assert isinstance(compose.load("tiny_sft", [], "train"), SFTRecipe)
    assert "no recipe tiny_dap: neither a file nor a shipped recipe; did you mean 'tiny_dapo'?" in refused(
        "tiny_dap"
    )


def test_eval_recipes() -> None:
    recipe = compose.load_eval(
        None,
        ["benches.gsm8k.max_tokens=99", "benches.gsm8k.temperature=0.7"],
        benches=["gsm8k", "addition"],
        model="m",
        k=3,
        data="mine.jsonl",
    )
    assert isinstance(recipe, EvalRecipe) and list(recipe.benches) == ["gsm8k", "addition"]
    bench = recipe.benches["gsm8k"]
    assert (bench.k, bench.max_tokens, bench.source.path, bench.source.config) == (3, 99, "mine.jsonl", None)
    assert "boxed" in bench.source.prompt and bench.source.split == "train"
    for arguments, says in (
        ({"benches": ["gsm8"], "model": "m"}, "there is no bench 'gsm8'; did you mean 'gsm8k'?"),
        ({"benches": ["aime24"]}, "--model PATH --bench NAME"),
        ({"model": "m"}, "--model PATH --bench NAME"),
    ):
        with pytest.raises(UserError, match=says.replace("?", "\\?")):
            compose.load_eval(None, [], **arguments)
    with pytest.raises(UserError, match="is a training recipe"):
        compose.load_eval("tiny_dapo", [], benches=["addition"], model="m")


def test_keys_of_the_command_line_hold_for_the_data_given_with_them() -> None:
    """`--data` puts another source in the place of the bench's; the keys speak of the one that is read."""
    given: list[str] = ["benches.gsm8k.source.split=validation", "benches.gsm8k.source.limit=5"]
    recipe = compose.load_eval(None, given, benches=["gsm8k"], model="m", data="mine.jsonl")
    source = recipe.benches["gsm8k"].source
    assert (source.path, source.split, source.limit) == ("mine.jsonl", "validation", 5)


def test_a_pass_rate_takes_as_many_samples_as_there_are() -> None:
    def pass_at(j: int) -> list[int]:
        asked = [f"benches.addition.pass_at=[1,{j}]"]
        return (
            compose.load_eval(None, asked, benches=["addition"], model="m", k=3).benches["addition"].pass_at
        )

    assert pass_at(3) == [1, 3]
    for j in (0, 4):
        with pytest.raises(
            UserError, match=rf"benches\.addition\.pass_at asks for pass@{j}, which takes 1 to k = 3"
        ):
            pass_at(j)


@pytest.mark.slow
@pytest.mark.parametrize("bench", shipped_recipes.options("bench"))
def test_every_bench_composes_and_survives_the_round_trip(bench: str, tmp_path: Path) -> None:
    recipe = compose.load_eval(None, [], benches=[bench], model="m")
    assert recipe.benches[bench].note and recipe.benches[bench].verifier.name in verifiers.names()
    compose.save(recipe, tmp_path / "recipe.yaml")
    assert compose.read(tmp_path / "recipe.yaml") == recipe


@pytest.mark.slow
@pytest.mark.parametrize("group", ["model", "rollout", "trainer"])
def test_every_group_entry_composes(group: str) -> None:
    for entry in shipped_recipes.options(group):
        assert compose.load("tiny_dapo", [f"{group}={entry}"]).name == "tiny_dapo"


@pytest.mark.slow
def test_every_source_and_every_verifier_composes() -> None:
    """All in one recipe, each under its own name."""
    given = {
        "judge": ["base_url=http://localhost/v1", "model=m"],
        "reward_model": ["path=m"],
        "vlaa_open": ["path=m"],
        **{name: ["boxes=pixels"] for name in ("iou", "detection", "pointing", "vlaa")},
        "remote": ["url=http://localhost"],
        "python": ["module=json", "function=loads"],
        "rubric": ["base_url=http://localhost/v1", "model=m"],
        "pairwise": ["base_url=http://localhost/v1", "model=m"],
    }
    sources, judges = shipped_recipes.options("data"), shipped_recipes.options("verifier")
    overrides = [f"+data@data.{name}={name}" for name in sources]
    overrides += [f"data.{name}.verifiers=[math]" for name in sources]  # sources for sft name none
    overrides += [f"+verifier@verifiers.{name}={name}" for name in judges if name != "math"]
    overrides += [f"verifiers.{name}.{pair}" for name, pairs in given.items() for pair in pairs]
    recipe = compose.load("tiny_dapo", overrides)
    assert set(recipe.data) == {"train", *sources} and set(recipe.verifiers) == set(judges)


def keys(cls: type, prefix: str) -> list[str]:
    """Dotted keys of a schema class with type and default."""
    found: list[str] = []
    schema = OmegaConf.structured(cls)
    for field in fields(cls):
        node = schema._get_node(field.name)
        nested = node is not None and node._metadata.object_type
        if is_dataclass(nested):
            found += keys(nested, f"{prefix}{field.name}.")
        else:
            default = (
                "???" if node._is_missing() else OmegaConf.to_container(schema, enum_to_str=True)[field.name]
            )
            found.append(f"{prefix}{field.name}: {field.type} = {default!r}")
    return found


def test_every_key_is_in_the_golden_list() -> None:
    """A new knob is a reviewed change: run as a program, this file writes the list anew."""
    assert KEYS.read_text().splitlines() == golden()


def golden() -> list[str]:
    lines = keys(Recipe, "rl.") + keys(SFTRecipe, "sft.") + keys(EvalRecipe, "eval.")
    lines += keys(PreferenceRecipe, "preference.") + keys(RewardModelRecipe, "reward_model.")
    lines += keys(DistillationRecipe, "distillation.")
    lines += keys(ExperienceRecipe, "experience.")
    lines += keys(OTVRecipe, "otv.")
    for axis in algorithms.PARTS:
        for name, option in sorted(algorithms.options(axis).items()):
            lines += keys(option, f"algorithm.{axis}={name}.")
    for name in verifiers.names():
        lines += keys(verifiers.find(name), f"verifier={name}.")
    for name, environment in environments.known().items():
        lines += keys(environment, f"environment={name}.")
    return lines


@pytest.mark.slow
def test_composing_imports_no_torch() -> None:
    code = (
        "import sys; from rlvr_cli import compose; compose.load('tiny_dapo', []);"
        "heavy = {'torch', 'transformers', 'vllm', 'deepspeed', 'datasets', 'wandb'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    KEYS.write_text("\n".join(golden()) + "\n")
