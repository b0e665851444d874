"""A teacher of another width beside the policy, under ZeRO 0, 2 and 3, on one rank and on two."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run_helpers import run_entries
from teacher_entries import KINDS, distilled, lesson_batch
from torch import Tensor

from rlvr_cli.engine.logprobs import token_scores
from rlvr_cli.engine.teacher import Average
from rlvr_cli.schema import TinyModel

pytestmark = pytest.mark.slow
RANKS, STAGES = (1, 2), (0, 2, 3)


@pytest.fixture(scope="module")
def teacher_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wider than the policy, and with opinions: weights three times as large."""
    from safetensors.torch import load_file, save_file

    from rlvr_cli.engine.tiny import make_tiny

    folder = tmp_path_factory.mktemp("teacher") / "tiny"
    make_tiny(folder, TinyModel(hidden_size=96, layers=1, heads=2, kv_heads=1), seed=7)
    file = folder / "model.safetensors"
    save_file({name: 3 * w for name, w in load_file(file).items()}, file, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def results(
    tiny_path: Path, teacher_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, dict[str, Any]]:
    outs = {ranks: tmp_path_factory.mktemp(f"ranks{ranks}") for ranks in RANKS}
    return {
        r: run_entries("teacher_entries.py", r, tiny_path, out, str(teacher_path)) for r, out in outs.items()
    }


def logprobs_of(path: Path, prompts: list[Any] | None = None) -> Tensor:
    """Whole distributions at every trained token, by plain transformers at the entries' temperature."""
    from transformers import AutoModelForCausalLM

    model, batch, rows = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), lesson_batch(), []
    for i, sequence in enumerate(batch.sequences):
        prompt = sequence[:3] if prompts is None or prompts[i] is None else prompts[i]
        ids = torch.tensor([*prompt.tolist(), *sequence[3:].tolist()])
        with torch.no_grad():
            rows.append(model(ids[None]).logits[0, len(prompt) - 1 : -1])
    return (torch.cat(rows) / 0.9).double().log_softmax(-1)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("stage", STAGES)
def test_losses_are_those_of_whole_distributions(
    ranks: int, stage: int, results: dict[int, dict[str, Any]], tiny_path: Path, teacher_path: Path
) -> None:
    student, teacher = logprobs_of(tiny_path), logprobs_of(teacher_path)
    batch = lesson_batch()
    targets = torch.cat([torch.from_numpy(s[3:]).long() for s in batch.sequences])
    for kind in ("reverse",) if stage == 2 else KINDS:
        rule = distilled(divergence=kind).distillation
        found, spoken, _, _ = rule.compare(student, teacher, targets)
        totals = results[ranks][f"{kind} {stage}"]["totals"]
        assert totals["loss"] == pytest.approx(float(found.mean()), rel=2e-5) and totals["loss"] > 0.05
        assert totals["distillation_kl"] == pytest.approx(totals["loss"], rel=1e-5)
        assert totals["teacher_logprob"] == pytest.approx(float(spoken.mean()), rel=2e-5)
    forward = distilled(divergence="forward", top_k=5).distillation.compare(student, teacher, targets)
    if stage != 2:
        totals = results[ranks][f"top {stage}"]["totals"]
        assert totals["loss"] == pytest.approx(float(forward[0].mean()), rel=2e-5)
        assert totals["student_mass"] == pytest.approx(float(forward[2].mean()), rel=1e-4)
        assert totals["teacher_mass"] == pytest.approx(float(forward[3].mean()), rel=1e-4)


@pytest.mark.parametrize("name", [*KINDS, "prompts", "chunks", "micro", "top", "live", "same"])
def test_stages_ranks_chunks_and_micro_batches_change_nothing(
    name: str, results: dict[int, dict[str, Any]]
) -> None:
    """Of two ranks each has its own sequences; a chunk has 7 tokens."""
    base = results[1][f"{'reverse' if name in ('chunks', 'micro') else name} 0"]
    for ranks in RANKS:
        for stage in STAGES:
            if (key := f"{name} {stage}") in results[ranks]:
                other = results[ranks][key]
                assert other["totals"]["loss"] == pytest.approx(base["totals"]["loss"], rel=1e-4, abs=1e-7)
                assert other["weights"] == pytest.approx(base["weights"], rel=1e-5), key


def test_all_tokens_one_by_one_are_the_whole_vocabulary(results: dict[int, dict[str, Any]]) -> None:
    assert results[1]["all tokens 0"]["weights"] == pytest.approx(
        results[1]["forward 0"]["weights"], rel=1e-6
    )


@pytest.mark.parametrize("name", ["same 0", "same 3", "live 0", "live 3"])
@pytest.mark.parametrize("ranks", RANKS)
def test_a_teacher_that_is_the_policy_teaches_nothing(
    ranks: int, name: str, results: dict[int, dict[str, Any]]
) -> None:
    totals = results[ranks][name]["totals"]
    assert abs(totals["loss"]) < 1e-7 and totals["grad_norm"] < 1e-6


