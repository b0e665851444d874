"""`rlvr plan`: sizes against published and real models, formulas against autograd, advice that holds."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from run_helpers import RECIPE, rlvr
from transformers import AutoConfig, AutoModelForCausalLM

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.logprobs import CHUNK_ELEMENTS
from rlvr_cli.engine.model import add_lora
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.planning import activations, calibrate
from rlvr_cli.planning.gpus import GIB, GPUS
from rlvr_cli.planning.job import Job, cached_shapes
from rlvr_cli.planning.known_models import CONFIGS
from rlvr_cli.planning.memory import Memory, memory_of
from rlvr_cli.planning.planner import Wish, make_plan
from rlvr_cli.planning.shapes import shape_of
from rlvr_cli.planning.speed import BANDWIDTH, MFU, times_of
from rlvr_cli.schema import Lora, Model, Precision, TinyModel

PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
}
"""Sums over the tensors of the published safetensors files."""
SHAPES = cached_shapes()


def job(*overrides: str, gpu: str = "h100", ranks: int = 8, recipe: str = "dapo_qwen7b") -> Job:
    loaded: Any = compose.load(recipe, list(overrides))
    return Job(recipe=loaded, device=GPUS[gpu], ranks=ranks, shapes=SHAPES, response=1000.0, prompt=500.0)


PLAIN = cache(job)
"""The same without overrides: composing takes half a second."""


def changed(given_: Job, section: str, **values: Any) -> Job:
    """With other values in a section of the recipe."""
    recipe: Any = given_.recipe
    return replace(given_, recipe=replace(recipe, **{section: replace(getattr(recipe, section), **values)}))


def line(memory: Memory, name: str, phase: str = "update") -> float:
    return sum(item.phases.get(phase, 0.0) for item in memory.items if item.name == name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert shape_of(Model(path=name)).parameters == PUBLISHED[name]


def test_every_model_of_the_package_is_known() -> None:
    shipped = Path(compose.__file__).parents[1] / "conf" / "model"
    paths = {
        text.split("path: ")[1].split()[0] for file in shipped.glob("*.yaml") for text in [file.read_text()]
    }
    assert paths - {"builtin:tiny"} <= set(CONFIGS)


@pytest.mark.parametrize("rank", [0, 4])
def test_tiny_counts_are_those_of_the_model_that_is_made(tmp_path: Path, rank: int) -> None:
    tiny, lora = TinyModel(hidden_size=64, layers=3), Lora(rank=rank)
    make_tiny(tmp_path / "model", tiny, 0)
    real: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    real = add_lora(real, Model(path="", lora=lora)) if rank else real
    found = shape_of(Model(path="builtin:tiny", tiny=tiny, lora=lora))
    assert found.parameters == sum(p.numel() for p in real.parameters())
    assert found.trained == sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert shape_of(Model(path=str(tmp_path / "model"), lora=lora)) == found  # weights are not needed


def saved_bytes(
    kind: str, layers: int, dtype: torch.dtype, attention: str, packed: bool, again: bool
) -> float:
    """Bytes per token that autograd keeps of a real forward pass, parameters apart."""
    config = AutoConfig.for_model(kind, **SMALL, num_hidden_layers=layers)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.train()
    if again:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    positions = torch.arange(32 if packed else 64).repeat(4, 2 if packed else 1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.get_decoder()(input_ids=torch.zeros_like(positions), position_ids=positions, use_cache=False)
    return sum(t.untyped_storage().nbytes() for t in seen.values()) / positions.numel()


SMALL = {
    "vocab_size": 100,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
}


@pytest.mark.parametrize(
    ("kind", "dtype", "attention", "packed", "again"),
    [
        ("qwen2", torch.float32, "sdpa", False, False),
        ("qwen2", torch.bfloat16, "sdpa", False, False),
        ("qwen2", torch.bfloat16, "eager", False, False),
        ("qwen2", torch.float32, "sdpa", True, False),
        ("qwen2", torch.bfloat16, "sdpa", False, True),
        ("llama", torch.bfloat16, "sdpa", False, False),
        ("qwen3", torch.float32, "sdpa", False, False),
    ],
)
def test_activations_are_what_autograd_keeps(
    tmp_path: Path, kind: str, dtype: torch.dtype, attention: str, packed: bool, again: bool
) -> None:
    """A layer's share exactly, from the difference of two depths."""
    AutoConfig.for_model(kind, **SMALL, num_hidden_layers=2).save_pretrained(tmp_path)
    shape, width = shape_of(Model(path=str(tmp_path))), dtype.itemsize
    one = activations.layer(shape, width, attention=attention, row=64, packed=packed)
    predicted = width * shape.hidden if again else one
    two, four = (saved_bytes(kind, n, dtype, attention, packed, again) for n in (2, 4))
    assert (four - two) / 2 == pytest.approx(predicted, rel=0.01)
    ends = activations.ends(shape, width) - width * shape.hidden  # where layers recompute, a little is shared
    assert two - (four - two) == pytest.approx(ends, rel=0.15 if again else 0.1)


