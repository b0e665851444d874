"""`rlvr plan`: sizes against published and real models, formulas against autograd, advice that holds."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import PLAIN, PUBLISHED, SHAPES, job, line
from run_helpers import RECIPE, rlvr
from transformers import AutoConfig, AutoModelForCausalLM

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import BUILT_IN
from rlvr_cli.engine import attention
from rlvr_cli.engine.logprobs import hidden_states
from rlvr_cli.engine.model import add_lora
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.environments import find
from rlvr_cli.planning import activations, calibrate
from rlvr_cli.planning.gpus import GIB
from rlvr_cli.planning.known_models import CONFIGS
from rlvr_cli.planning.memory import NCCL, memory_of
from rlvr_cli.planning.page import episodes
from rlvr_cli.planning.planner import Wish, make_plan
from rlvr_cli.planning.shapes import shape_of
from rlvr_cli.planning.speed import BANDWIDTH, MFU, times_of
from rlvr_cli.schema import Lora, Model, Recipe, Source, TinyModel


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert shape_of(Model(path=name)).parameters == PUBLISHED[name]


def test_every_model_of_the_package_is_known() -> None:
    shipped = Path(compose.__file__).parents[1] / "conf" / "model"
    paths = {
        text.split("path: ")[1].split()[0] for file in shipped.glob("*.yaml") for text in [file.read_text()]
    }
    assert paths - set(BUILT_IN) <= set(CONFIGS)


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
    kind: str,
    layers: int,
    dtype: torch.dtype,
    implementation: str,
    again: bool,
    lora: Lora | None = None,
) -> float:
    """Bytes per token that autograd keeps of a real forward pass of 256 tokens, parameters apart."""
    config = AutoConfig.for_model(kind, **SMALL, num_hidden_layers=layers)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if lora is not None:
        model = add_lora(model, Model(path="small", lora=lora)).get_base_model()
    attention.register()
    model.set_attn_implementation(implementation)
    model.train()
    if again:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    layout = None
    positions = torch.arange(64).repeat(4, 1)
    if implementation == attention.PACKED:  # four sequences end to end, of two lengths
        lengths = (96, 96, 32, 32)
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        layout = attention.Layout(lengths, torch.tensor([0, 96, 192, 224, 256], dtype=torch.int32))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        hidden_states(model.get_decoder(), torch.zeros_like(positions), positions, layout)
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
    ("kind", "dtype", "name", "again"),
    [
        ("qwen2", torch.float32, "runs", False),
        ("qwen2", torch.bfloat16, "runs", False),
        ("qwen2", torch.bfloat16, "runs", True),
        ("qwen3", torch.float32, "runs", False),
        ("qwen2", torch.float32, "padded", False),
        ("qwen2", torch.bfloat16, "eager", False),
        ("llama", torch.bfloat16, "padded", False),
    ],
)
def test_activations_are_what_autograd_keeps(
    tmp_path: Path, kind: str, dtype: torch.dtype, name: str, again: bool
) -> None:
    """A layer's share exactly, from the difference of two depths."""
    AutoConfig.for_model(kind, **SMALL, num_hidden_layers=2).save_pretrained(tmp_path)
    shape, width = shape_of(Model(path=str(tmp_path))), dtype.itemsize
    implementation = {"runs": attention.PACKED, "padded": "sdpa"}.get(name, name)
    one = activations.layer(shape, width, attention=name, row=64)
    predicted = width * shape.hidden if again else one
    two, four = (saved_bytes(kind, n, dtype, implementation, again) for n in (2, 4))
    assert (four - two) / 2 == pytest.approx(predicted, rel=0.01)
    ends = activations.ends(shape, width) - width * shape.hidden  # where layers recompute, a little is shared
    assert two - (four - two) == pytest.approx(ends, rel=0.15 if again else 0.1)


