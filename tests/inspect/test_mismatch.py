"""The gap between engine and trainer: worked numbers, and seven causes planted and named."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from routing_entries import unsure
from run_helpers import RECIPE, rlvr

from rlvr_cli.commands.main import main
from rlvr_cli.engine.model import add_lora, load_model, load_tokenizer
from rlvr_cli.inspect.causes import Cause, Suspects, Taken, dominating, take_apart, verdict
from rlvr_cli.inspect.forwards import Forwards, Sampled, Setting, Transform, processed
from rlvr_cli.inspect.gap import gap
from rlvr_cli.inspect.mismatch import prompts_of
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.hf import HFEngine
from rlvr_cli.schema import Lora, Model, Precision, Rollout

NOISE = Path(__file__).parents[2] / "benchmarks" / "router_noise.py"
PROMPTS = ("88+94=", "7+5=", "What is 12 x 3?", "abc", "Say it again: 9", "1, 2, 3,")


def test_worked_numbers() -> None:
    """p = [.5, .01, .3] by the trainer, [.45, .05, .3] by the engine, in one sequence."""
    ours, theirs = np.log([0.5, 0.01, 0.3]), np.log([0.45, 0.05, 0.3])
    found = gap([ours], [theirs])
    assert found.tokens == 3 and found.k1 == pytest.approx(0.5014, abs=5e-5)
    assert found.k3 == pytest.approx(0.2717, abs=5e-5)
    assert found.chi2_token == pytest.approx(-0.2418, abs=5e-5)  # below 0, as a sample may be
    assert found.ess == pytest.approx(0.7827, abs=5e-5)
    assert (found.ratio_min, found.ratio_max) == (pytest.approx(0.2), pytest.approx(1 / 0.9))
    assert found.trainer_ppl == pytest.approx(8.736, abs=5e-4)
    assert found.engine_ppl == pytest.approx(5.291, abs=5e-4)
    assert found.trainer_ppl / found.engine_ppl == pytest.approx(1.651, abs=5e-4)
    assert found.chi2_sequence == pytest.approx((1 / 0.9 * 0.2) ** 2 - 1)
    assert found.probability == pytest.approx(0.05) and 0.9 < (found.pearson or 0) < 1


def test_a_known_shift_has_the_kl_it_must() -> None:
    """d ~ N(m, s^2): k1 -> -m, k3 -> exp(m + s^2/2) - m - 1; padding and splits change nothing."""
    random = np.random.default_rng(0)
    theirs = [np.full(n, -2.0) for n in (50_000, 100_000, 50_000)]
    ours = [each + random.normal(-0.1, 0.2, len(each)) for each in theirs]
    found = gap(ours, theirs)
    assert found.k1 == pytest.approx(0.1, abs=2e-3)
    assert found.k3 == pytest.approx(math.exp(-0.1 + 0.02) + 0.1 - 1, abs=1e-3)
    nothing = np.zeros(0)
    assert gap([*ours, nothing], [*theirs, nothing]) == found
    whole = gap([np.concatenate(ours)], [np.concatenate(theirs)])
    assert (whole.k1, whole.k3, whole.ess) == pytest.approx((found.k1, found.k3, found.ess), rel=1e-12)
    with pytest.raises(ValueError, match="different numbers of tokens"):
        gap([ours[0]], [theirs[1]])


def test_transforms_by_hand() -> None:
    """Logits ln [.5, .3, .2]: at T = 1/2 the squares, the top 2, the nucleus of .6, a penalty on token 0."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))

    def under(**settings: Any) -> list[float]:
        found: list[float] = processed(logits, [0, 1], 1, Transform(**settings)).exp()[0].tolist()
        return found

    assert under() == pytest.approx([0.5, 0.3, 0.2])
    assert under(temperature=0.5) == pytest.approx([25 / 38, 9 / 38, 4 / 38])
    assert under(top_k=2) == pytest.approx([0.625, 0.375, 0])
    assert under(top_p=0.6) == pytest.approx([0.625, 0.375, 0])  # the token that crosses it stays
    assert under(top_p=0.4) == pytest.approx([1, 0, 0])
    # A logit below 0 is multiplied: ln .5 -> 2 ln .5 = ln .25.
    assert under(repetition_penalty=2.0) == pytest.approx([0.25 / 0.75, 0.4, 0.2 / 0.75])