@pytest.mark.parametrize("layers", [1, 24])
def test_a_layer_that_is_recomputed_is_held_as_a_whole(layers: int) -> None:
    """Besides the inputs of all layers, in bf16: with a single layer, recomputing it saves nothing."""
    shape = replace(SHAPES(Model(path="Qwen/Qwen2.5-0.5B"), False), layers=layers)
    usual: dict[str, Any] = {"attention": "sdpa", "row": 64, "packed": False}
    again, all_kept = (
        activations.kept(shape, 2, 1000, checkpointing=checkpointing, **usual)
        for checkpointing in (True, False)
    )
    others = (layers - 1) * activations.layer(shape, 2, **usual)
    assert again == pytest.approx(all_kept + 1000 * (2 * 896 * layers - others))


def test_the_rank_with_the_most_sequences_is_planned() -> None:
    """512 prompts with 16 samples each."""
    assert [replace(PLAIN(), ranks=n).sequences for n in (1, 3, 8, 8191)] == [8192, 2731, 1024, 2]


def test_optimizer_states_by_hand() -> None:
    """7.6B parameters in bf16: 2 bytes of weights, 4 of fp32 master copy, 8 of moments each."""
    count = PUBLISHED["Qwen/Qwen2.5-7B"]
    for stage, split in ((0, (1, 1, 1)), (1, (1, 8, 1)), (2, (1, 8, 8)), (3, (8, 8, 8))):
        memory = memory_of(changed(PLAIN(), "trainer", zero_stage=stage))
        weights, states, gradients = split
        assert line(memory, "weights") == 2 * count / weights
        assert line(memory, "master weights") == 4 * count / states
        assert line(memory, "Adam moments") == 8 * count / states
        assert line(memory, "gradients", "optimizer") == 2 * count / gradients
    exact = memory_of(changed(PLAIN(), "trainer", zero_stage=0, precision=Precision.fp32))
    assert line(exact, "master weights") == 0 and line(exact, "Adam moments") == 8 * count


def test_gradients_of_several_micro_batches_and_ranks() -> None:
    """ZeRO-2 adds a micro-batch's gradients to the sum, and joins the pieces of several ranks in a copy."""
    count, bucket = PUBLISHED["Qwen/Qwen2.5-7B"], 2 * 5e8
    two = changed(changed(PLAIN(), "trainer", zero_stage=2), "checkpoint", every=None)
    many, alone = memory_of(two), memory_of(replace(two, ranks=1))
    assert line(many, "gradients") == 2 * line(many, "gradients", "optimizer") == 2 * 2 * count / 8
    assert line(many, "gradient buckets") == 2 * bucket and line(alone, "gradient buckets") == bucket
    exact = memory_of(changed(PLAIN(), "trainer", zero_stage=0, precision=Precision.fp32))
    assert line(exact, "gradient buckets") == 0
    assert line(exact, "gradient buckets", "optimizer") == 4 * 5e8
    three = memory_of(replace(PLAIN(), ranks=1))  # updated a sub-group at a time
    assert line(three, "fp32 gradients", "optimizer") == (4 + 2) * 1e9


@pytest.mark.slow
def test_offload_lora_and_reference_move_what_they_should() -> None:
    before, moved = memory_of(job()), memory_of(job("trainer.offload=optimizer"))
    assert moved.total("update") < before.total("update") and moved.host_peak > before.host_peak
    adapters = memory_of(job("model.lora.rank=16"))
    assert line(adapters, "Adam moments") < 0.02 * line(before, "Adam moments")
    assert line(before, "reference") == 0
    assert line(memory_of(job("algorithm/kl=loss")), "reference") == line(before, "weights")
    assert line(memory_of(job("algorithm/kl=loss", "model.lora.rank=16")), "reference") == 0
    assert line(memory_of(job("algorithm=ppo")), "critic: Adam moments") > 0


