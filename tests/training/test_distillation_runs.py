"""Runs with a teacher: the student approaches it, resumes exactly; a server that dies. (On two ranks:
test_signal_presets.py.)"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from run_helpers import SFT_RECIPE, comparable, rlvr, steps_of

pytestmark = pytest.mark.slow
RECIPE = """
defaults:
  - algorithm: {preset}
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: hf
  - trainer: zero0
  - _self_
name: taught
model: {{tiny: {{hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 160}}}}
data: {{train: {{limit: 64, verifiers: [chance]}}}}
batch: {{prompts_per_step: 6, group_size: 4, tokens_per_microbatch: 400}}
rollout: {{max_prompt_tokens: 16, max_tokens: 12}}
trainer: {{steps: 4, lr: 1e-3, precision: fp32}}
preflight: {{enabled: false}}
tracker: {{wandb: disabled, rollouts: false}}
"""
SIBLING = ("teacher.policy=ema", "teacher.context=sibling", "teacher.template='{context} {prompt}'")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider than the student, and fine-tuned for a few steps: it knows the form of a sum."""
    folder = tmp_path_factory.mktemp("teacher")
    recipe = folder / "teacher.yaml"
    recipe.write_text(
        SFT_RECIPE.replace("hidden_size: 64", "hidden_size: 96").replace(
            "max_positions: 64", "max_positions: 160"
        )
    )
    done = rlvr("sft", str(recipe), f"out={folder / 'run'}", "trainer.steps=40", "trainer.lr=3e-3")
    assert done.returncode == 0, done.stderr
    return folder / "run" / "final"


def run(folder: Path, preset: str, out: str, *overrides: str) -> tuple[Any, Path]:
    recipe = folder / f"{preset}.yaml"
    recipe.write_text(RECIPE.format(preset=preset))
    return rlvr("train", str(recipe), f"out={folder / out}", *overrides), folder / out


def rows(folder: Path) -> list[dict[str, float]]:
    return [comparable(row) for row in steps_of(folder)]


def test_a_student_approaches_its_teacher(teacher: Path, tmp_path: Path) -> None:
    """The divergence falls by a third, by whole distributions and by the sampled tokens alone."""
    few = ("batch.prompts_per_step=64", "batch.group_size=1", "rollout.max_tokens=8", "trainer.steps=30")
    for preset in ("gkd", "opd"):
        given = (f"teacher.path={teacher}", "trainer.lr=3e-3", "batch.tokens_per_microbatch=4000", *few)
        done, out = run(tmp_path, preset, preset, *given)
        assert done.returncode == 0, done.stderr
        found = [row["distillation/kl"] for row in steps_of(out)]
        first, last = (sum(x) / 5 for x in (found[:5], found[-5:]))
        assert 0 < last < 0.67 * first, (preset, first, last)
        assert steps_of(out)[-1]["distillation/taught_fraction"] == 1


def test_a_teacher_that_follows_resumes_exactly(tmp_path: Path) -> None:
    """Two steps and two more are four: metrics and weights, the average's own included."""
    done, whole = run(tmp_path, "sdpo", "whole", *SIBLING)
    assert done.returncode == 0, done.stderr
    for steps in (2, 4):
        done, parts = run(tmp_path, "sdpo", "parts", *SIBLING, f"trainer.steps={steps}")
        assert done.returncode == 0, done.stderr
    assert rows(parts) == rows(whole)
    assert any(0 < row["distillation/taught_fraction"] < 1 for row in rows(whole)), "some have no sibling"
    kept = [torch.load(out / "checkpoints" / "step_4" / "teacher.pt") for out in (whole, parts)]
    assert all(bool((w == kept[1][name]).all()) for name, w in kept[0].items())
    start = torch.load(parts / "checkpoints" / "step_4" / "teacher.pt")
    assert start.keys() == kept[0].keys()


