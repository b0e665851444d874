"""PPO with a critic: advantages and targets by hand, refusals, and whole runs through the command line."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interrupts import interrupt_after
from presets import preset
from run_helpers import RECIPE, comparable, rlvr, steps_of

from rlvr_cli import compose
from rlvr_cli.algorithms import options
from rlvr_cli.algorithms.objective import critic_loss
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Batch, Completion, Group, Problem
from rlvr_cli.schema import Critic, Faults, Recipe, Rollout, Trainer
from rlvr_cli.tracking import Timer
from rlvr_cli.training.batches import make_batches, token_rewards
from rlvr_cli.training.loop import update_critic
from rlvr_cli.training.metrics import critic_metrics


def group(reward: float, tokens: int) -> Group:
    completion = Completion(
        tokens=np.arange(tokens, dtype=np.int32),
        logprobs=np.zeros(tokens, np.float32),
        text="",
        finished=True,
    )
    problem = Problem(id="0", prompt="", tokens=[1, 2], answer="", source="train", verifiers=["math"])
    return Group(
        problem=problem,
        index=0,
        completions=[completion],
        scores=[reward],
        correct=[reward],
        rewards=[reward],
    )


def test_batches_hold_advantages_values_and_returns() -> None:
    """r = 0, 0, 1 and V = .2, .5, .6 with lambda .95; the second response has one token, V = 0 and r = 0."""
    algorithm = preset("ppo")
    algorithm.advantage.lam, algorithm.advantage.whiten = 0.95, False
    values_N = torch.tensor([0.2, 0.5, 0.6, 0.0])
    parts = SimpleNamespace(
        recipe=SimpleNamespace(
            algorithm=algorithm, batch=SimpleNamespace(updates_per_step=1), verifiers={}, rollout=Rollout()
        ),
        trainer=SimpleNamespace(routing=None),
        needs_old=False,
        reference=None,
        lessons=None,
        records=None,
        critic=SimpleNamespace(values=lambda sequences, trained, **_: values_N),
        timer=Timer(),
    )
    (batch,) = make_batches(parts, [group(1.0, 3), group(0.0, 1)])  # type: ignore[arg-type]
    assert batch.advantages_N.tolist() == pytest.approx([0.756, 0.48, 0.4, 0.0])
    assert batch.returns_N.tolist() == pytest.approx([0.956, 0.98, 1.0, 0.0])
    assert batch.values_N.tolist() == pytest.approx([0.2, 0.5, 0.6, 0.0])
    assert "timing_s/values" in parts.timer.take()


def test_critic_loss_clips_and_says_so() -> None:
    """V .9 from .5 towards 1 is held at .7: 0.5 * (.7 - 1)^2 = 0.045; V .6 is within the range: 0.08."""
    inputs = {
        "values_N": torch.tensor([0.9, 0.6]),
        "old_values_N": torch.tensor([0.5, 0.5]),
        "returns_N": torch.tensor([1.0, 1.0]),
        "weights_N": torch.tensor([0.5, 0.5]),
    }
    loss, metrics = critic_loss(0.2, **inputs)
    assert float(loss) == pytest.approx((0.045 + 0.08) / 2)
    assert metrics["clip_fraction"].tolist() == [1.0, 0.0]
    loss, metrics = critic_loss(None, **inputs)
    assert float(loss) == pytest.approx((0.005 + 0.08) / 2)
    assert metrics["clip_fraction"].tolist() == [0.0, 0.0]


def test_a_value_within_the_range_is_not_held_by_rounding() -> None:
    """old + (value - old) is seldom value to the last bit."""
    generator = torch.Generator().manual_seed(0)
    old_N, values_N, returns_N = torch.randn(3, 10_000, generator=generator).clamp(-2, 2)
    old_N, values_N = 0.03 * old_N, 0.05 * values_N
    assert ((old_N + (values_N - old_N)) != values_N).any()
    _, metrics = critic_loss(
        0.2, values_N=values_N, old_values_N=old_N, returns_N=returns_N, weights_N=torch.ones(10_000)
    )
    assert metrics["clip_fraction"].sum() == 0


def test_explained_variance() -> None:
    def metrics(values: list[float], returns: list[float]) -> dict[str, float]:
        batch = Batch(
            sequences=[], trained=[], weights_N=torch.ones(4),
            values_N=torch.tensor(values), returns_N=torch.tensor(returns),
        )  # fmt: skip
        return critic_metrics([{"loss": 1.0}, {"loss": 3.0}], [batch])

    known = metrics([0.5, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0])  # Var(.5, .5, 0, 0) / Var(1, 1, 0, 0) = 1/4
    assert known["critic/explained_variance"] == pytest.approx(0.75) and known["critic/loss"] == 2.0
    assert (known["critic/value_mean"], known["critic/return_mean"]) == (0.25, 0.5)
    assert metrics([0.3] * 4, [1.0, 1.0, 0.0, 0.0])["critic/explained_variance"] == pytest.approx(0)
    assert "critic/explained_variance" not in metrics([0.1, 0.2, 0.3, 0.4], [1.0] * 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm=grpo", "critic.lr=1e-3"], r"critic\.lr is set, but algorithm\.advantage=group_zs"),
        (["algorithm=ppo", "algorithm/advantage=leave_one_out", "critic.pretrain_steps=2"], r"critic\.pre"),
        (["algorithm=ppo", "critic.pretrain_steps=100"], r"critic\.pretrain_steps is 100; .* never moves"),
        (["algorithm=ppo", "critic.max_grad_norm=0"], r"critic\.max_grad_norm is 0\.0; it must be p"),
        (["algorithm=ppo", "critic.lr=-1"], r"critic\.lr is -1\.0; it must not be negative"),
        (
            ["algorithm=ppo", "algorithm.advantage.value_clip=0"],
            r"advantage\.value_clip is 0\.0; it must be po",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(overrides, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compose.load("tiny_dapo", overrides, "train")
    assert "\n" not in str(caught.value)


def test_ppo_needs_no_group_and_can_be_composed() -> None:
    recipe = compose.load("tiny_dapo", ["algorithm=ppo", "batch.group_size=1"], "train")
    assert isinstance(recipe, Recipe) and recipe.algorithm.advantage.needs_critic
    ablated = compose.load(
        "tiny_dapo", ["algorithm=ppo", "algorithm/aggregation=seq_mean_token_mean"], "train"
    )
    assert ablated.algorithm.advantage.needs_critic


def test_a_kl_in_the_reward_with_coefficient_0_needs_no_reference() -> None:
    algorithm = preset("ppo")
    algorithm.kl = options("kl")["reward"](coef=0.0)
    assert token_rewards(algorithm.kl, torch.zeros(3), None) is None
    algorithm.kl = options("kl")["reward"](coef=0.5)
    got = token_rewards(algorithm.kl, torch.tensor([-1.0]), torch.tensor([-1.5]))
    assert got.tolist() == pytest.approx([-0.25])


def test_the_critics_rate_follows_its_warm_up_and_the_stage() -> None:
    """5 times the policy's rate of 2e-4 or, in another stage, 4e-4; the first of 4 steps has a quarter."""
    rates = []
    critic = SimpleNamespace(
        update=lambda batch, objective, lr: rates.append(lr) or {"loss": 0.0}, take_hits=lambda: []
    )
    recipe = SimpleNamespace(
        algorithm=preset("ppo"),
        trainer=Trainer(lr=2e-4, warmup_steps=9),
        critic=Critic(warmup_steps=4),
        faults=Faults(),
    )
    parts = SimpleNamespace(recipe=recipe, critic=critic, step=0, timer=Timer(), state={})
    rows = update_critic(parts, [None], [])  # type: ignore[list-item, arg-type]
    parts.step, recipe.trainer.lr = 7, 4e-4
    update_critic(parts, [None], [])  # type: ignore[list-item, arg-type]
    assert rates == pytest.approx([2.5e-4, 2e-3]) and rows[0]["lr"] == rates[0]