def test_logits_are_held_in_chunks() -> None:
    short, long = (memory_of(job(f"batch.tokens_per_microbatch={n}")) for n in (30_000, 60_000))
    assert line(short, "logits") == line(long, "logits") == pytest.approx(CHUNK_ELEMENTS * 22, rel=0.01)
    assert line(long, "activations") == 2 * line(short, "activations")


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    stage=st.integers(0, 3),
    ranks=st.sampled_from([1, 2, 8]),
    tokens=st.sampled_from([1000, 40_000, 90_000]),
    again=st.booleans(),
)
def test_what_helps_never_harms(stage: int, ranks: int, tokens: int, again: bool) -> None:
    given_ = job(
        f"trainer.zero_stage={stage}",
        f"batch.tokens_per_microbatch={tokens}",
        f"model.gradient_checkpointing={str(again).lower()}",
        ranks=ranks,
    )
    here = memory_of(given_).total("update")
    assert memory_of(replace(given_, ranks=2 * ranks)).total("update") <= here * (1.2 if stage == 3 else 1)
    recipe: Any = given_.recipe
    saved = replace(recipe, model=replace(recipe.model, gradient_checkpointing=True))
    assert memory_of(replace(given_, recipe=saved)).total("update") <= here
    fewer = replace(recipe, batch=replace(recipe.batch, tokens_per_microbatch=tokens // 2))
    assert memory_of(replace(given_, recipe=fewer)).total("update") <= here


def test_engine_share_and_sleep() -> None:
    half = changed(PLAIN(), "rollout", gpu_memory_utilization=0.5)
    memory = memory_of(half)
    held = "vLLM: weights, KV cache"
    assert line(memory, held, "rollout") == 0.5 * GPUS["h100"].memory
    assert line(memory, held, "update") == GIB
    awake = memory_of(changed(half, "rollout", sleep=False))
    assert line(awake, held, "update") == line(awake, held, "rollout")
    tight = memory_of(changed(half, "rollout", gpu_memory_utilization=0.2))
    assert not tight.fits and "gpu_memory_utilization" in tight.problems[0]


def test_the_cache_of_vllm_is_what_its_weights_leave() -> None:
    """7.6B weights in bf16, 1.5 GiB of CUDA context and a pass over 8192 tokens; 28 layers with 4 heads of
    128 keys and 128 values, 2 bytes each."""
    given_ = changed(PLAIN(), "rollout", gpu_memory_utilization=0.5)
    free = 0.5 * GPUS["h100"].memory - 2 * PUBLISHED["Qwen/Qwen2.5-7B"] - 1.5 * GIB
    free -= activations.passing(given_.plain, 2, 8192)
    assert memory_of(given_).cache_tokens == pytest.approx(free / (28 * 4 * 2 * 128 * 2))


@pytest.mark.slow
def test_advice_holds_when_it_is_planned_again() -> None:
    recipe: Any = compose.load("dapo_qwen7b", [])
    plan = make_plan(recipe, Wish(gpu="a100-40", ranks=2))
    assert not plan.memory.fits and plan.advice
    for advice in plan.advice:
        ranks = next((int(s.split()[1]) for s in advice.settings if s.startswith("--ranks")), 2)
        overrides = [s for s in advice.settings if not s.startswith("--")]
        again: Any = compose.load("dapo_qwen7b", overrides)
        assert make_plan(again, Wish(gpu="a100-40", ranks=ranks)).memory.fits
        for left_out in overrides:  # nothing in it is superfluous
            fewer: Any = compose.load("dapo_qwen7b", [s for s in overrides if s != left_out])
            assert not make_plan(fewer, Wish(gpu="a100-40", ranks=ranks)).memory.fits


def test_update_time_by_hand() -> None:
    """One rank without recomputation: 6 operations a weight and token, 12 for attention, AdamW's traffic."""
    one = job("model.gradient_checkpointing=false", "trainer.zero_stage=0", gpu="h200", ranks=1)
    tokens, shape = one.sequences * 1500.0, one.policy
    operations = 6 * shape.parameters + 3 * 4 * shape.layers * shape.queries * 750
    updates = one.rl.batch.updates_per_step
    adam = updates * 28 * shape.trained / (4.8e12 * BANDWIDTH)
    found = times_of(one)
    assert found is not None and found["update"] == pytest.approx(tokens * operations / (989e12 * MFU) + adam)


@pytest.mark.parametrize(
    ("wish", "phase", "sign"),
    [
        (Wish(gpu="h100", response=20_000), "rollout", 1),
        (Wish(gpu="h100", prompt=2000), "update", 1),
        (Wish(gpu="h100", kept=1.0), "rollout", -1),
        (Wish(gpu="h100", ranks=16), "update", -1),
        (Wish(gpu="h200"), "rollout", -1),
    ],
)
def test_every_option_is_read(wish: Wish, phase: str, sign: int) -> None:
    recipe: Any = compose.load("dapo_qwen7b", [])
    usual, changed = make_plan(recipe, Wish(gpu="h100")).seconds, make_plan(recipe, wish).seconds
    assert usual is not None and changed is not None
    assert (changed[phase] - usual[phase]) * sign > 0


def test_stages_count_with_their_lengths() -> None:
    both = ["trainer.steps=10", "algorithm/shaping=identity"]
    plain: Any = compose.load("dapo_qwen7b", both)
    staged: Any = compose.load("dapo_qwen7b", [*both, "+stages.short={after: 5, max_tokens: 1024}"])
    totals = [make_plan(recipe, Wish(gpu="h100")).total for recipe in (plain, staged)]
    assert totals[0] and totals[1] and 0.5 * totals[0] < totals[1] < 0.65 * totals[0]


def test_measurements_correct_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe: Any = compose.load(str(path), [])
    rows: list[dict[str, Any]] = [
        {"time": 105.0, "timing_s/step": 3.0, "timing_s/update": 2.0, "perf/peak_memory_gb": 1.0},
        {"time": 107.0, "timing_s/step": 2.0, "timing_s/update": 1.5, "perf/peak_memory_gb": 2.0},
        {"event": "checkpoint"},
    ]
    measured = calibrate.evaluate(rows, began=100.0)
    assert measured.startup == 3.0 and measured.peak == 2 * GIB and measured.seconds["update"] == 1.5
    plan = make_plan(recipe, Wish(gpu="cpu"), measured)
    assert plan.memory.peak == pytest.approx(2 * GIB)
    assert plan.seconds == {"update": 1.5, "other": 0.5}
    assert plan.total == pytest.approx(3 * 2.0 + 3.0)
    saving: Any = compose.load(str(path), ["checkpoint.every=2"])  # measured without: the copy comes on top
    copy = line(make_plan(saving, Wish(gpu="cpu"), measured).memory, "checkpoint's copy")
    assert copy > 0
    assert make_plan(saving, Wish(gpu="cpu"), measured).memory.peak == pytest.approx(2 * GIB + copy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("dapo_qwen7b --gpu h1000", "--gpu h1000 is not known"),
        ("dapo_qwen7b --ranks 0", "--ranks is 0; it must be at least 1"),
        ("dapo_qwen7b --kept 2", "--kept is 2; it is a share"),
        ("dapo_qwen7b --calibrate --gpu h100", "--calibrate measures this machine, not h100"),
        ("dapo_qwen7b trainer.step=3", "trainer.step"),
        ("tiny_dapo model.path=builtin:tiny model.tiny.heads=3", "model.tiny: hidden_size"),
    ],
)
def test_mistakes_are_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_unknown_hub_model_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"set model.path to a folder"):
        shape_of(Model(path="nobody/no-such-model"))


