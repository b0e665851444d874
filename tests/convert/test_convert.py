"""Launch scripts become recipes that compose, every key of theirs accounted for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.convert import convert as converting
from rlvr_cli.convert.convert import Converted
from rlvr_cli.convert.given import Given
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Recipe, foreign_names
from rlvr_cli.schema.foreign_names import Kind

SCRIPTS = Path(__file__).parent / "scripts"
REWARD = (
    "def reward_func(queries, prompts, labels, **kwargs):\n    return {'rewards': [0.0] * len(queries)}\n"
)


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the recipe, with the reward function that two of the scripts name."""
    (tmp_path / "reward_function.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")


def convert(
    framework: str, text: str, *, rows: int | None = None, processes: int | None = None, suffix: str = ".sh"
) -> Converted:
    path = Path(f"script{suffix}")
    path.write_text(text)
    return converting.convert(framework, [path], {}, rows=rows, processes=processes)


def recipe_of(made: Converted) -> Recipe:
    target = Path("converted.yaml")
    target.unlink(missing_ok=True)
    assert converting.write(made, target) == ""
    loaded = compose.load(str(target), [])
    assert isinstance(loaded, Recipe)
    return loaded


def script(name: str, **options: Any) -> Converted:
    framework = name.partition("_")[0]
    path = Path(shutil.copy(SCRIPTS / name, name))
    return converting.convert(
        framework, [path], options.pop("variables", {}), **({"rows": None, "processes": None} | options)
    )


def test_verl_grpo_on_gsm8k() -> None:
    made = script("verl_gsm8k.sh")
    r = recipe_of(made)
    assert (r.name, r.model.path, r.model.gradient_checkpointing) == ("qwen3_8b", "Qwen/Qwen3-8B", True)
    assert (r.batch.prompts_per_step, r.batch.group_size, r.batch.updates_per_step) == (1024, 5, 4)
    assert (r.rollout.max_prompt_tokens, r.rollout.max_tokens) == (512, 1024)
    assert r.batch.tokens_per_microbatch == 32 * 1536 == 49152
    assert (r.trainer.lr, r.trainer.weight_decay, r.trainer.schedule.value) == (1e-6, 0.01, "constant")
    a = r.algorithm
    assert (a.loss.clip_ratio_low, a.loss.clip_ratio_high, a.loss.dual_clip) == (0.2, 0.2, 3)
    assert (a.aggregation.name, a.advantage.name, a.advantage.ddof, a.advantage.eps) == (
        "token_mean",
        "group_zscore",
        1,
        1e-6,
    )
    assert (a.kl.name, a.kl.estimator.value, a.kl.coef, a.kl.clamp_value) == ("loss", "k3", 1e-3, 10)
    assert (a.entropy.name, a.filter.name, a.mismatch.name, a.shaping.wrong) == ("none", "none", "none", 0)
    assert r.trainer.steps == 7473 // 1024 * 15 == 105
    assert (r.eval.every, r.eval.at_start, r.checkpoint.every) == (5, True, 20)
    [bench] = r.eval.benches.values()
    assert (bench.k, bench.temperature, bench.max_tokens) == (1, 0, 1024)
    assert bench.source.path == "/home/me/data/gsm8k/test.parquet"
    assert (bench.verifier.name, bench.verifier.extraction.value) == ("math", "hash")
    assert r.data["train"].verifiers_by.map == {"openai/gsm8k": ["gsm8k"]}
    assert (r.trainer.ranks, r.trainer.zero_stage, r.tracker.project) == (8, 3, "gsm8k")
    assert made.lists.lost == [] and made.lists.unknown == [] and made.lists.settle == []
    accounted = len(made.lists.converted) + len(made.lists.idle)
    assert accounted == len(
        re.findall(r"^    [\w.]+=", (SCRIPTS / "verl_gsm8k.sh").read_text(), re.MULTILINE)
    )