# ---------------------------------------------------------------- whole runs

PPO = ["algorithm=ppo", "algorithm/kl=reward", "algorithm.kl.coef=0.05", "batch.group_size=2"]
CRITIC = ["critic.lr=1e-3", "critic.pretrain_steps=2", "algorithm.advantage.lam=0.9"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "exact.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ppo") / "run"
    done = rlvr("train", str(recipe), *PPO, *CRITIC, "trainer.steps=5", f"out={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_the_critic_is_trained_first_and_left_in_the_run(whole) -> None:
    rows = steps_of(whole)
    assert [row["actor/updates"] for row in rows] == [0, 0, 2, 2, 2]
    assert [row["actor/lr"] for row in rows] == [0, 0, 1e-3, 1e-3, 1e-3]
    assert [row["critic/lr"] for row in rows] == [1e-3] * 5
    assert rows[0]["critic/value_mean"] == 0 and rows[1]["critic/value_mean"] != 0
    assert all(row["critic/grad_norm"] > 0 and "timing_s/values" in row for row in rows)
    assert ["perf/train_tokens_per_second" in row for row in rows] == [False, False, True, True, True]
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    critic, report = AutoModelForTokenClassification.from_pretrained(
        whole / "critic", output_loading_info=True
    )
    assert not report["missing_keys"] and critic.score.weight.abs().max() > 0
    AutoModelForCausalLM.from_pretrained(whole / "final")


@pytest.mark.slow
def test_runs_do_not_depend_on_ranks_stage_or_micro_batches(recipe, whole, tmp_path) -> None:
    change = ["trainer.ranks=2", "trainer.zero_stage=3", "batch.tokens_per_microbatch=100"]
    done = rlvr("train", str(recipe), *PPO, *CRITIC, "trainer.steps=3", f"out={tmp_path / 'run'}", *change)
    assert done.returncode == 0, done.stdout + done.stderr
    for got, wanted in zip(steps_of(tmp_path / "run"), steps_of(whole)[:3], strict=True):
        for name, value in comparable(wanted).items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-4), name


