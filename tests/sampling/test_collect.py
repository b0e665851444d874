import math
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Problem, Reason, Verdict
from rlvr_cli.rollout import Sampling
from rlvr_cli.rollout.engine import OnOneRank
from rlvr_cli.sampling.collect import UnscoredSample, collect, request_seed
from rlvr_cli.schema import Unscored
from rlvr_cli.tracking import Timer


def problem(n):
    return Problem(
        id=str(n), prompt=f"p{n}", tokens=[n], answer=str(n), source="s", verifiers=["exact", "form"]
    )


class Scripted(OnOneRank):
    """An engine that finishes its requests last first, answering with the request's own first token."""

    def __init__(self):
        self.seeds = []

    def generate(self, requests, sampling):
        self.seeds += [r.seed for r in requests]
        for r in reversed(requests):
            yield (
                r.key,
                [
                    Completion(
                        tokens=np.array([1]),
                        logprobs=np.array([0.0]),
                        text=f"{r.tokens[0]}.{s}",
                        finished=True,
                    )
                    for s in range(r.samples)
                ],
            )


class Judge:
    """Scores 1 when the sample number is even; `broken` names a response without a verdict."""

    def __init__(self, broken=None):
        self.broken, self.seen = broken, []

    def submit_group(self, verifier, responses, answer, extra, group=None):
        return [self.submit(verifier, response, answer, extra) for response in responses]

    def submit(self, verifier, response, answer, extra):
        self.seen.append(response)
        future = Future()
        if response == self.broken and verifier == "exact":
            future.set_result(Verdict(score=0.0, reason=Reason.timeout))
        else:
            right = response.startswith(tuple(answer)) and int(response.split(".")[1]) % 2 == 0
            score = float(right) if verifier == "exact" else 0.5
            future.set_result(Verdict(score=score, reason=Reason.correct if right else Reason.wrong))
        return future


def run(judge, unscored=Unscored.drop, engine=None, start=10, prompts=None, **options):
    return collect(
        engine or Scripted(),
        judge,
        prompts or [(start, problem(7)), (start + 1, problem(8))],
        samples=2,
        sampling=Sampling(temperature=1.0, top_p=1.0, max_tokens=4),
        seed=0,
        weights={"exact": 1.0, "form": 0.2},
        unscored=unscored,
        timer=Timer(),
        **options,
    )


def test_groups_come_back_in_order_with_weighted_scores_and_first_verifier_correctness():
    first, second = run(Judge())
    assert (first.index, second.index) == (10, 11)
    assert first.scores == pytest.approx([1.1, 0.1])
    assert [sum(parts.values()) for parts in first.parts] == pytest.approx(first.scores)
    assert all(set(parts) == {"exact", "form"} for parts in first.parts)
    assert first.correct == first.first_scores == [1.0, 0.0]


def test_partial_credit_is_a_score_and_not_correct():
    """`form` gives 0.5 and calls it wrong in the second sample, right in the first."""
    prompts = [(0, replace(problem(7), verifiers=["form"]))]
    [group] = run(Judge(), prompts=prompts)
    assert (group.first_scores, group.correct) == ([0.5, 0.5], [1.0, 0.0])


def test_a_gate_multiplies_the_score_and_adds_nothing_to_it():
    """`form` gives 0.5: half of what `exact` gives, and nothing where that gives nothing."""
    first, second = run(Judge(), gates=["form"])
    assert first.scores == [0.5, 0.0] and second.scores == [0.5, 0.0]
    assert first.parts == [{"exact": 0.5}, {"exact": 0.0}]
    assert first.correct == [1.0, 0.0]


def test_verification_starts_with_the_first_finished_group():
    judge, seen_at_finish = Judge(), []
    run(judge, finished=lambda group: seen_at_finish.append(len(judge.seen)))
    assert seen_at_finish == [4, 8]


def test_a_missing_verdict_is_nan_zero_or_fatal_as_the_recipe_says():
    dropped = run(Judge(broken="7.0"))[0]
    assert math.isnan(dropped.scores[0]) and math.isnan(dropped.correct[0]) and dropped.correct[1] == 0.0
    zero = run(Judge(broken="7.0"), Unscored.zero)[0]
    assert zero.scores[0] == pytest.approx(0.1) and zero.first_scores[0] == 0.0
    assert math.isnan(zero.correct[0]), "what the reward is does not make a verdict"
    with pytest.raises(UnscoredSample, match="timeout"):
        run(Judge(broken="7.0"), Unscored.fail)


def test_stopping_returns_what_is_finished():
    assert [g.index for g in run(Judge(), stopped=lambda: True)] == [11]


def test_request_seeds_differ_by_prompt_and_run_and_fit_a_generator():
    seeds = {request_seed(s, i) for s in range(20) for i in range(500)}
    assert len(seeds) == 10_000 and max(seeds) < 2**63


def test_a_prompts_seed_comes_from_its_index_in_the_whole_run():
    """Not from its place among the prompts of a step or of a rank, which would sample alike every step."""
    engine = Scripted()
    for start in (10, 12):
        run(Judge(), engine=engine, start=start)
    assert engine.seeds == [request_seed(0, index) for index in (10, 11, 12, 13)]
    assert len(set(engine.seeds)) == 4


class EndedEarly(Scripted):
    """The samples of a prompt are one leaf of a tree, which stands at two places."""

    def generate(self, requests, sampling):
        for key, (first, _) in super().generate(requests, sampling):
            leaf = replace(first, path=(0,))
            yield key, [leaf, replace(leaf, sampled=np.array([False]))]


def test_a_leaf_that_stands_at_several_places_is_judged_once():
    judge = Judge()
    for group in run(judge, engine=EndedEarly()):
        first, second = group.verdicts
        assert first["exact"] is second["exact"] and len(group.scores) == 2
        assert judge.seen.count(group.completions[0].text) == 2  # by two verifiers
