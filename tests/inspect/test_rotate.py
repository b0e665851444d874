"""`rlvr inspect rotate`: the same function to 1e-9 in fp64, other weights, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rlvr_cli.commands.main import main
from rlvr_cli.inspect.rotate import Heads, permute_heads, rotate_values

SIZES = {
    "vocab_size": 11,
    "hidden_size": 24,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 32,
}


def made(kind: str) -> PreTrainedModel:
    """Six query heads on three of keys; Qwen2 has biases, Qwen3 norms of queries and keys and wider heads."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))  # biases and norms too, which begin at 0 and 1
    return model.double().eval()


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.no_grad():
        return model(torch.arange(20)[None] % 11).logits


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_the_function_stays_and_the_weights_do_not(kind: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    made(kind).save_pretrained(base)
    before = logits(base)
    weights = load_file(base / "model.safetensors")
    for edit, names in (("values", "vo"), ("heads", "qkvo"), ("both", "qkvo")):
        out = tmp_path / edit
        assert main(["inspect", "rotate", str(base), str(out), "--layer", "1", "--edit", edit]) == 0
        assert torch.allclose(logits(out), before, atol=1e-9, rtol=0)
        edited = load_file(out / "model.safetensors")
        other = {name for name, weight in weights.items() if not torch.equal(weight, edited[name])}
        wanted = {f"model.layers.1.self_attn.{name}_proj.weight" for name in names}
        assert {name for name in other if name.endswith("_proj.weight")} == wanted
        biases = {name for name in other if name.endswith("bias")}
        assert len(biases) == (len(set(names) - {"o"}) if kind == "qwen2" else 0)
        assert {path.name for path in out.iterdir()} == {path.name for path in base.iterdir()}


def test_a_part_of_the_edit_alone_is_another_function(tmp_path: Path) -> None:
    """So the test above can fail: without the bias of the values, or with R in the place of its transpose."""
    base = tmp_path / "base"
    made("qwen2").save_pretrained(base)
    before, weights = logits(base), load_file(base / "model.safetensors")
    assert (
        main(["inspect", "rotate", str(base), str(tmp_path / "out"), "--layer", "0", "--edit", "values"]) == 0
    )
    bias = "model.layers.0.self_attn.v_proj.bias"
    spoilt = load_file(tmp_path / "out" / "model.safetensors") | {bias: weights[bias]}
    save_file(spoilt, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    assert not torch.allclose(logits(tmp_path / "out"), before, atol=1e-3)


def test_spectra_stay_under_rotation_and_orders_of_heads() -> None:
    torch.manual_seed(0)
    heads = Heads(queries=4, keys=2, size=3)
    layer = {"q_proj.weight": torch.randn(12, 7), "o_proj.weight": torch.randn(7, 12)}
    layer |= {"k_proj.weight": torch.randn(6, 7), "v_proj.weight": torch.randn(6, 7)}
    for edit in (rotate_values, permute_heads):
        for name, weight in edit(layer, heads, 0).items():
            expected = torch.linalg.svdvals(layer[name])
            assert torch.allclose(torch.linalg.svdvals(weight), expected, atol=1e-5), name
    assert rotate_values(layer, heads, 0)["v_proj.weight"].equal(
        rotate_values(layer, heads, 0)["v_proj.weight"]
    )
    assert not rotate_values(layer, heads, 1)["v_proj.weight"].equal(
        rotate_values(layer, heads, 0)["v_proj.weight"]
    )
    moved = permute_heads(layer, heads, 0)["k_proj.weight"]
    assert moved.equal(layer["k_proj.weight"].view(2, 3, 7).flip(0).view(6, 7))  # the only other order of two


def test_a_run_directory_in_bf16(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run" / "final"
    run.mkdir(parents=True)
    for path in tiny_path.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    weights = load_file(run / "model.safetensors")
    save_file(
        {name: weight.bfloat16() for name, weight in weights.items()},
        run / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert (
        main(["inspect", "rotate", str(run.parent), str(tmp_path / "out"), "--layer", "0,1", "--seed", "3"])
        == 0
    )
    assert "layer 1: values and heads" in capsys.readouterr().out
    gap = (logits(tmp_path / "out") - logits(run)).abs().max()
    assert 0 < gap < 0.05  # rounding of bf16
    main(["inspect", "weights", str(run), str(tmp_path / "out"), "--json"])
    found = {weight["name"]: weight for weight in json.loads(capsys.readouterr().out)["weights"]}
    assert found["model.layers.0.mlp.up_proj.weight"]["sparsity"] == [1]
    assert found["model.layers.0.self_attn.v_proj.weight"]["sparsity"][0] < 0.2
    assert found["model.layers.0.self_attn.v_proj.weight"]["directions"][0]["drift"] < 0.01


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layer", "7"], "has no such layer with self_attn; there are: 0, 1"),
        (["--layer", "0,0"], "each once"),
        (["--layer", "-1"], "a list of layers such as 0,3"),
        ([], "--layer"),
        (["--layer", "0", "--seed", str(2**63)], "--seed is 9223372036854775808; it must be from -2^62"),
    ],
)
def test_wrong_layers(
    words: list[str], said: str, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "rotate", str(tiny_path), str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("fused", "is not there"),
        ("gate", "has 128 rows, and config.json promises 64"),
        ("sinks", "attention with such a weight is not rotated"),
        ("norm", "has a weight for every head"),
        ("config", "how many attention heads"),
    ],
)
def test_other_attention_is_refused(
    spoil: str, said: str, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    weights = load_file(tiny_path / "model.safetensors")
    prefix = "model.layers.0.self_attn."
    if spoil == "fused":
        weights[f"{prefix}qkv_proj.weight"] = weights.pop(f"{prefix}q_proj.weight")
        weights[f"{prefix}q_proj.bias"] = weights.pop(f"{prefix}q_proj.bias")
        said = "such a weight is not rotated"
    elif spoil == "gate":
        weights[f"{prefix}q_proj.weight"] = torch.zeros(128, 64)
    elif spoil == "sinks":
        weights[f"{prefix}sinks"] = torch.zeros(2)
    elif spoil == "norm":
        weights[f"{prefix}q_norm.weight"] = torch.ones(64)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    (model / "config.json").write_text("{}" if spoil == "config" else (tiny_path / "config.json").read_text())
    assert main(["inspect", "rotate", str(model), str(tmp_path / "out"), "--layer", "0"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