@pytest.mark.long
def test_an_interrupted_run_continues_as_if_nothing_had_happened(recipe, whole, tmp_path) -> None:
    out = tmp_path / "cut"
    cut = interrupt_after(out, 1, "train", str(recipe), *PPO, *CRITIC, "trainer.steps=5", f"out={out}")
    assert cut.returncode == 75, cut.stdout + cut.stderr
    assert 1 <= len(steps_of(out)) < 5
    again = rlvr("train", f"{out}/recipe.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    for got, wanted in zip(steps_of(out), steps_of(whole), strict=True):
        assert comparable(got) == pytest.approx(comparable(wanted), abs=1e-6, rel=1e-6, nan_ok=True)


@pytest.mark.long
def test_a_run_with_vllm_starts_from_the_critic_of_another(recipe, whole, tmp_path) -> None:
    """Also: groups of one, layer-wise clipping, LoRA for both models."""
    out = tmp_path / "run"
    done = rlvr(
        "train", str(recipe), "algorithm=ppo", "batch.group_size=1", "trainer.steps=2", f"out={out}",
        f"model.path={whole}", f"critic.path={whole}", "rollout=vllm", "rollout.kv_cache_gb=0.25",
        "model.lora.rank=4", "algorithm/gradient=layer_clip", "algorithm.gradient.limit=1e-3",
        "algorithm.gradient.log_layers=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = steps_of(out)
    assert abs(first["critic/value_mean"]) > 1e-3  # a new head would start at 0
    assert first["actor/clipped_layers"] == 2  # LoRA trains the two blocks only
    norms = [value for name, value in first.items() if name.startswith("actor/grad_norm/")]
    assert len(norms) == 2 and math.hypot(*norms) == pytest.approx(first["actor/grad_norm"], rel=0.1)
    assert second["critic/loss"] < 10
    assert json.loads((out / "critic" / "config.json").read_text())["architectures"] == [
        "Qwen2ForTokenClassification"
    ]