def made(name: str, left: float, alone: float, left_k3: float = math.nan) -> Cause:
    return Cause(name=name, said="", left=left, alone=alone, set="", left_k3=left_k3)


@pytest.mark.parametrize(
    "whole, types_differ, changed, named",
    [
        (0.0, False, {}, "none"),
        (1e-6, False, {}, "kernel"),  # as large as two kernels
        (2e-2, True, {}, "dtype"),  # noise of bf16 by the other kernel, which taking it over does not remove
        (2e-2, False, {}, "dtype"),  # far more than fp32's noise, and of bf16's size
        (0.8, False, {}, "unknown"),
        (0.8, False, {"sampling": (1e-6, 0.8)}, "sampling"),
        (0.8, False, {"sampling": (0.3, 0.7), "template": (1e-6, 0.8)}, "template"),
        (0.8, False, {"adapter": (1e-6, 0.8), "stale": (1.1e-6, 0.8)}, "adapter"),
        (0.8, False, {"adapter": (0.3, 0.5), "stale": (1e-6, 0.8)}, "stale"),
        (1e-6, False, {"stale": (1e-7, 1e-6)}, "kernel"),  # what changes less than rounding is not told apart
        (2e-2, False, {"routing": (1.5e-2, 5e-3, 1e-4)}, "routing"),  # of a k3 of 1e-3: few tokens, large
        (2e-2, False, {"routing": (1.5e-2, 5e-3, 8e-4)}, "dtype"),
        (2e-2, True, {"routing": (1.5e-2, 5e-3, 1e-4)}, "dtype"),  # rounding is what makes others of them
        (1e-6, False, {"routing": (9e-7, 1e-7, 1e-4)}, "routing"),  # as two kernels' rounding does
        (0.8, True, {"routing": (0.2, 0.7, 1e-4)}, "routing"),
        (0.8, False, {"routing": (0.3, 0.7, 1e-4), "stale": (1e-6, 0.8)}, "stale"),
    ],
)
def test_which_dominates(
    whole: float, types_differ: bool, changed: dict[str, tuple[float, ...]], named: str
) -> None:
    usual: dict[str, tuple[float, ...]] = {"dtype": (whole, 2e-2), "kernel": (whole, 1e-6)}
    usual["sampling"] = (9.0, 9.0)
    causes = [made(name, *sizes) for name, sizes in (usual | changed).items()]
    assert dominating(causes, whole, types_differ, k3=1e-3) == named


def test_what_replay_would_take_away_is_told_beside_rounding() -> None:
    whole = gap([np.log([0.5, 0.4, 0.3])], [np.log([0.5, 0.41, 0.2])])
    rounding = made("dtype", whole.mean_abs, whole.mean_abs, whole.k3)
    few, many = (made("routing", 0.9 * whole.mean_abs, 0.1, share * whole.k3) for share in (0.25, 0.75))
    said = verdict("dtype", [rounding, few], whole)
    assert said.startswith("dtype: a gap of ")
    assert said.endswith(
        "besides, 75.0% of k3 is by other experts, which rollout.routing_replay=r3 takes away"
    )
    assert "besides" not in verdict("dtype", [rounding, many], whole)
    assert "and 75.0% of k3 are gone" in verdict("routing", [rounding, few], whole)


@pytest.fixture(scope="module")
def sharp(tiny_path: Path) -> Any:
    """The tiny model with weights that make some tokens likelier than others."""
    torch.manual_seed(1)
    model: Any = load_model(Model(path=str(tiny_path), attention="sdpa"), Precision.fp32)
    return moved(model, 0.15)


@torch.no_grad()
def moved(model: Any, size: float) -> Any:
    for parameter in model.parameters():
        parameter.add_(size * torch.randn_like(parameter))
    return model


