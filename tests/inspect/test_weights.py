"""`rlvr inspect weights`: the paper's worked numbers, and folders whose differences are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlvr_cli.commands.main import main
from rlvr_cli.inspect import entries
from rlvr_cli.inspect.changed import changed_in_bf16, dispersion, jaccard, jaccard_at_random
from rlvr_cli.inspect.folder import place

ETA = 1e-3


def bf16_rule(w0: Tensor, w1: Tensor) -> Tensor:
    """The paper's: unchanged within eta of the larger, on stored bf16 values in fp32."""
    return (w1.float() - w0.float()).abs() > ETA * torch.maximum(w0.abs(), w1.abs()).float()


def folder(path: Path, weights: dict[str, Tensor], shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    if shards == 1:
        save_file(weights, path / "model.safetensors")
        return path
    names = sorted(weights)
    parts = {f"model-{n}.safetensors": names[n::shards] for n in range(shards)}
    for file, inside in parts.items():
        save_file({name: weights[name] for name in inside}, path / file)
    index = {"weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def two_layers() -> dict[str, Tensor]:
    torch.manual_seed(0)
    made = {"model.embed_tokens.weight": torch.randn(6, 4)}
    for layer in (0, 1):
        made[f"model.layers.{layer}.self_attn.q_proj.weight"] = torch.randn(8, 4)
        made[f"model.layers.{layer}.mlp.down_proj.weight"] = torch.randn(4, 8)
        made[f"model.layers.{layer}.input_layernorm.weight"] = torch.ones(4)
    return {name: weight.bfloat16() for name, weight in made.items()}


def test_near_one_a_small_update_is_not_stored() -> None:
    w0 = torch.ones(2)
    w1 = w0 + torch.tensor([0.001, 0.005])
    assert w1.bfloat16().tolist() == [1.0, 1.0078125]
    assert changed_in_bf16(w0, w1).tolist() == [False, True]
    near = torch.tensor([0.01]).bfloat16()
    assert (torch.nextafter(near, torch.ones(1).bfloat16()) - near).item() == 2**-14


def test_the_papers_rule_is_equality_of_bits() -> None:
    torch.manual_seed(0)
    bits = torch.randint(-(2**15), 2**15, (2, 1_000_000), dtype=torch.int32).to(torch.int16)
    near = bits[0] + torch.randint(-1, 2, (1_000_000,)).to(
        torch.int16
    )  # neighbours, which chance never gives
    for other in (bits[1], near):
        w0, w1 = bits[0].view(torch.bfloat16), other.view(torch.bfloat16)
        normal = w0.isfinite() & w1.isfinite() & (w0.abs() >= 2.0**-126) & (w1.abs() >= 2.0**-126)
        w0, w1 = w0[normal], w1[normal]
        differ = bits[0][normal] != other[normal]
        assert torch.equal(changed_in_bf16(w0, w1), differ)
        assert torch.equal(bf16_rule(w0, w1), differ)
    zero = torch.tensor([0.0, -0.0]).bfloat16()
    assert not changed_in_bf16(zero, zero.flip(0)).any() and not bf16_rule(zero, zero.flip(0)).any()


def test_an_absolute_tolerance_is_wrong_at_both_ends() -> None:
    """1e-5 calls equal what differs near 1e-6, and two masters near 1024 other that bf16 stores as one."""
    w0, w1 = torch.tensor([1e-6, 1024.0]), torch.tensor([2e-6, 1025.0])
    assert changed_in_bf16(w0, w1).tolist() == [True, False]
    assert ((w1 - w0).abs() > 1e-5).tolist() == [False, True]


def test_jaccard_of_independent_masks() -> None:
    assert jaccard_at_random(0.6, 0.6) == pytest.approx(0.36 / 0.84)
    assert jaccard(1, 2, 3) == 0.25
    torch.manual_seed(0)
    p, q = torch.rand(2, 200_000) < 0.6
    found = jaccard(float((p & q).sum()), float(p.sum()), float(q.sum()))
    assert found == pytest.approx(0.4286, abs=0.01)


def test_stripes_differ_from_chance() -> None:
    torch.manual_seed(0)
    mask = torch.rand(1000, 500) < 0.3
    assert dispersion(mask.sum(1), 500) == pytest.approx(1, abs=0.2)
    striped = torch.zeros(10, 8, dtype=torch.bool)
    striped[:5] = True  # variance 0.25 * 10/9 of shares, p(1-p)/8 at random
    assert dispersion(striped.sum(1), 8) == pytest.approx(80 / 9)
    assert dispersion(striped.sum(0), 10) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.3.self_attn.q_proj.weight", (3, "q_proj")),
        ("model.layers.3.self_attn.q_proj.bias", (3, "q_proj.bias")),
        ("model.layers.11.mlp.experts.7.gate_proj.weight", (11, "experts.gate_proj")),
        ("model.layers.0.input_layernorm.weight", (0, "input_layernorm")),
        ("transformer.h.2.attn.c_attn.weight", (2, "c_attn")),
        ("model.visual.blocks.5.attn.qkv.weight", (5, "visual.qkv")),
        ("model.embed_tokens.weight", (None, "embed_tokens")),
        ("lm_head.weight", (None, "lm_head")),
    ],
)
def test_layer_and_kind(name: str, expected: tuple[int | None, str]) -> None:
    assert place(name) == expected


