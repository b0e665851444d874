"""What the teacher reads beside the policy, and what its divergence is divided by."""

from functools import partial

import numpy as np
import pytest
import torch
from f1 import algorithm, make
from hypothesis import given, settings
from hypothesis import strategies as st
from small_parts import problem

from rlvr_cli.core.types import Batch, Completion, Elsewhere, Group, Reason, Verdict, elsewhere
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Context, Source, Teacher, TeacherPolicy
from rlvr_cli.training.contexts import context_of, demonstration, prompt_of, sibling
from rlvr_cli.training.teaching import heard, normalised, teacher_weights, view
from rlvr_cli.training.whole_update import aggregated

SIBLING = Teacher(policy=TeacherPolicy.ema, context=Context.sibling)


def group(scores: list[float], texts: list[str] | None = None) -> Group:
    texts = texts or [f"answer {i}" for i in range(len(scores))]
    completions = [
        Completion(
            tokens=np.array([4, 5], np.int32), logprobs=np.zeros(2, np.float32), text=text, finished=True
        )
        for text in texts
    ]
    verdicts = [
        {"math": Verdict(score=s, reason=Reason.wrong, detail=f"said {i}")} for i, s in enumerate(scores)
    ]
    correct = [float(s >= 1) for s in scores]
    return Group(
        problem=problem(0),
        index=0,
        completions=completions,
        verdicts=verdicts,
        scores=scores,
        correct=correct,
        first_scores=scores,
        rewards=scores,
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, float("nan")]), min_size=2, max_size=8))
def test_no_sample_is_its_own_sibling_and_none_is_shown_without_success(scores: list[float]) -> None:
    of = group(scores)
    good = [i for i, s in enumerate(scores) if s >= 1]
    for i in range(len(scores)):
        others = [j for j in good if j != i]
        assert sibling(SIBLING, of, i) == (f"answer {others[0]}" if others else None)


def test_the_share_of_samples_that_have_one() -> None:
    """1 - (1 - p)^7 in groups of 8, counted over all outcomes."""
    for rate, wanted in ((0.1, 0.5217), (0.3, 0.9176), (0.5, 0.9922)):
        share = 0.0
        for bits in range(256):
            right = [bits >> i & 1 for i in range(8)]
            chance = rate ** sum(right) * (1 - rate) ** (8 - sum(right))
            of = group([float(r) for r in right])
            share += chance * sum(sibling(SIBLING, of, i) is not None for i in range(8)) / 8
        assert share == pytest.approx(wanted, abs=1e-4)


def test_thinking_feedback_and_empty_answers() -> None:
    of = group([1.0, 0.0, 1.0], ["<think>long</think> 42 ", "7", ""])
    without = Teacher(policy=TeacherPolicy.ema, context=Context.sibling, remove_thinking=True)
    assert sibling(without, of, 1) == "42" and sibling(SIBLING, of, 1) == "<think>long</think> 42"
    assert sibling(SIBLING, of, 0) is None, "the only other success is empty"
    said = Teacher(policy=TeacherPolicy.ema, context=Context.sibling, feedback=True, remove_thinking=True)
    assert context_of(said, of, 1) == "42\n\nFeedback on an earlier attempt: said 1"
    assert context_of(said, of, 0) is None, "a right answer gets none"


def test_a_demonstration_is_a_column() -> None:
    one = problem(3)
    one.answer, one.extra = "12", {"prompt": "p", "solution": "5+7=12", "empty": ""}
    found = [demonstration(c, one) for c in ("answer", "solution", "empty", "nothing")]
    assert found == ["12", "5+7=12", None, None]


def test_the_context_stands_in_the_sources_own_prompt() -> None:
    one, tokenizer = problem(0), tiny_tokenizer(200)
    one.extra = {"prompt": "1+1="}
    shown = Teacher(policy=TeacherPolicy.ema, context=Context.demonstration, template="{context};{prompt}")
    source = Source(path="x", prompt="Q: {prompt} A:")
    assert tokenizer.decode(prompt_of(shown, one, "2+2=4", source, tokenizer)) == "Q: 2+2=4;1+1= A:"
    one.extra = {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "1+1="}]}
    assert tokenizer.decode(prompt_of(shown, one, "2+2=4", source, tokenizer)) == "s\nQ: 2+2=4;1+1= A:"
    assert one.extra["prompt"][1]["content"] == "1+1=", "the problem is as it was"


def test_the_same_tokens_after_another_prompt() -> None:
    sequence, mask = np.array([9, 8, 4, 5, 6], np.int32), np.array([0, 0, 1, 0, 1], bool)
    [read], [trained] = view([sequence], [mask], [np.array([1, 2, 3], np.int32)])
    assert read.tolist() == [1, 2, 3, 4, 5, 6] and trained.tolist() == [False] * 3 + [True, False, True]
    [read], _ = view([elsewhere(5)], [mask], [np.array([1, 2, 3], np.int32)])
    assert isinstance(read, Elsewhere) and len(read) == 6


def batch_of(lengths: list[int]) -> Batch:
    """Sequences of so many trained tokens."""
    total = sum(lengths)
    return Batch(
        sequences=[np.zeros(n + 1, np.int32) for n in lengths],
        trained=[np.arange(n + 1) > 0 for n in lengths],
        weights_N=torch.full((total,), 1 / total),
        samples=list(range(len(lengths))),
    )


@pytest.mark.parametrize(("name", "wanted"), [("token_mean", 0.2667), ("seq_mean_token_mean", 0.3)])
def test_samples_without_a_teacher_are_filtered_not_zeros_in_the_mean(name: str, wanted: float) -> None:
    """Four samples of 2, 4, 3 and 1 tokens, the first two with a context; divergence .4 and .2 at these."""
    lengths = torch.tensor([2, 4, 3, 1])
    batch, option = batch_of(lengths.tolist()), make("distillation", "loss", coef=2.0)
    batch.teacher_weights_N = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat_interleave(lengths)
    aggregation = partial(aggregated, algorithm(aggregation=name).aggregation, lengths, 4)
    found = normalised(batch, option, aggregation, None).teacher_weights_N
    divergence = torch.tensor([0.4, 0.2, 9.0, 9.0]).repeat_interleave(lengths)
    assert found is not None and float((divergence * found).sum()) == pytest.approx(2 * wanted, abs=1e-4)
    rows, places = heard(batch.trained, batch.teacher_weights_N)
    assert rows == [0, 1] and places.tolist() == list(range(6))


def test_each_source_has_its_own_weight() -> None:
    one, other = group([1.0, 0.0]), group([0.0, 1.0])
    other.problem.source = "other"
    prompts = [np.array([1]), None, None, np.array([1])]
    weights = {"train": 0.5, "other": 2.0}
    assert teacher_weights([one, other], weights, None).tolist() == [0.5] * 4 + [2.0] * 4
    assert teacher_weights([one, other], weights, prompts).tolist() == [0.5] * 2 + [0.0] * 4 + [2.0] * 2