@pytest.mark.parametrize("preset", ["gkd", "sdft"])
def test_beside_adapters_in_bf16_a_teacher_sleeps_and_wakes(
    preset: str, teacher: Path, tmp_path: Path
) -> None:
    """Another model, and the policy without its adapters; what sleeps in CPU memory is what wakes: the run is
    the same."""
    own = ("teacher.policy=start", "teacher.context=demonstration", "teacher.column=answer")
    given = (f"teacher.path={teacher}",) if preset == "gkd" else own
    small = ("model.lora.rank=4", "trainer.precision=bf16", "trainer.lr=1e-2", "trainer.steps=2")
    found = []
    for sleeps in ("false", "true"):
        name = f"sleep_{sleeps}"
        done, out = run(tmp_path, preset, name, *given, *small, f"trainer.sleep={sleeps}")
        assert done.returncode == 0, done.stderr
        found.append(rows(out))
    assert found[0] == found[1]
    assert all(row["distillation/kl"] > 1e-3 and row["actor/grad_norm"] > 0 for row in found[0])


def test_other_tokens_are_refused_before_anything_trains(teacher: Path, tmp_path: Path) -> None:
    """One more token, and one id for another."""
    for change, said in (({"é": 99}, "1 more there, the first 'é' (99)"), ({"a": 60, "b": 59}, "is ")):
        other = shutil.copytree(teacher, tmp_path / "other", dirs_exist_ok=True)
        file = other / "tokenizer.json"
        content = json.loads(file.read_text())
        vocabulary = content["model"]["vocab"]
        vocabulary |= change if len(change) == 1 else {"a": vocabulary["b"], "b": vocabulary["a"]}
        file.write_text(json.dumps(content))
        done, out = run(tmp_path, "opd", "refused", f"teacher.path={other}")
        assert done.returncode == 2 and "are not those of" in done.stderr and said in done.stderr, done.stderr
        assert not (out / "checkpoints").exists() and done.stderr.count("error") == 1


# ------------------------------------------------------------------ on data

ON_DATA = """
defaults:
  - algorithm: kd
  - model: tiny
  - data@data.train: addition
  - data@eval.source: addition
  - trainer: zero0
  - _self_
name: on_data
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 160}}
data: {train: {limit: 64}}
batch: {examples_per_step: 12, tokens_per_microbatch: 150}
algorithm: {max_length: 64, distillation: {top_k: 6}}
trainer: {steps: 4, lr: 1e-3, precision: fp32}
eval: {source: {split: eval}, limit: 1, every: 2}
tracker: {wandb: disabled}
"""


def on_data(folder: Path, out: str, *overrides: str) -> tuple[Any, Path]:
    recipe = folder / "on_data.yaml"
    recipe.write_text(ON_DATA)
    return rlvr("kd", str(recipe), f"out={folder / out}", *overrides), folder / out