def engine_of(path: Path, model: Any, precision: Precision, tokenizer: Any) -> HFEngine:
    engine = HFEngine(
        Rollout(),
        path=str(path),
        tokenizer=tokenizer,
        eos=[1],
        seed=0,
        precision=precision,
        max_model_len=256,
    )
    engine.load((name, weight.detach()) for name, weight in model.named_parameters())
    return engine


def record(
    engine: HFEngine, tokenizer: Any, temperature: float = 1.0, asked: Callable[[list[int]], list[int]] = list
) -> list[Sampled]:
    """What the engine samples, decoded token by token with a cache, in padded batches; the prompts are
    recorded as the trainer has them."""
    prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROMPTS]
    requests = [Request(key=n, tokens=asked(p), samples=1, seed=n) for n, p in enumerate(prompts)]
    found = []
    for key, [one] in engine.generate(requests, Sampling(temperature=temperature, top_p=1.0, max_tokens=24)):
        found.append(
            Sampled(
                prompt=prompts[key],
                response=one.tokens.tolist(),
                logprobs=np.asarray(one.logprobs, float),
                text=PROMPTS[key],
            )
        )
    return found


def taken(rows: list[Sampled], model: Any, tokenizer: Any, **more: Any) -> Taken:
    known: dict[str, Any] = {
        "trainer": Setting(precision=Precision.fp32),
        "engine": Precision.fp32,
        "transform": Transform(),
        "prompts": prompts_of(tokenizer),
    }
    return take_apart(Suspects(rows=rows, now=Forwards(model, tokenizer.pad_token_id), **(known | more)))


def older_of(model: Any, tokenizer: Any) -> list[tuple[str, Callable[[], Forwards]]]:
    return [("the start model", lambda: Forwards(model, tokenizer.pad_token_id))]


@pytest.mark.slow
def test_six_planted_causes_are_each_named(tiny_path: Path, sharp: Any) -> None:
    tokenizer = load_tokenizer(Model(path=str(tiny_path)))
    fp32, bf16 = Precision.fp32, Precision.bf16
    torch.manual_seed(2)
    old = moved(copy.deepcopy(sharp), 0.03)
    older = older_of(old, tokenizer)
    engine = engine_of(tiny_path, sharp, fp32, tokenizer)

    found = taken(record(engine, tokenizer), sharp, tokenizer, older=older)
    assert found.dominates == "kernel" and found.gap.max < 1e-3 and "nothing is wrong" in found.verdict

    rows = record(engine_of(tiny_path, sharp, bf16, tokenizer), tokenizer)
    for said in (fp32, bf16):  # whether or not the recipe knows it
        found = taken(rows, sharp, tokenizer, older=older, engine=said)
        assert found.dominates == "dtype" and "rollout.dtype" in found.verdict, found.verdict

    found = taken(record(engine, tokenizer, temperature=0.7), sharp, tokenizer, older=older)
    assert found.dominates == "sampling" and "with temperature 0.7 " in found.verdict, found.verdict

    bos = tokenizer.bos_token_id
    found = taken(record(engine, tokenizer, asked=lambda p: [bos, *p]), sharp, tokenizer, older=older)
    assert found.dominates == "template", found.verdict
    assert "the beginning-of-sequence token before the prompt" in found.verdict

    found = taken(
        record(engine_of(tiny_path, old, fp32, tokenizer), tokenizer), sharp, tokenizer, older=older
    )
    assert found.dominates == "stale" and "with the start model" in found.verdict, found.verdict

    adapted = add_lora(copy.deepcopy(sharp), Model(path=str(tiny_path), lora=Lora(rank=4)))
    moved_adapters(adapted)
    found = taken(
        record(engine, tokenizer), adapted, tokenizer, adapters=True, older=older_of(sharp, tokenizer)
    )
    assert found.dominates == "adapter" and "rollout.lora=merged" in found.verdict, found.verdict
    left = {cause.name: cause.left for cause in found.causes}
    assert left["adapter"] < 1e-5 and left["stale"] < 1e-5 < left["sampling"]


@torch.no_grad()
def moved_adapters(model: Any) -> None:
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))