def test_planted_changes_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, one sharded; blocks of two rows, so that sums over blocks are what is tested."""
    monkeypatch.setattr(entries, "BLOCK", 10)
    base = two_layers()
    first = {name: weight.clone() for name, weight in base.items()}
    second = {name: weight.clone() for name, weight in base.items()}
    q = "model.layers.1.self_attn.q_proj.weight"
    first[q][0] *= 2  # four entries of a row
    second[q][0, :2] *= 2
    second["model.layers.0.mlp.down_proj.weight"][:, 3] *= -1  # four of a column
    paths = [folder(tmp_path / "base", base), folder(tmp_path / "first", first, shards=2)]
    paths.append(folder(tmp_path / "second", second))
    assert main(["inspect", "weights", *map(str, paths), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    weights = {weight["name"]: weight for weight in found["weights"]}
    assert found["sparsity"] == [1 - 4 / 128, 1 - 6 / 128]
    assert weights[q]["sparsity"] == [1 - 4 / 32, 1 - 2 / 32]
    assert weights[q]["consensus"] == [28, 2, 2]
    change = (first[q].float() - base[q].float()).norm() / base[q].float().norm()
    assert weights[q]["relative_change"][0] == pytest.approx(float(change))
    [pair] = found["jaccard"]
    assert pair["found"] == 2 / 8 and pair["at_random"] == pytest.approx(jaccard_at_random(4 / 128, 6 / 128))
    assert found["consensus"] == [120 / 128, 6 / 128, 2 / 128]
    assert main(["inspect", "weights", *map(str, paths)]) == 0
    said = capsys.readouterr().out
    assert "Jaccard 0.250" in said and "matrices of layers" in said


def test_fp32_is_compared_as_bf16_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = {name: weight.float() for name, weight in two_layers().items()}
    tuned = {name: weight * (1 + 1e-4) for name, weight in base.items()}
    paths = [folder(tmp_path / "base", base), folder(tmp_path / "tuned", tuned)]
    assert main(["inspect", "weights", *map(str, paths), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sparsity"] == [1] and found["kept_as_stored"] == [0]
    assert "stored as F32" in found["told"][0] and "As stored 0.0%" in found["told"][0]


def test_what_differs_is_told_in_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, tuned = two_layers(), two_layers()
    del tuned["model.layers.0.input_layernorm.weight"]
    tuned["lm_head.weight"] = torch.zeros(2)
    tuned["model.embed_tokens.weight"] = torch.zeros(7, 4)
    tuned["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    paths = [str(folder(tmp_path / "base", base)), str(folder(tmp_path / "tuned", tuned))]
    assert main(["inspect", "weights", *paths, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["told"]
    assert [line.split(f" {paths[1]}")[0] for line in told[:3]] == [
        "1 weight is not in",
        "1 weight is only in",
        "1 weight is of another shape in",
    ]
    assert told[3].startswith("1 entries are NaN or infinite") and "down_proj" in told[3]


@pytest.mark.parametrize("broken", ["adapters", "shard", "index", "no weights", "torn", "unrelated", "hub"])
def test_what_cannot_be_read_is_one_line(
    broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = folder(tmp_path / "base", two_layers())
    tuned = folder(tmp_path / "tuned", two_layers(), shards=2)
    said = {
        "adapters": "merge them into it first",
        "shard": "lacks model-1.safetensors",
        "index": "is no index of safetensors files",
        "no weights": "has neither model.safetensors nor",
        "torn": "cannot be read",
        "unrelated": "no weight of the same name and shape",
        "hub": "is not a folder here",
    }
    if broken == "adapters":
        (tuned / "config.json").unlink()
        (tuned / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    elif broken == "shard":
        (tuned / "model-1.safetensors").unlink()
    elif broken == "index":
        (tuned / "model.safetensors.index.json").write_text("[]")
    elif broken == "no weights":
        (tuned / "model.safetensors.index.json").unlink()
    elif broken == "torn":
        (tuned / "model-1.safetensors").write_bytes((tuned / "model-1.safetensors").read_bytes()[:100])
    elif broken == "unrelated":
        shutil.rmtree(tuned)
        folder(tuned, {"other": torch.zeros(2)})
    target = "owner/name" if broken == "hub" else str(tuned)
    assert main(["inspect", "weights", str(base), target]) == 2
    out, error = capsys.readouterr()
    assert out == "" and said[broken] in error and error.count("\n") == 1


def test_a_real_model_is_its_own_twin(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "weights", str(tiny_path), str(tiny_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sparsity"] == [1] and found["kept_as_stored"] == [1]
    assert {weight["name"] for weight in found["weights"]} == set(load_file(tiny_path / "model.safetensors"))


def test_inspect_without_a_word_or_with_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 2 and main(["inspect", "weight"]) == 2
    assert "did you mean 'weights'?" in capsys.readouterr().err


def test_the_page_needs_nothing_and_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Maps for every number, a cell for each layer and kind; a folder's name is somebody else's text."""
    base, tuned = two_layers(), two_layers()
    tuned["model.layers.1.self_attn.q_proj.weight"][0] *= 2
    paths = [folder(tmp_path / "base", base), folder(tmp_path / "<b>", tuned)]
    page = tmp_path / "page.html"
    assert main(["inspect", "weights", *map(str, paths), "-o", str(page), "--rank", "2"]) == 0
    text = page.read_text()
    assert "<b>" not in text and "&lt;b&gt;" in text
    assert "<script" not in text and "http://" not in text and "https://" not in text
    assert text.count("<svg ") == 9
    assert (
        "<title>q_proj, layer 1: 87.5%</title>" in text and "<title>q_proj, layer 0: 100.0%</title>" in text
    )
    assert "principal, not low" in capsys.readouterr().out
    ElementTree.fromstring(text[text.index("<svg ") : text.index("</svg>") + 6])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rank", "0"], "--rank is 0"),
        (["--share", "1"], "--share is 1"),
        (["--exact", "--entries"], "choose one"),
        (["-o", "page.txt"], "ends in .html"),
        (["-o", "nowhere/page.html"], "is not a directory"),
    ],
)
def test_options_that_make_no_sense(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "weights", "a", "b", *words]) == 2
    assert said in capsys.readouterr().err