def test_rows_without_padding_keep_no_more_for_being_longer() -> None:
    shape = SHAPES(Model(path="Qwen/Qwen2.5-7B"), False)
    for name in ("ragged", "runs", "padded"):
        short, long = (activations.layer(shape, 2, attention=name, row=n) for n in (100, 100_000))
        assert short == long
    one = activations.layer(shape, 2, attention="ragged", row=1)  # bf16: norms, heads, log-sum-exp, inner
    assert one == 2 * (8 * 3584 + 4) + 2 * (2 * 3584 + 2 * 512) + 4 * 28 + 2 * 4 * 18944


@pytest.mark.parametrize("layers", [1, 24])
def test_a_layer_that_is_recomputed_is_held_as_a_whole(layers: int) -> None:
    """Besides the inputs of all layers, in bf16: with a single layer, recomputing it saves nothing."""
    shape = replace(SHAPES(Model(path="Qwen/Qwen2.5-0.5B"), False), layers=layers)
    usual: dict[str, Any] = {"attention": "ragged", "row": 64}
    again, all_kept = (
        activations.kept(shape, 2, 1000, checkpointing=checkpointing, **usual)
        for checkpointing in (True, False)
    )
    others = (layers - 1) * activations.layer(shape, 2, **usual)
    assert again == pytest.approx(all_kept + 1000 * (2 * 896 * layers - others))


def test_the_rank_with_the_most_sequences_is_planned() -> None:
    """512 prompts with 16 samples each."""
    assert [replace(PLAIN(), ranks=n).sequences for n in (1, 3, 8, 8191)] == [8192, 2731, 1024, 2]


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
    more = memory_of(replace(given_, ranks=2 * ranks)).total("update")
    assert more <= here * (1.2 if stage == 3 else 1) + (NCCL if ranks == 1 else 0)
    recipe: Any = given_.recipe
    saved = replace(recipe, model=replace(recipe.model, gradient_checkpointing=True))
    assert memory_of(replace(given_, recipe=saved)).total("update") <= here
    fewer = replace(recipe, batch=replace(recipe.batch, tokens_per_microbatch=tokens // 2))
    assert memory_of(replace(given_, recipe=fewer)).total("update") <= here


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
    one = replace(one, prompt=200.0, response=1300.0)  # of 16 prompts, having one saves too little
    tokens, shape = one.sequences * 1500.0, one.policy
    operations = 6 * shape.parameters + 3 * 4 * shape.layers * shape.queries * 750
    updates = one.rl.batch.updates_per_step
    adam = updates * 28 * shape.trained / (4.8e12 * BANDWIDTH)
    found = times_of(one)
    assert found is not None and found["update"] == pytest.approx(tokens * operations / (989e12 * MFU) + adam)


@pytest.mark.slow
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


def test_the_page_says_what_it_takes_an_episode_for() -> None:

    games = {"game": find("guess")(max_turns=4), "unused": find("guess")()}
    played = Recipe(data={"train": Source(path="x", environment="game")}, environments=games)
    [line] = episodes(played)
    assert line.startswith(
        "episodes with game (at most 4 turns): a whole one, with all that is said to it, has"
    )
    assert "rollout.max_tokens=1,024 tokens" in line
    assert list(episodes(Recipe(data={"train": Source(path="x")}))) == []


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


def test_dora_keeps_two_outputs_of_each_layer(tmp_path: Path) -> None:
    """Against LoRA of the same rank. Seen besides, for a moment: unit matrices put through A and B."""
    AutoConfig.for_model("qwen2", **SMALL, num_hidden_layers=2).save_pretrained(tmp_path)
    turned = Lora(rank=4, dora=True)
    shape = shape_of(Model(path=str(tmp_path), lora=turned))
    assert shape.dora_outputs == 2 * (128 + 2 * 64 + 128 + 2 * 320 + 128)
    assert shape.dora_largest == 128 * 320 + 320**2
    kept = [saved_bytes("qwen2", 2, torch.float32, "sdpa", False, lora) for lora in (Lora(rank=4), turned)]
    units = 4 * 2 * (6 * 128**2 + 320**2) / 256
    wanted = activations.dora(shape, 4, checkpointing=False)
    assert kept[1] - kept[0] - units == pytest.approx(wanted, rel=0.02)
