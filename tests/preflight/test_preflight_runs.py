"""`rlvr preflight` and the preflight of a run, through the command line."""

import json
import re
from pathlib import Path

import pytest
from run_helpers import RECIPE, SFT_RECIPE, comparable, rlvr, steps_of

pytestmark = pytest.mark.slow

START = (
    "data.train.limit=null", "data.train.options={digits: 1}", "batch.examples_per_step=64",
    "batch.tokens_per_microbatch=4096", "trainer.steps=100", "trainer.lr=5e-3",
)  # fmt: skip
ADDITIONS = """
defaults:
  - algorithm: dapo
  - data@data.train: addition
  - verifier@verifiers.math: math
  - rollout: hf
  - trainer: zero0
  - _self_
name: additions
data: {train: {options: {digits: 1}}}
batch: {prompts_per_step: 8, group_size: 4, tokens_per_microbatch: 4096}
rollout: {max_prompt_tokens: 16, max_tokens: 40}
trainer: {steps: 200, lr: 1e-4, precision: fp32}
preflight: {prompts: 16}
tracker: {wandb: disabled}
"""


@pytest.fixture(scope="module")
def additions(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A recipe for which its start model, which half knows sums of two digits, is made."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "start.yaml").write_text(SFT_RECIPE)
    (folder / "additions.yaml").write_text(ADDITIONS)
    made = rlvr("sft", str(folder / "start.yaml"), f"out={folder / 'sft'}", *START)
    assert made.returncode == 0, made.stdout + made.stderr
    return [str(folder / "additions.yaml"), f"model.path={folder / 'sft'}"]


def test_a_good_recipe_passes_on_two_ranks_and_leaves_nothing(additions: list[str], tmp_path: Path) -> None:
    done = rlvr("preflight", *additions, f"out={tmp_path / 'run'}", "trainer.ranks=2", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["passed"] and found["refused"] is None and found["prompts"] == 16
    assert found["useful"] >= 3 and 0 < found["correct"] < 1 and found["mismatch_mean"] < 1e-4
    assert sum(found["histogram"].values()) == 16
    assert found["verifiers"]["math"]["verdicts"] == 64 and found["step_s"] > 0
    assert not (tmp_path / "run").exists()


def test_an_impossible_recipe_is_refused_with_advice(additions: list[str], tmp_path: Path) -> None:
    done = rlvr("preflight", *additions, f"out={tmp_path / 'run'}", "data.train.options.digits=6")
    assert done.returncode == 2, done.stdout + done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("rlvr: error: ")]
    # What becomes of sums it has never seen depends on chance; all three lead the right way.
    assert re.search("too hard for this model|finds no answer in|are cut at", error)
    assert "64 prompts x 4 responses" in done.stdout  # 16 were not enough to call it hopeless
    assert "0 (0%; at 95% fewer than 4.6% of all prompts)" in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_verifier_that_fits_no_gold_answer_is_named(additions: list[str], tmp_path: Path) -> None:
    done = rlvr("preflight", *additions, f"out={tmp_path / 'run'}", "verifier@verifiers.math=choice")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "math: it is neither a letter from A to J nor the text of one option" in done.stderr


def test_a_long_run_is_refused_before_its_first_step(additions: list[str], tmp_path: Path) -> None:
    done = rlvr("train", *additions, f"out={tmp_path / 'run'}", "rollout.max_tokens=4")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cut at rollout.max_tokens=4 and no group has a signal; raise it" in done.stderr
    assert not re.search(r"step +\d+/200", done.stdout) and not (tmp_path / "run").exists()


@pytest.mark.long
def test_training_is_the_same_with_and_without_and_a_continued_run_does_none(tmp_path: Path) -> None:
    (tmp_path / "chance.yaml").write_text(RECIPE)
    # Unseeded samples come from the generators that a preflight draws from as well.
    arguments = ["train", str(tmp_path / "chance.yaml"), "rollout.seeded=false"]
    plain, looked = tmp_path / "plain", tmp_path / "looked"
    for steps, out, *more in (
        ("trainer.steps=3", plain),
        ("trainer.steps=2", looked, "preflight.enabled=true", "preflight.prompts=5"),
        ("trainer.steps=3", looked, "preflight.enabled=true"),
    ):
        done = rlvr(*arguments, steps, f"out={out}", *more)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [comparable(row) for row in steps_of(looked)] == [comparable(row) for row in steps_of(plain)]
    for path in (plain / "rollouts").iterdir():
        assert (looked / "rollouts" / path.name).read_text() == path.read_text()
    weights = [(out / "final" / "model.safetensors").read_bytes() for out in (plain, looked)]
    assert weights[0] == weights[1]
    events = [json.loads(line) for line in (looked / "events.jsonl").read_text().splitlines()]
    [event] = [event for event in events if event["kind"] == "preflight"]
    assert event["passed"] and event["step"] == 0
    assert json.loads((looked / "preflight.json").read_text())["prompts"] == 5
    assert not (plain / "preflight.json").exists()
