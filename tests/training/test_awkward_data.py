"""A byte-order mark, no gold, several golds, `<think>` as a special token: whole runs, measured at 100%."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from run_helpers import SFT_RECIPE, rlvr, steps_of

from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import Model, TinyModel

pytestmark = pytest.mark.slow

BOM = b"\xef\xbb\xbf"
SAYS = "<think>well</think>\\boxed{2}"
GOLDS: list[Any] = ["2", ["9", "2"], None, ["two", "", "2"], {"target": ["2", "8"]}, "", "print(1)"]
LEFT_OUT = "4 of 7 rows, 16 tokens, 3 without a usable gold left out"
QUIET = ["trainer.precision=fp32", "tracker.wandb=disabled", "verifiers.math.thinking=true"]


def with_thinking(folder: Path) -> Path:
    """The tiny model whose tokenizer has `<think>` and `</think>` as special tokens."""
    from transformers import AutoModelForCausalLM

    make_tiny(folder, TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=64), seed=0)
    tokenizer, model = load_tokenizer(Model(path=str(folder))), AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that thinks and is right, taught by `rlvr sft` from a file with a byte-order mark."""
    folder = tmp_path_factory.mktemp("right")
    with_thinking(folder / "start")
    rows = "".join(json.dumps({"prompt": f"1+{n}=", "completion": SAYS}) + "\n" for n in range(8))
    (folder / "taught.jsonl").write_bytes(BOM + rows.encode())
    text = SFT_RECIPE.replace("  - data@data.train: addition\n", "").replace("steps: 100000", "steps: 80")
    text = text.replace("data: {train: {limit: 64}}", f"data: {{train: {{path: {folder / 'taught.jsonl'}}}}}")
    (folder / "sft.yaml").write_text(text.replace("lr: 1e-3", "lr: 5e-3"))
    done = rlvr("sft", str(folder / "sft.yaml"), f"model.path={folder / 'start'}", f"out={folder / 'sft'}")
    assert done.returncode == 0, done.stderr
    return folder / "sft"


def lines(folder: Path) -> Path:
    """JSON lines with a byte-order mark."""
    rows = "".join(json.dumps({"prompt": f"1+{n}=", "answer": g}) + "\n" for n, g in enumerate(GOLDS))
    (folder / "d.jsonl").write_bytes(BOM + rows.encode())
    return folder / "d.jsonl"


def verl(folder: Path) -> Path:
    """verl's parquet: a list column, as golds of several kinds have it there."""
    golds = [each["target"] if isinstance(each, dict) else each for each in GOLDS]
    table = [
        {
            "data_source": "awkward",
            "prompt": [{"role": "user", "content": f"1+{n}="}],
            "reward_model": {"style": "rule", "ground_truth": [each] if isinstance(each, str) else each},
            "extra_info": {"index": n},
        }
        for n, each in enumerate(golds)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), folder / "d.parquet")
    return folder / "d.parquet"


@pytest.mark.parametrize(("recipe", "make"), [("smoke", lines), ("tiny_dapo", verl)])
def test_training_reads_what_there_is_and_says_what_is_left_out(
    tmp_path: Path, right: Path, make: Any, recipe: str
) -> None:
    out = tmp_path / "out"
    settings = [f"data.train.path={make(tmp_path)}", "data.train.chat=auto", f"model.path={right}"]
    settings += ["rollout=hf", "rollout.max_tokens=24", "rollout.max_prompt_tokens=8", "trainer.steps=1"]
    settings += ["batch.prompts_per_step=4", "batch.group_size=4", "rollout.temperature=0.3"]
    settings += ["~eval.benches.addition", "eval.at_start=false", "eval.at_end=false"]
    done = rlvr("train", recipe, *settings, *QUIET, f"out={out}", "trainer.lr=1e-6")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "data_report.json").read_text())["train"]["rows"]
    assert (report["rows"], report["kept"], report["no_gold"], report["unusable_golds"]) == (7, 4, 3, 1)
    said = [json.loads(line)["message"] for line in (out / "events.jsonl").read_text().splitlines()]
    [data] = [message for message in said if message.startswith("train: ")][:1]
    assert LEFT_OUT in data and " row 3: 'answer' is null" in data.replace(
        "reward_model.ground_truth", "answer"
    )
    [row] = steps_of(out)
    assert row["reward/correct_fraction"] == 1.0
    rollouts = [json.loads(line) for file in out.glob("rollouts/*.jsonl") for line in file.open()]
    assert {each["response"] for each in rollouts} == {SAYS}
    golds = {each["problem"]: [each["answer"], *each.get("alternatives", [])] for each in rollouts}
    assert sorted(golds.values()) == [["2"], ["2", "8"], ["9", "2"], ["two", "2"]]


@pytest.mark.long
def test_a_model_that_is_always_right_is_measured_at_100_percent(tmp_path: Path, right: Path) -> None:
    """By vLLM; the runs above are by plain transformers."""
    (tmp_path / "bench.yaml").write_text(
        "defaults:\n  - /verifier@verifier: math\n  - _self_\n"
        f"source: {{path: {lines(tmp_path)}}}\nverifier: {{thinking: true}}\nk: 1\ntemperature: 0.0\n"
        "max_tokens: 24\nmax_prompt_tokens: 8\n"
    )
    out = ["rollout=vllm", "rollout.kv_cache_gb=0.25", f"out={tmp_path / 'out'}", "samples=parquet"]
    done = rlvr("eval", "--model", str(right), "--bench", str(tmp_path / "bench.yaml"), *out)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert (result["summary"]["avg@1"], result["summary"]["problems"], result["summary"]["no_gold"]) == (
        1,
        4,
        3,
    )
    assert {text for row in result["problems"] for text in row["responses"]} == {SAYS}
    assert "bench: 3 without a usable gold left out (" in done.stdout + done.stderr
    stored = pyarrow.parquet.read_table(tmp_path / "out" / "bench.samples.parquet").to_pylist()
    assert [row["alternatives"] for row in stored] == [[], ["2"], ["2"], ["8"]]