@pytest.mark.slow
def test_verl_dapo() -> None:
    made = script("verl_dapo.sh", rows=17398)
    r, a = recipe_of(made), recipe_of(made).algorithm
    assert (r.batch.prompts_per_step, r.batch.group_size, r.batch.updates_per_step) == (512, 16, 16)
    assert (r.rollout.oversample, r.rollout.max_rounds) == (3, 10)
    assert (a.name, a.filter.name, a.filter.metric.value) == ("dapo", "zero_signal", "correct")
    assert (a.shaping.name, a.shaping.max_length, a.shaping.buffer, a.shaping.factor) == (
        "soft_overlong",
        20480,
        4096,
        1,
    )
    assert (a.shaping.correct, a.shaping.wrong) == (1, -1)
    assert (a.loss.clip_ratio_low, a.loss.clip_ratio_high, a.loss.dual_clip) == (0.2, 0.28, 10)
    assert (a.aggregation.name, a.kl.name) == ("token_mean", "none")
    assert (r.trainer.warmup_steps, r.trainer.weight_decay, r.trainer.steps) == (10, 0.1, 33)
    assert (r.trainer.offload.value, r.out) == ("all", "/data/verl/ckpts/dapo-32b")
    [bench] = r.eval.benches.values()
    assert (bench.top_p, bench.temperature, bench.verifier.extraction.value) == (0.7, 1, "answer_line")
    assert [line.partition("=")[0] for line in made.lists.lost] == ["data.truncation"]
    assert any("torchrun --nnodes 16" in line for line in made.lists.settle)
    assert script("verl_dapo.sh", variables={"NODES": "1"}).draft.get("trainer.ranks") == 8


