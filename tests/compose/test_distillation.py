"""A teacher and the axis that uses it: what cannot go together is refused in one line."""

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.shipped_recipes import default_recipe
from rlvr_cli.schema import DistillationRecipe, TeacherPolicy
from rlvr_cli.schema.derived import derive

REWARD, LOSS = "algorithm/distillation=reward", "algorithm/distillation=loss"
SERVER = "teacher.url=http://localhost:1/v1"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([REWARD], "algorithm.distillation=reward needs a teacher; set teacher.path"),
        (["teacher.path=there"], "teacher is set, and algorithm.distillation=none does not use it"),
        (["teacher.ema=0.1"], "teacher.ema is set, and there is no teacher"),
        (["data.train.teacher_weight=0.5"], "data.train.teacher_weight is set, and there is no teacher"),
        (["eval.benches.addition.source.teacher_weight=2"], "no teacher is asked here"),
        ([REWARD, "teacher.path=a", "teacher.policy=ema"], "teacher.policy is set beside teacher.path"),
        ([REWARD, "teacher.policy=live"], "it has nothing to teach"),
        ([REWARD, "teacher.path=a", "data.train.teacher_weight=0"], "teaches nothing"),
        ([REWARD, "teacher.path=a", "data.train.teacher_weight=-1"], "teacher_weight is -1.0"),
        ([LOSS, "teacher.path=a", "trainer.sequence_parallel=2"], "compares whole rows"),
        (
            [
                LOSS,
                "teacher.policy=ema",
                "teacher.context=sibling",
                "batch.group_size=1",
                "algorithm/advantage=reinforce",
            ],
            "teacher.context=sibling shows another answer of the group",
        ),
        ([LOSS, SERVER], "algorithm.distillation.top_k is null"),
        ([LOSS, SERVER, "algorithm.distillation.top_k=8"], "divergence=reverse compares the policy's"),
        ([REWARD, SERVER, "rollout.temperature=0.7"], "rollout.temperature is 0.7"),
        ([REWARD, "teacher.url=localhost"], "it must begin with http"),
        (
            [REWARD, "teacher.path=a", "algorithm.distillation.top_k=8"],
            "algorithm.distillation=reward has none",
        ),
    ],
)
def test_what_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        compose.load("smoke", overrides, "train")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [REWARD, SERVER],
        [LOSS, SERVER, "algorithm.distillation.top_k=8", "algorithm.distillation.divergence=forward"],
        [LOSS, SERVER, "algorithm.distillation.top_k=8", "algorithm.distillation.support=teacher"],
        [REWARD, "teacher.path=a", "batch.group_size=1", "algorithm/advantage=reinforce"],
    ],
)
def test_what_is_not(overrides: list[str]) -> None:
    assert compose.load("smoke", overrides, "train").algorithm.distillation.needs_teacher


DATA = ["algorithm=kd", "teacher.path=a"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm=kd"], "needs a teacher; set teacher.path, teacher.policy or teacher.url, or train with"),
        ([*DATA, REWARD], "algorithm.distillation=reward: kd compares distributions on data"),
        ([*DATA, "algorithm/distillation=none"], "or `rlvr sft` without a teacher"),
        ([*DATA, "algorithm.distillation.ratio_cap=2"], "algorithm.distillation.ratio_cap is 2"),
        (["algorithm=kd", "teacher.policy=ema"], "teacher.policy=ema follows a policy"),
        (["algorithm=kd", "teacher.policy=live"], "set teacher.path, teacher.url or teacher.policy=start"),
        ([*DATA, "teacher.context=demonstration"], "teacher.context=demonstration is for the policy's own"),
        ([*DATA, "trainer.sequence_parallel=2"], "kd compares whole rows"),
        ([*DATA, "data.train.teacher_weight=0"], "teaches nothing; train with `rlvr sft`"),
        ([*DATA, "eval.source.teacher_weight=2"], "no teacher is asked here"),
        (["algorithm=kd", SERVER], "algorithm.distillation.top_k is null"),
        (
            ["algorithm=kd", SERVER, "algorithm.distillation={divergence: reverse, top_k: 4}"],
            "divergence=reverse compares the policy's",
        ),
        (["teacher.path=a"], "unknown key 'teacher"),
    ],
)
def test_what_is_refused_on_data(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        compose.load("tiny_sft", overrides, "train")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_on_data_a_recipe_of_fine_tuning_becomes_one_with_a_teacher() -> None:
    recipe = compose.load("tiny_sft", [*DATA, "data.train.teacher_weight=0.5"], "kd")
    assert isinstance(recipe, DistillationRecipe) and recipe.algorithm.max_length == 128
    option = recipe.algorithm.distillation
    assert (option.coef, option.task_coef, option.divergence.value) == (0.5, 0.5, "forward")
    assert "a, as loss" in derive(recipe)["teacher"]
    alone = compose.load("tiny_sft", [*DATA, "algorithm.distillation.task_coef=0"], "kd")
    assert "the right tokens teach nothing" in derive(alone)["teacher"]
    compose.load("tiny_sft", ["algorithm=kd", SERVER, "algorithm.distillation.top_k=8"], "kd")
    compose.load("tiny_sft", ["algorithm=kd", "teacher.policy=start"], "kd")


@pytest.mark.parametrize("verb", ["opd", "gkd", "sdft", "sdpo"])
def test_the_verbs_have_a_recipe_with_a_teacher(verb: str) -> None:
    recipe = compose.load(*default_recipe(verb), "train")
    assert recipe.algorithm.name == verb and recipe.teacher.given
    assert recipe.name in (f"tiny_{verb}", "tiny_distill") and recipe.algorithm.distillation.task_coef == 0


def test_a_preset_that_knows_no_teacher_has_none() -> None:
    recipe = compose.load("tiny_dapo", [], "train")
    assert recipe.algorithm.distillation.name == "none" and not recipe.teacher.given


def test_a_recipe_reads_what_it_was_written_as(tmp_path) -> None:  # type: ignore[no-untyped-def]
    recipe = compose.load(*default_recipe("sdpo"), "train")
    compose.save(recipe, tmp_path / "recipe.yaml")
    assert compose.read(tmp_path / "recipe.yaml") == recipe
    assert recipe.teacher.policy is TeacherPolicy.ema