@pytest.mark.slow
def test_page_fits_100_columns_and_json_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "dapo_qwen7b", "--gpu", "a100-40", "--ranks", "2"]
    assert main(words) == 1
    page = capsys.readouterr().out
    assert "does not fit: peak" in page and "fits with: " in page
    assert max(map(len, page.splitlines())) <= 100
    assert main([*words, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert not content["fits"] and content["memory"]["peak"] == max(content["memory"]["phases"].values())
    assert f"{content['memory']['peak'] / GIB:.2f} GiB in {content['memory']['peak_phase']}" in page


@pytest.mark.slow
def test_page_of_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["plan", "dapo_qwen7b", "--gpu", "a100-40", "--ranks", "2"]) == 1
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 60
    assert "left out: 3 phases" in page and "*" in page  # what decides is shown
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["plan", "sft_qwen7b", "--gpu", "h100"]) == 0
    page = capsys.readouterr().out
    assert "rollout" not in page and "decoding" not in page and "left out" not in page


def test_calibration_is_imported_without_torch() -> None:
    code = "import sys, rlvr_cli.planning.calibrate, rlvr_cli.commands.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_calibration_runs_the_recipe_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    done = rlvr("plan", str(file), f"out={tmp_path}/run", "--calibrate", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    measured = content["measured"]
    assert measured["steps"] == calibrate.STEPS and content["seconds"]["update"] > 0
    assert content["predicted_peak"] == pytest.approx(measured["peak"], rel=0.15)
    assert content["memory"]["peak"] == pytest.approx(measured["peak"])
    assert sorted(tmp_path.iterdir()) == [file]