def test_a_teacher_read_one_position_off_does(results: dict[int, dict[str, Any]]) -> None:
    totals = results[1]["shifted"]["totals"]
    assert totals["loss"] > 1e-5 and totals["grad_norm"] > 1e-3


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("stage", STAGES)
def test_other_prompts_are_read_before_the_same_tokens(
    ranks: int, stage: int, results: dict[int, dict[str, Any]], tiny_path: Path, teacher_path: Path
) -> None:
    """Prompts of other lengths; a third of the sequences has none, and no part in the means."""
    batch = lesson_batch(prompts=True)
    student, teacher = logprobs_of(tiny_path), logprobs_of(teacher_path, batch.teacher_prompts)
    targets = torch.cat([torch.from_numpy(s[3:]).long() for s in batch.sequences])
    found, spoken, _, _ = distilled().distillation.compare(student, teacher, targets)
    assert batch.teacher_weights_N is not None
    taught = batch.teacher_weights_N != 0
    totals = results[ranks][f"prompts {stage}"]["totals"]
    assert totals["loss"] == pytest.approx(float((found * batch.teacher_weights_N).sum()), rel=2e-5)
    assert totals["distillation_kl"] == pytest.approx(float(found[taught].mean()), rel=2e-5)
    assert totals["teacher_logprob"] == pytest.approx(float(spoken[taught].mean()), rel=2e-5)
    whole = sum(len(s) for s in batch.sequences)
    assert results[ranks][f"prompts {stage}"]["tokens"] < whole + 12 * 15


def test_the_policy_itself_with_other_prompts_has_something_to_say(
    results: dict[int, dict[str, Any]],
) -> None:
    one, two = (results[ranks]["live with prompts"] for ranks in RANKS)
    assert one["totals"]["loss"] > 1e-5 and two["weights"] == pytest.approx(one["weights"], rel=1e-5)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("stage", [0, 3])
def test_a_teacher_that_follows(ranks: int, stage: int, results: dict[int, dict[str, Any]]) -> None:
    found = results[ranks][f"average {stage}"]
    assert found["moved"] > 1e-3 and found["gap"] < 1e-6 and found["restored"]


@pytest.mark.parametrize(
    ("share", "left"), [(0.05, (0.5987, 0.0769, 0.0000)), (0.01, (0.9044, 0.6050, 0.1340))]
)
def test_what_an_average_remembers_of_its_start(share: float, left: tuple[float, ...]) -> None:
    """After 10, 50 and 200 steps of a policy that went to 0 at once and stayed there."""
    average = Average.__new__(Average)  # the sum alone: the tests above have whole ones
    average.share, average.exact = share, {"w": torch.ones(1)}
    average.trainer = SimpleNamespace(weights=lambda: iter([("w", torch.zeros(1))]))  # type: ignore[assignment]
    found = [float(dict(average._moved())["w"]) for _ in range(200)]
    assert [found[n - 1] for n in (10, 50, 200)] == pytest.approx(left, abs=1e-4)


@pytest.mark.parametrize("size", [1, 7, 30])
def test_chunks_are_equal_to_ten_digits(size: int) -> None:
    """In float64: value and gradient of 30 positions, recomputed chunk by chunk, against one chunk."""
    torch.manual_seed(0)
    hidden, other = torch.randn(30, 8, dtype=torch.float64), torch.randn(30, 12, dtype=torch.float64)
    student, teacher = torch.randn(50, 8, dtype=torch.float64), torch.randn(50, 12, dtype=torch.float64)
    targets = torch.randint(50, (30,))

    def run(chunk: int, rule: Any) -> tuple[Tensor, Tensor]:
        weight = student.clone().requires_grad_()

        def compare(logits_cV: Tensor, targets_c: Tensor, places_c: Tensor) -> tuple[Tensor, ...]:
            known = (other[places_c] @ teacher.T).log_softmax(-1)
            found: tuple[Tensor, ...] = rule.compare(logits_cV.log_softmax(-1), known, targets_c)
            return found

        def logits(hidden_cD: Tensor) -> Tensor:
            return hidden_cD @ weight.T

        divergence = token_scores(
            hidden.clone().requires_grad_(),
            targets,
            logits,
            vocabulary=50,
            temperature=1.0,
            elements=4 * 50 * chunk,
            compare=compare,
        )[3]
        divergence.sum().backward()
        assert weight.grad is not None
        return divergence.detach(), weight.grad

    for values in ({"divergence": k} for k in KINDS):
        for more in ({}, {"top_k": 5}):
            rule = distilled(**values, **more).distillation
            (one, one_grad), (other_n, other_grad) = run(30, rule), run(size, rule)
            assert torch.allclose(one, other_n, rtol=0, atol=1e-10)
            assert torch.allclose(one_grad, other_grad, rtol=0, atol=1e-10)