def looked(capsys: Any, *words: str) -> dict[str, Any]:
    assert main(["inspect", "mismatch", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_a_run_is_looked_at_by_its_own_record(tmp_path: Path, capsys: Any) -> None:
    """Two steps and a checkpoint after the first: step 2 was sampled by its weights."""
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE)
    run = tmp_path / "run"
    settings = ("trainer.steps=2", "trainer.lr=1e-2", "tracker.tokens=true", "checkpoint.every=1")
    done = rlvr("train", str(recipe), f"out={run}", "preflight.enabled=false", *settings)
    assert done.returncode == 0, done.stderr
    found = looked(capsys, str(run))
    assert found["what"] == f"step 2 of {run}, sampled by the weights after step 1"
    assert found["dominates"] == "kernel" and found["gap"]["max"] < 1e-3 and found["sequences"] == 16
    assert looked(capsys, str(run), "--step", "1", "--samples", "4")["what"].endswith("by the start model")

    [rows] = (run / "rollouts").glob("step_000002*")
    said = [json.loads(line) | {"policy_version": 0} for line in rows.read_text().splitlines()]
    # As if the trainer had been at the start, and the engine a step ahead.
    rows.write_text("".join(json.dumps(row) + "\n" for row in said))
    found = looked(capsys, str(run), "--step", "2")
    assert found["gap"]["mean_abs"] > 1e-3 and found["dominates"] not in ("kernel", "dtype")

    [before] = (run / "rollouts").glob("step_000001*")
    old = [json.loads(line) | {"step": 2, "policy_version": 1} for line in before.read_text().splitlines()]
    assert len(old) == len(said)
    rows.write_text("".join(json.dumps(row) + "\n" for row in old))  # sampled before the sync
    assert main(["inspect", "mismatch", str(run)]) == 0
    text = capsys.readouterr().out
    assert "stale: with the start model" in text and "not looked at: adapter: the model has none" in text

    rows.write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k != "logprobs"}) + "\n" for row in old)
    )
    for words, refusal in (
        ([str(run)], "have no logprobs: record them with tracker.tokens=true, or sample anew"),
        ([str(run), "--step", "7"], "has no samples of step 7"),
        ([str(run), "trainer.lr=1"], "a run is looked at as it was"),
        ([str(run / "final")], "is no run; name a recipe"),
        ([str(run / "final"), "--recipe", str(recipe), "--step", "1"], "--step is for a run"),
    ):
        assert main(["inspect", "mismatch", *words]) == 2
        assert refusal in capsys.readouterr().err

    settings = ("rollout.dtype=bf16", "rollout.temperature=0.7", "--samples", "6")
    found = looked(capsys, str(run / "final"), "--recipe", str(recipe), *settings)
    assert found["dominates"] == "dtype" and found["sequences"] == 6  # at one temperature on both sides


@pytest.mark.parametrize("left", [0, 3000])
def test_damaged_weights_are_told_before_an_engine_starts(
    left: int, tiny_path: Path, tmp_path: Path, capsys: Any
) -> None:
    model = shutil.copytree(tiny_path, tmp_path / "damaged")
    whole = (tiny_path / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:left])
    assert main(["inspect", "mismatch", str(model), "--recipe", "tiny_dapo"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and f"MODEL: {model}/model.safetensors cannot be read" in said[0]


@pytest.mark.slow
@pytest.mark.usefixtures("no_plugins_afterwards")
def test_noisy_routers_of_the_real_engine_are_named(
    tiny_moe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """vLLM's, by the plugin of `benchmarks/routing.py`."""
    monkeypatch.setenv("ROUTER_NOISE", "0.02")
    model = unsure(tiny_moe_path, tmp_path / "unsure")
    words = [str(model), "--recipe", "tiny_moe_grpo", f"plugins=[{NOISE}]", "rollout.routing_replay=none"]
    found = looked(capsys, *words, "rollout.kv_cache_gb=0.05", "rollout.max_tokens=12", "--samples", "8")
    assert found["dominates"] == "routing", found["verdict"]
    assert "rollout.routing_replay=r3" in found["verdict"] and "of k3 are gone" in found["verdict"]
    [routing] = [cause for cause in found["causes"] if cause["name"] == "routing"]
    assert routing["left_k3"] < found["gap"]["k3"] / 2 and routing["alone"] > 1e-4