@pytest.mark.slow
def test_trl_defaults_on_eight_processes() -> None:
    made = script("trl_grpo.yaml", rows=1000, processes=8)
    r, a = recipe_of(made), recipe_of(made).algorithm
    assert (r.batch.prompts_per_step, r.batch.group_size, r.batch.updates_per_step) == (
        32,
        8,
        1,
    )  # 8 * 8 * 4 / 8
    assert (r.trainer.lr, r.trainer.schedule.value, r.trainer.min_lr) == (1e-6, "linear", 0)
    assert (a.kl.name, a.aggregation.name, a.advantage.eps) == ("none", "token_mean", 1e-4)
    assert (a.mismatch.name, a.mismatch.level.value, a.mismatch.high, a.mismatch.low) == (
        "mask",
        "sequence",
        3,
        0,
    )
    assert r.trainer.steps == 3 * (1000 // 32)
    assert (r.verifiers["math"].name, r.verifiers["format"].require_think) == ("math", True)
    assert r.data["train"].verifiers == ["math", "format"] and r.data["train"].columns == {
        "answer": "solution"
    }
    assert made.lists.unknown == made.lists.lost == made.lists.settle == []
    alone = script("trl_grpo.yaml", rows=1000)
    assert alone.draft.get("batch.prompts_per_step") == 4
    assert any(line.startswith("processes: taken as 1") for line in alone.lists.settle)


@pytest.mark.slow
def test_a_trl_script() -> None:
    made = script("trl_grpo.py", processes=4)
    r, a = recipe_of(made), recipe_of(made).algorithm
    assert (r.batch.prompts_per_step, r.batch.updates_per_step) == (4 * 4 * 8 // 8, 2)
    assert (r.trainer.steps, r.trainer.warmup_steps, r.trainer.schedule.value) == (200, 20, "cosine")
    assert (a.advantage.name, a.aggregation.name, a.aggregation.length) == (
        "group_centered",
        "constant",
        1024,
    )
    assert (a.loss.clip_ratio_low, a.loss.clip_ratio_high) == (0.2, 0.28)
    assert (a.kl.name, a.kl.coef, a.kl.estimator.value, a.kl.clamp_value) == ("loss", 0.01, "k2", None)
    assert (r.model.lora.rank, r.model.lora.alpha, r.model.lora.dropout, r.model.lora.targets) == (
        32,
        64,
        0,
        "q_proj,v_proj",
    )
    assert r.data["train"].columns == {"prompt": "problem", "answer": "solution"}
    assert r.data["train"].system == "Think first, between <think> and </think>, then answer in a box."
    own = r.verifiers["closes_thinking"]
    assert (own.name, own.function, own.weight, Path(own.path).name) == (
        "python",
        "closes_thinking",
        0.2,
        "trl_grpo.py",
    )
    assert (r.checkpoint.every, r.tracker.wandb.value) == (50, "disabled")
    assert [line.partition("=")[0] for line in made.lists.lost] == ["top_k"]


@pytest.mark.slow
def test_openrlhf_reinforce_baseline() -> None:
    made = script("openrlhf_baseline.sh", rows=17398)
    r, a = recipe_of(made), recipe_of(made).algorithm
    assert (r.batch.prompts_per_step, r.batch.group_size, r.batch.updates_per_step) == (128, 8, 1)
    assert (r.rollout.max_tokens, r.rollout.max_prompt_tokens, r.batch.tokens_per_microbatch) == (
        64000,
        10240,
        16192,
    )
    assert (a.name, a.advantage.name, a.advantage.baseline.value, a.advantage.ddof) == (
        "reinforce_pp_baseline",
        "batch_whitened",
        "group",
        0,
    )
    assert (a.kl.name, a.kl.estimator.value, a.kl.coef) == ("loss", "k2", 1e-5)
    assert (a.mismatch.name, a.mismatch.level.value, a.mismatch.low, a.mismatch.high) == (
        "mask",
        "token",
        0.5,
        5,
    )
    assert (a.filter.name, a.filter.low, a.filter.high) == ("difficulty_band", 0, 1)
    assert (r.trainer.lr, r.trainer.schedule.value, r.trainer.min_lr) == (5e-7, "cosine", pytest.approx(5e-8))
    assert r.trainer.betas == [0.9, 0.95]
    assert (r.trainer.steps, r.trainer.warmup_steps) == (17398 // 128, round(0.03 * 135))
    assert (r.checkpoint.every, r.checkpoint.keep, r.trainer.ranks, r.rollout.sleep) == (10, 3, 4, False)
    assert (r.verifiers["reward"].name, r.verifiers["reward"].function) == ("python", "reward_func")
    assert (
        r.data["train"].columns == {"prompt": "prompt", "answer": "label"}
        and r.data["train"].chat.value == "always"
    )
    assert made.lists.unknown == made.lists.lost == made.lists.settle == []


@pytest.mark.slow
def test_openrlhf_with_its_older_flags() -> None:
    Path("problems.jsonl").write_text(
        "".join(json.dumps({"question": str(n), "answer": "1"}) + "\n" for n in range(130))
    )
    made = script("openrlhf_flat.sh")
    r, a = recipe_of(made), recipe_of(made).algorithm
    assert (r.batch.prompts_per_step, r.batch.group_size, r.batch.updates_per_step) == (64, 2, 4)
    assert (a.name, a.advantage.baseline.value, a.kl.name, a.kl.coef, a.kl.estimator.value) == (
        "reinforce_pp",
        "none",
        "reward",
        1e-4,
        "k1",
    )
    assert (a.loss.clip_ratio_low, a.loss.clip_ratio_high) == (0.2, 0.27)
    assert r.data["train"].prompt == "Q: {prompt}\nA:" and r.data["train"].chat.value == "never"
    assert (r.trainer.steps, r.trainer.schedule.value, r.rollout.max_prompt_tokens) == (
        130 // 64 * 2,
        "constant",
        512,
    )
    assert r.batch.tokens_per_microbatch == 4 * (512 + 1024)
    assert "wandb_token" not in made.text and r.tracker.wandb.value == "auto"
    assert made.lists.unknown == made.lists.settle == []


def test_files_that_are_here_are_counted(tmp_path: Path) -> None:
    kinds = ["openai/gsm8k"] * 30 + ["math_dapo"] * 10
    rows = [{"data_source": kind, "prompt": "1+1", "reward_model": {"ground_truth": "2"}} for kind in kinds]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = convert(
        "verl",
        "python -m verl.trainer.main_ppo data.train_files=train.jsonl data.train_batch_size=8 "
        "actor_rollout_ref.actor.ppo_mini_batch_size=8 actor_rollout_ref.rollout.n=4 trainer.total_epochs=2 "
        "actor_rollout_ref.model.path=m",
    )
    assert made.draft.get("trainer.steps") == 40 // 8 * 2
    route = made.draft.values[("data", "train", "verifiers_by", "map", "math_dapo")]
    assert route == (["math_answer_line"], "10 rows")
    assert any("-1 in some" in line for line in made.lists.settle)


def verl(*words: str) -> Converted:
    return convert(
        "verl",
        "python -m verl.trainer.main_ppo actor_rollout_ref.model.path=m data.train_files=gsm8k/train.parquet "
        + " ".join(words),
    )


@pytest.mark.slow
def test_a_reward_function_of_ones_own() -> None:
    made = verl(
        "custom_reward_function.path=reward_function.py",
        "+custom_reward_function.reward_kwargs.strict=True",
        "actor_rollout_ref.rollout.n=4",
    )
    own = recipe_of(made).verifiers["reward"]
    assert (own.name, own.function, own.kwargs) == ("python", "compute_score", {"strict": True})
    assert recipe_of(made).data["train"].verifiers == ["reward"]


def test_what_is_not_known_is_told_and_the_exit_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.sh").write_text(
        "python -m verl.trainer.main_ppo actor_rollout_ref.model.path=m actor_rollout_ref.rollout.n=4 "
        "data.train_files=gsm8k/train.parquet actor_rollout_ref.actor.optm.lr=1 trainer.nnodes=$NODES"
    )
    assert main(["convert", "verl", "run.sh", "-o", "mine.yaml"]) == 1
    out = capsys.readouterr().out
    assert (
        "unknown: actor_rollout_ref.actor.optm.lr=1; the nearest name known of verl is "
        "actor_rollout_ref.actor.optim.lr" in out
    )
    assert "trainer.nnodes=${NODES}: the script does not say its value" in out
    assert "Unknown (1)" in Path("mine.yaml").read_text()
    assert main(["convert", "verl", "run.sh", "-o", "mine.yaml"]) == 2
    assert "mine.yaml exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("convert", "'' is no framework; available: openrlhf, trl, verl"),
        ("convert verll a.sh", "'verll' is no framework; did you mean 'verl'?"),
        ("convert verl", "convert verl needs a file"),
        ("convert verl none.sh", "none.sh: No such file"),
        ("convert verl empty.sh", "empty.sh: no command in it starts main_ppo or main_dapo"),
        ("convert verl twice.sh", "2 commands start a run (lines 1, 2); keep one of them"),
        ("convert verl open.sh", "open.sh: a ' is missing at the end"),
        ("convert verl odd.sh", "64 / 24 (train_batch_size / ppo_mini_batch_size) is 2.66667"),
        ("convert verl odd.sh -o out.txt", "a recipe's name ends in .yaml"),
        ("convert verl odd.sh --rows 0", "--rows is 0; it must be at least 1"),
        ("convert trl plain.py", "there is none of GRPOTrainer, DPOTrainer"),
        ("convert trl list.yaml", "a configuration of TRL is a list of `key: value`"),
        ("convert trl nine.yaml", "8 completions a step are no whole groups of num_generations=9"),
    ],
)
def test_mistakes(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.sh").write_text("echo main_ppo\n")
    Path("twice.sh").write_text("python -m verl.trainer.main_ppo a=1\npython -m verl.trainer.main_ppo a=1\n")
    Path("open.sh").write_text("python -m verl.trainer.main_ppo a='1\n")
    Path("odd.sh").write_text(
        "python -m verl.trainer.main_ppo data.train_batch_size=64 "
        "actor_rollout_ref.actor.ppo_mini_batch_size=24\n"
    )
    Path("plain.py").write_text("print(1)\n")
    Path("list.yaml").write_text("- a\n")
    Path("nine.yaml").write_text("num_generations: 9\n")
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert not Path("out.txt").exists()


SAMPLE: dict[str, Any] = {"verl": ("verl", ".sh"), "openrlhf": ("openrlhf", ".sh"), "trl": ("trl", ".yaml")}
VERL = "python3 -m verl.trainer.main_ppo data.train_files=/d/gsm8k/train.parquet "
OPENRLHF = "python3 -m openrlhf.cli.train_ppo_ray --actor.model_name_or_path m --data.prompt_dataset p "
OPENRLHF += "--rollout.batch_size 128 --train.batch_size 128 "
MORE: dict[str, list[str]] = {
    "verl": [
        VERL + "algorithm.adv_estimator=gae algorithm.use_kl_in_reward=True data.seed=3 reward.num_workers=2 "
        "algorithm.kl_ctrl.type=adaptive "
        "actor_rollout_ref.model.lora_rank=8 actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm "
        "trainer.total_training_steps=9 algorithm.rollout_correction.rollout_is=token "
        "reward.custom_reward_function.path=reward_function.py "
        "actor_rollout_ref.actor.optim.min_lr_ratio=0.1 "
        "actor_rollout_ref.actor.optim.lr_scheduler_type=cosine",
        VERL + "algorithm.rollout_correction.rollout_rs=token_k1 reward_model.enable=True "
        "reward_model.model.path=r reward.reward_manager.name=dapo "
        "reward.reward_kwargs.overlong_buffer_cfg.enable=True "
        "reward.reward_kwargs.overlong_buffer_cfg.len=64",
        *(
            VERL + f"actor_rollout_ref.actor.policy_loss.loss_mode={mode}"
            for mode in ("sapo", "clip_cov", "kl_cov", "dro")
        ),
    ],
    "openrlhf": [
        OPENRLHF + "--algo.advantage.estimator gae --reward.overlong_buffer_len 64 --ds.lora.rank 8 "
        "--ds.adam_offload --eval.dataset e --actor.lr_scheduler cosine_with_min_lr --train.colocate_all "
        "--algo.kl.init_coef 0.01 --reward.model_name_or_path r --logger.tensorboard_dir t "
        "--critic.model_name_or_path c --critic.freezing_steps 2 --data.prompt_probs 1.0",
        OPENRLHF + "--reward.stop_properly_penalty_coef 0.5 --algo.kl.target 0.05",
    ],
    "trl": [
        "beta: 0.1\nsync_ref_model: true\nref_model_mixup_alpha: 1.0\nuse_peft: true\n"
        "use_adaptive_entropy: true\neval_strategy: steps\nreward_funcs: [accuracy_reward]\n"
        "dataset_name: d\nlr_scheduler_kwargs: {min_lr: 1.0e-7}\ntop_entropy_quantile: 0.5\n",
        "entropy_coef: 0.01\nuse_vllm: true\nwarmup_steps: 3\n",
        "loss_type: sapo\n",
        "loss_type: vespo\n",
    ],
}
"""Scripts that reach what none of `scripts/` does."""


@pytest.mark.parametrize("framework", SAMPLE)
def test_every_derived_key_is_asked_for(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that says `derived`, and that no line of the conversion reads, would be dropped silently.

    By what is really asked for in the conversion of all scripts here: a line that stands in the code and is
    never reached, or that misspells the key, counts for nothing.
    """
    asked: set[str] = set()

    def noting(name: str) -> None:
        original = getattr(Given, name)

        def noted(self: Given, key: str) -> Any:
            asked.add(key)
            return original(self, key)

        monkeypatch.setattr(Given, name, noted)

    for name in ("get", "has", "under"):
        noting(name)
    for path in sorted(SCRIPTS.glob(f"{framework}_*")):
        script(path.name)
    for text in MORE[framework]:
        convert(framework, text, rows=10_000, suffix=SAMPLE[framework][1])
    derived = [row for row in foreign_names.table(framework) if row.kind is Kind.derived]
    assert len(derived) > 20
    missing = [
        row.key
        for row in derived
        for key in foreign_names.expanded(row.key)
        if not any(each == key or (key.endswith("*") and each.startswith(key[:-1])) for each in asked)
    ]
    assert not missing, missing


def test_an_adaptive_coefficient_of_the_kl_is_the_same_controller_here() -> None:
    """Ziegler's: b (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon), in both for the KL in the reward."""

    def kl(made: Converted) -> dict[str, Any]:
        return {path[2]: value for path, (value, _) in made.draft.values.items() if path[1:2] == ("kl",)}

    base = VERL + "actor_rollout_ref.model.path=m algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8 "
    adaptive = (
        "algorithm.kl_ctrl.type=adaptive algorithm.kl_ctrl.target_kl=0.05 algorithm.kl_ctrl.kl_coef=2e-3"
    )
    made = convert("verl", f"{base} algorithm.use_kl_in_reward=True {adaptive}", rows=10_000)
    found = recipe_of(made).algorithm.kl
    assert (found.name, found.coef, found.schedule.value) == ("reward", 0.002, "adaptive")
    assert (found.target_kl, found.horizon) == (0.05, 10_000)  # verl's default horizon
    assert not any("kl_ctrl" in line for line in made.lists.lost + made.lists.unknown + made.lists.idle)
    fixed = "algorithm.use_kl_in_reward=True algorithm.kl_ctrl.horizon=50"
    plain = convert("verl", f"{base} {fixed}", rows=10_000)
    assert "schedule" not in kl(plain)
    assert any(line.startswith("algorithm.kl_ctrl.horizon=50: no effect") for line in plain.lists.idle)
    in_loss = convert("verl", f"{base} actor_rollout_ref.actor.use_kl_loss=True {adaptive}", rows=10_000)
    assert "schedule" not in kl(in_loss)  # verl asks the controller for rewards alone
    words = "--algo.kl.init_coef 0.01 --algo.kl.target 6 --algo.kl.horizon 5000"
    found = kl(convert("openrlhf", OPENRLHF + words, rows=10_000))
    assert (found["coef"], found["schedule"], found["target_kl"], found["horizon"]) == (
        0.01,
        "adaptive",
        6,
        5000,
    )
    assert "schedule" not in kl(convert("openrlhf", OPENRLHF + "--algo.kl.init_coef 0.01", rows=10_000))


def test_the_seed_of_verls_data_is_the_runs() -> None:
    made = convert("verl", VERL + "data.seed=3", rows=10_000)
    assert made.draft.get("seed") == 3 and "data.seed" in made.lists.converted
    assert convert("verl", VERL, rows=10_000).draft.get("seed") is None


def test_the_recipe_says_where_each_value_comes_from() -> None:
    text = script("verl_gsm8k.sh").text
    assert "updates_per_step: 4  # 1024 / 256 (train_batch_size / ppo_mini_batch_size)" in text
    assert "group_size: 5  # rollout.n" in text
    assert "dual_clip: 3.0  # verl's default of actor.clip_ratio_c" in text
    assert "steps: 105  # floor(7473 / 1024) * 15" in text
    assert "# Without effect here (" in text


def test_a_command_as_set_x_prints_it() -> None:
    line = "+ python3 -m verl.trainer.main_ppo actor_rollout_ref.model.path=m actor_rollout_ref.rollout.n=4 "
    line += "'trainer.logger=[\"console\"]' data.train_files=/d/gsm8k/train.parquet"
    made = convert("verl", line)
    assert made.draft.get("tracker.wandb") == "disabled"
    assert made.draft.get("batch.group_size") == 4


def test_a_launch_within_quotes() -> None:
    made = convert(
        "openrlhf",
        'srun bash -c "pip install ray \\\n && python3 -m openrlhf.cli.train_ppo_ray '
        "--actor.model_name_or_path m --data.prompt_dataset p --reward.remote_url reward_function.py "
        '--rollout.batch_size 128 --train.batch_size 128"',
        rows=256,
    )
    assert made.draft.get("model.path") == "m"


@pytest.mark.slow
def test_steps_are_missing_where_rows_are_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    """No guess in their place: the recipe is refused, naming the keys, until they are set."""
    Path("run.sh").write_text(
        "python -m verl.trainer.main_ppo actor_rollout_ref.model.path=m data.train_files=x.parquet "
        "data.train_batch_size=256 actor_rollout_ref.rollout.n=4 "
        "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio=0.1"
    )
    assert main(["convert", "verl", "run.sh", "-o", "mine.yaml"]) == 1
    out, text = capsys.readouterr().out, Path("mine.yaml").read_text()
    assert "steps: ???  # floor(rows / 256) * 30" in text and "warmup_steps: ???  # 0.1 * steps" in text
    assert "to settle: trainer.steps: floor(rows / 256) * 30" in out and "with --rows N" in out
    refused = "mine.yaml: required keys are not set: trainer.steps, trainer.warmup_steps"
    assert f"does not compose yet: {refused}" in out
    with pytest.raises(UserError, match=re.escape(refused)):
        compose.load("mine.yaml", [])
    set_by_hand = compose.load("mine.yaml", ["trainer.steps=50", "trainer.warmup_steps=5"])
    assert (set_by_hand.trainer.steps, set_by_hand.trainer.warmup_steps) == (50, 5)
    assert main(["convert", "verl", "run.sh", "--rows", "25600", "-o", "counted.yaml"]) == 0
    counted = compose.load("counted.yaml", []).trainer
    assert (counted.steps, counted.warmup_steps) == (100 * 30, 300)


def test_what_a_script_of_trl_sets_late_or_hides() -> None:
    made = convert(
        "trl",
        "if __name__ == '__main__':\n"
        "    training_args = parse()\n"
        "    training_args.num_generations = 4\n"
        "    training_args.report_to = None\n"
        "    train, test = load_dataset('d', split=['train[:5%]', 'test'])\n"
        "    def own(completions, **kwargs):\n        return [0.0] * len(completions)\n"
        "    GRPOTrainer(model='m', args=training_args, reward_funcs=[own], train_dataset=train)\n",
        suffix=".py",
        processes=1,
        rows=80,
    )
    assert made.draft.get("batch.group_size") == 4 and made.lists.lost == []
    assert made.draft.get("data.train.split") == "train"
    assert made.draft.get("verifiers.own.path") == "own.py"
    assert any("move own out of the script, where it stands within a block" in s for s in made.lists.settle)


def test_ratios_of_trl_are_parts_of_the_steps() -> None:
    text = (
        "per_device_train_batch_size: 8\nnum_generations: 8\ndataset_name: d\nsave_steps: 0.25\n"
        "eval_strategy: steps\neval_steps: 0.5\nwarmup_ratio: 0.1\nreward_funcs: [accuracy_reward]\n"
        "model_name_or_path: m\n"
    )
    made = convert("trl", text + "max_steps: 40\n", suffix=".yaml", processes=1)
    keys = ("checkpoint.every", "eval.every", "trainer.warmup_steps")
    assert [made.draft.get(key) for key in keys] == [10, 20, 4]
    made = convert("trl", text, suffix=".yaml", processes=1)
    assert [made.draft.get(key) for key in keys] == ["???"] * 3
    assert all(any(line.startswith(f"{key}: ") for line in made.lists.settle) for key in keys)


def test_a_script_too_large_or_no_text_is_refused() -> None:
    Path("large.sh").write_text("a" * (2 << 20))
    Path("binary.sh").write_bytes(b"\xff\xfe\x00")
    for name, said in (("large.sh", "no launch script"), ("binary.sh", "is no text")):
        with pytest.raises(UserError, match=said):
            converting.convert("verl", [Path(name)], {}, rows=None, processes=None)


TRL = "model_name_or_path: m\nreward_funcs: [accuracy_reward]\ndataset_name: d\nlearning_rate: 1.0e-6\n"
GROUPS = "actor_rollout_ref.model.path=m actor_rollout_ref.rollout.n=8"
MODE = "actor_rollout_ref.actor.policy_loss."
CLIP = "actor_rollout_ref.actor.clip_ratio_"


@pytest.mark.parametrize(
    ("more", "loss", "values", "aggregation"),
    [
        (
            f"{MODE}loss_mode=dppo_tv {CLIP}low=0.15 {CLIP}high=0.16 {CLIP}c=20",
            "divergence_mask",
            {"kind": "tv", "delta_low": 0.15, "delta_high": 0.16, "cap": 20.0, "anchor": "old"},
            "token_mean",
        ),
        (
            f"{MODE}loss_mode=dppo_kl {CLIP}low=0.05 {CLIP}high=0.05",
            "divergence_mask",
            {"kind": "kl", "delta_low": 0.05, "cap": 3.0},
            "token_mean",
        ),
        (
            f"{MODE}loss_mode=sapo actor_rollout_ref.actor.tau_neg=1.1",
            "soft_gate",
            {"tau_positive": 1.0, "tau_negative": 1.1},
            "seq_mean_token_mean",
        ),
        (
            f"{MODE}loss_mode=geo_mean {CLIP}low=0.4 {CLIP}high=0.3",
            "geometric_clip",
            {"log_clip_low": 0.4, "log_clip_high": 0.3},
            "seq_mean_token_mean",
        ),
        (
            f"{MODE}loss_mode=clip_cov {CLIP}low=1 {CLIP}high=1 {CLIP}c=10 {MODE}clip_cov_ub=7",
            "clip_cov",
            {"clip_ratio_low": 1, "dual_clip": 10, "fraction": 2e-4, "cov_low": 1.0, "cov_high": 7},
            "token_mean",
        ),
        (
            f"{MODE}loss_mode=kl_cov {MODE}ppo_kl_coef=1",
            "kl_cov",
            {"fraction": 2e-4, "coef": 1},
            "token_mean",
        ),
        (f"{MODE}loss_mode=dro {MODE}dro_beta=0.2", "squared_ratio", {"beta": 0.2}, "token_mean"),
    ],
)
def test_verls_losses(more: str, loss: str, values: dict[str, Any], aggregation: str) -> None:
    made = convert("verl", VERL + f"{GROUPS} algorithm.adv_estimator=grpo {more}", rows=10_000)
    algorithm = recipe_of(made).algorithm
    assert (algorithm.loss.name, algorithm.aggregation.name) == (loss, aggregation)
    got = {key: getattr(algorithm.loss, key) for key in values}
    assert {key: getattr(value, "value", value) for key, value in got.items()} == values
    assert not [line for line in made.lists.lost if "policy_loss" in line or "tau" in line]


def test_verls_grpo_passk_is_the_best_ones_lead() -> None:
    text = VERL + f"{GROUPS} algorithm.adv_estimator=grpo_passk algorithm.norm_adv_by_std_in_grpo=False"
    advantage = recipe_of(convert("verl", text, rows=10_000)).algorithm.advantage
    assert (advantage.name, advantage.normalise) == ("best_margin", False)


def test_rewards_that_are_compared_one_by_one() -> None:
    made = convert("verl", VERL + f"{GROUPS} algorithm.adv_estimator=gdpo", rows=10_000)
    advantage = recipe_of(made).algorithm.advantage
    assert (advantage.name, advantage.ddof, advantage.whiten) == ("separate_rewards", 1, True)
    assert any("verl whitens over tokens" in line for line in made.lists.settle)
    made = convert(
        "trl", TRL + "multi_objective_aggregation: normalize_then_sum\n", rows=10_000, suffix=".yaml"
    )
    advantage = recipe_of(made).algorithm.advantage
    assert (advantage.name, advantage.eps) == ("separate_rewards", 1e-4)
    plain = convert(
        "trl", TRL + "multi_objective_aggregation: sum_then_normalize\n", rows=10_000, suffix=".yaml"
    )
    assert recipe_of(plain).algorithm.advantage.name == "group_zscore" and plain.lists.unknown == []


@pytest.mark.parametrize(
    ("text", "loss", "values", "aggregation"),
    [
        ("loss_type: sapo\n", "soft_gate", {"tau_negative": 1.05}, "seq_mean_token_mean"),
        ("loss_type: vespo\nvespo_k_pos: 1.5\n", "sequence_bell", {"k_positive": 1.5}, "token_mean"),
        (
            "loss_type: luspo\nimportance_sampling_level: sequence\nepsilon: 0.002\n",
            "sequence_ratio",
            {"clip_ratio_low": 0.002},
            "seq_mean_token_sum",
        ),
        (
            "loss_type: grpo\noff_policy_mask_threshold: 0.5\ndelta: 4.0\n",
            "off_policy_mask",
            {"delta": 0.5, "dual_clip": 4.0},
            "seq_mean_token_mean",
        ),
    ],
)
def test_trls_losses(text: str, loss: str, values: dict[str, Any], aggregation: str) -> None:
    made = convert("trl", TRL + text, rows=10_000, suffix=".yaml")
    algorithm = recipe_of(made).algorithm
    assert (algorithm.loss.name, algorithm.aggregation.name) == (loss, aggregation)
    assert {key: getattr(algorithm.loss, key) for key in values} == values
    assert not [line for line in made.lists.lost if line.split("=")[0] in text]


def test_a_two_sided_clip_that_reaches_positives_is_not_carried_over() -> None:
    made = convert("trl", TRL + "delta: 1.1\n", rows=10_000, suffix=".yaml")
    assert recipe_of(made).algorithm.loss.dual_clip is None
    assert any(line.startswith("delta=1.1: below 1 + 0.2") for line in made.lists.lost)