def all_rows(out: Path) -> list[dict[str, float]]:
    return [comparable(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    done, out = on_data(tmp_path_factory.mktemp("on_data"), "whole", f"teacher.path={teacher}")
    assert done.returncode == 0, done.stderr
    found = all_rows(out)
    assert sum("eval/distillation_kl" in row for row in found) == 2
    first = next(row for row in found if "train/loss" in row)
    assert first["train/loss"] == pytest.approx(
        (first["train/cross_entropy"] + first["distillation/kl"]) / 2, rel=1e-5
    )
    return found


def alike(found: list[dict[str, float]], wanted: list[dict[str, float]], **near: float) -> None:
    for ours, theirs in zip(wanted, found, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, **near), name


def test_on_data_a_student_approaches_its_teacher(teacher: Path, tmp_path: Path) -> None:
    """By the teacher alone: held-out, the divergence halves, and the data's own loss falls with it."""
    alone = ("algorithm.distillation.task_coef=0", "algorithm.distillation.top_k=null", "eval.limit=32")
    fast = ("trainer.steps=30", "trainer.lr=3e-3", "eval.every=1", "batch.tokens_per_microbatch=4000")
    done, out = on_data(tmp_path, "alone", f"teacher.path={teacher}", *alone, *fast)
    assert done.returncode == 0, done.stderr
    found = [row for row in all_rows(out) if "eval/distillation_kl" in row]
    first, last = found[0], found[-1]
    assert 0 < last["eval/distillation_kl"] < 0.5 * first["eval/distillation_kl"]
    assert last["eval/teacher_loss"] == first["eval/teacher_loss"] < last["eval/loss"] < first["eval/loss"]


def test_on_data_two_steps_and_two_more_are_four(
    teacher: Path, undisturbed: list[dict[str, float]], tmp_path: Path
) -> None:
    for steps in (2, 4):
        done, out = on_data(tmp_path, "parts", f"teacher.path={teacher}", f"trainer.steps={steps}")
        assert done.returncode == 0, done.stderr
    assert all_rows(out) == undisturbed


def test_on_data_two_ranks_with_zero_3_do_what_one_does(
    teacher: Path, undisturbed: list[dict[str, float]], tmp_path: Path
) -> None:
    """One held-out example for two ranks: the other has nothing to compare."""
    ranks = ("trainer.ranks=2", "trainer.zero_stage=3")
    done, out = on_data(tmp_path, "two", f"teacher.path={teacher}", *ranks)
    assert done.returncode == 0, done.stderr
    alike(all_rows(out), undisturbed, rel=2e-3, abs=2e-5)


def test_on_data_a_server_says_the_same_and_may_die(
    lab: Any, undisturbed: list[dict[str, float]], tmp_path: Path
) -> None:
    """Silent in the third step: two are saved, the next start gets the same examples."""
    lab.after = lab.asked + 2 + 2 * 12 + 4  # the probe, what is held out, two steps and a part
    given = (lab.url, "teacher.wait_s=1", "teacher.connections=2")
    done, out = on_data(tmp_path, "server", *given)
    assert done.returncode == 1 and "the teacher at http://127.0.0.1" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and (out / "checkpoints" / "step_2").exists()
    assert "when that works again, continue with: rlvr train" in (out / "events.jsonl").read_text()
    lab.after = sys.maxsize
    done, out = on_data(tmp_path, "server", *given)
    assert done.returncode == 0, done.stderr
    alike(all_rows(out), undisturbed, rel=1e-4, abs=1e-6)


# ------------------------------------------------------------------ on a server


@pytest.fixture
def lab(teacher: Path) -> Any:
    from teacher_server import Lab, serve

    lab = Lab(str(teacher))
    server = serve(lab)
    lab.url = f"teacher.url=http://127.0.0.1:{server.server_port}/v1"
    yield lab
    server.shutdown()


LOSS = ("algorithm/mismatch=none", "algorithm/distillation=loss", "algorithm.distillation.divergence=forward")
TOP = ("algorithm.distillation.top_k=6", "algorithm.distillation.task_coef=0")


@pytest.mark.parametrize("more", [(), (*LOSS, *TOP)], ids=["reward", "loss"])
def test_a_server_says_what_a_model_in_process_does(
    more: tuple[str, ...], teacher: Path, lab: Any, tmp_path: Path
) -> None:
    lab.fail = [503, 429]  # is asked again
    here, inside = run(tmp_path, "opd", "inside", f"teacher.path={teacher}", *more, "trainer.steps=2")
    there, outside = run(tmp_path, "opd", "outside", lab.url, *more, "trainer.steps=2")
    assert here.returncode == there.returncode == 0, here.stderr + there.stderr
    for ours, theirs in zip(rows(inside), rows(outside), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_a_server_that_dies_costs_nothing(lab: Any, tmp_path: Path) -> None:
    """In the third step it refuses: two are saved, and the run that goes on does what an undisturbed one
    does."""
    done, whole = run(tmp_path, "opd", "whole", lab.url)
    assert done.returncode == 0, done.stderr
    count = lab.asked // 4
    lab.after = lab.asked + 2 * count + 4  # sixteen more may be on their way
    done, out = run(tmp_path, "opd", "broken", lab.url, "teacher.wait_s=1")
    assert done.returncode == 1 and "the teacher at http://127.0.0.1" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert (out / "checkpoints" / "step_2").exists()
    assert "when that works again, continue with: rlvr train" in (out / "events.jsonl").read_text()
    lab.after = sys.maxsize
    done, out = run(tmp_path, "opd", "broken", lab.url, "teacher.wait_s=1")
    assert done.returncode == 0, done.stderr
    assert rows(out) == rows(whole)


def test_a_server_with_other_tokens_is_refused(lab: Any, tmp_path: Path) -> None:
    decode = lab.tokenizer.decode
    lab.tokenizer.decode = lambda ids: decode(ids).replace("a", "b")
    done, out = run(tmp_path, "opd", "refused", lab.url)
    assert done.returncode == 2 and "stand for other text" in done.stderr, done.stderr
    assert not (out / "checkpoints").exists()
