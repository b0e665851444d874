"""From kept groups to batches: which tokens train, and whose logprobs are which."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from f1 import algorithm, make
from small_parts import Still, problem, recipe, small_parts, two_tokens

from rlvr_cli.algorithms.proximal import Proximal
from rlvr_cli.core.types import Completion, Group
from rlvr_cli.schema import Batch, Rollout
from rlvr_cli.training.batches import keep_mask, make_batches
from rlvr_cli.training.token_records import token_notes


def group(*completions: Completion) -> Group:
    """The first is right."""
    right = [1.0] + [0.0] * (len(completions) - 1)
    return Group(
        problem=problem(0), index=0, completions=list(completions), scores=right, correct=right, rewards=right
    )


def test_samples_without_a_reward_have_no_part_in_the_quantile() -> None:
    """The second sample's verifier timed out; its entropies would fill the top fifth."""
    entropies = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 9.0, 9.0, 9.0, 0.6, 0.7])
    lengths, finished = torch.tensor([5, 3, 2]), torch.zeros(3, dtype=torch.bool)
    scored = torch.tensor([True, False, True])
    top = make("token_weights", "top_entropy", fraction=0.25)
    assert keep_mask(top, scored, entropies, None, lengths, finished).nonzero().flatten().tolist() == [8, 9]
    rare = make("token_weights", "low_probability", rho=0.5)
    trains = keep_mask(rare, scored, None, torch.full((10,), math.log(0.4)), lengths, finished)
    assert trains.tolist() == [True] * 5 + [False] * 3 + [True] * 2


def test_a_truncated_response_is_left_out_and_a_finished_one_is_not() -> None:
    """Of three responses the second was cut off: with drop_truncated it has no token that trains."""
    lengths, truncated = torch.tensor([2, 3, 1]), torch.tensor([False, True, False])
    overlong = make("token_weights", "all", drop_truncated=True)
    keep = keep_mask(overlong, torch.ones(3, dtype=torch.bool), None, None, lengths, truncated)
    assert keep.tolist() == [True] * 2 + [False] * 3 + [True]
    found = group(two_tokens(0), two_tokens(1, finished=False), two_tokens(2))
    parts = small_parts(recipe(algorithm=algorithm(token_weights=overlong)))
    [batch] = make_batches(parts, [found])
    assert batch.samples == [0, 2] and [s.tolist() for s in batch.sequences] == [[9, 0, 4, 1], [9, 0, 6, 1]]
    [batch] = make_batches(small_parts(recipe()), [found])
    assert batch.samples == [0, 1, 2]


def scored(*rewards: float) -> Group:
    found = group(*(two_tokens(s) for s in range(len(rewards))))
    found.scores = found.correct = found.rewards = list(rewards)
    return found


def test_a_draw_of_samples_trains_with_the_advantages_of_the_whole_group() -> None:
    """RaML's gen_mask, G = 4, rewards 1, 0, 0, 1 and n = 2: a draw of samples 0 and 2 has +1 and -1, and each
    of its four tokens weighs 1/4."""
    two = plain_recipe(advantage=make("advantage", "group_zscore", ddof=0, eps=0.0), token_weights=drawing(2))
    seen = set()
    for seed in range(40):
        two.seed = seed
        [batch] = make_batches(small_parts(two), [scored(1.0, 0.0, 0.0, 1.0)])
        seen.add(tuple(batch.samples))
        assert batch.weights_N.tolist() == [0.25] * 4 and batch.advantages_N is not None
        wanted = [[1.0, -1.0, -1.0, 1.0][sample] for sample in batch.samples for _ in range(2)]
        assert batch.advantages_N.tolist() == pytest.approx(wanted)
    assert seen == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    again = make_batches(small_parts(two), [scored(1.0, 0.0, 0.0, 1.0)])
    assert again[0].samples == batch.samples, "the same seed and step draw the same"
    later = {
        tuple(make_batches(small_parts(two, step=step), [scored(1.0, 0.0, 0.0, 1.0)])[0].samples)
        for step in range(8)
    }
    assert len(later) > 1, "every step draws anew"


def drawing(samples: int) -> Any:
    return make("token_weights", "all", samples=samples)


def test_a_draw_of_all_samples_is_the_plain_update() -> None:
    groups = [scored(1.0, 0.0, 0.0, 1.0), scored(1.0, 1.0, 0.0, 1.0)]
    drawn, plain = (
        make_batches(small_parts(plain_recipe(token_weights=x)), groups)[0] for x in (drawing(4), "all")
    )
    assert (
        drawn.samples == plain.samples and drawn.advantages_N is not None and plain.advantages_N is not None
    )
    assert torch.equal(drawn.weights_N, plain.weights_N)
    assert torch.equal(drawn.advantages_N, plain.advantages_N)


def test_samples_without_a_verdict_are_not_drawn() -> None:
    """Of four samples two have a reward: a draw of three has these two, of each prompt for itself."""
    missing = math.nan
    parts = small_parts(plain_recipe(token_weights=drawing(3)))
    [batch] = make_batches(parts, [scored(1.0, missing, 0.0, missing), scored(1.0, 0.0, 0.0, 0.0)])
    assert batch.samples[:2] == [0, 2] and len(batch.samples) == 5


class Scores(Still):
    """A trainer whose logprobs are -0.5, -1.5, -2.5, ...: not those of the engine that sampled."""

    def score(self, sequences: list[Any], trained: list[Any], **_: Any) -> tuple[torch.Tensor, ...]:
        scores_N = -0.5 - torch.arange(sum(int(mask.sum()) for mask in trained), dtype=torch.float32)
        return scores_N, -scores_N, scores_N


def test_old_logprobs_are_the_trainers_and_the_engines_stay_beside_them() -> None:
    """The ratio new / old is the policy's own; old / rollout is what the mismatch options correct."""
    parts = small_parts(recipe(), trainer=Scores(), needs_old=True)
    [batch] = make_batches(parts, [group(two_tokens(0), two_tokens(1))])
    assert batch.old_logprobs_N is not None and batch.rollout_logprobs_N is not None
    assert batch.old_logprobs_N.tolist() == [-0.5, -1.5, -2.5, -3.5]
    assert batch.rollout_logprobs_N.tolist() == [-1.0] * 4
    [batch] = make_batches(small_parts(recipe(), trainer=Scores()), [group(two_tokens(0), two_tokens(1))])
    assert batch.old_logprobs_N is None, "nobody needs them"


def test_tokens_are_chosen_by_the_trainers_old_logprobs() -> None:
    """Below exp(-2) are those of the second response; by the engine's -1.0 there would be none."""
    rare = make("token_weights", "low_probability", rho=math.exp(-2.0))
    parts = small_parts(recipe(algorithm=algorithm(token_weights=rare)), trainer=Scores(), needs_old=True)
    [batch] = make_batches(parts, [group(two_tokens(0), two_tokens(1))])
    assert batch.samples == [1] and bool((batch.weights_N != 0).all())


def test_unlikely_tokens_train_first_and_the_rest_after_them() -> None:
    """Old logprobs -0.5 to -3.5; below exp(-2) are those of the second response. KL goes with a token."""
    lopti = make("token_weights", "lopti", eta=math.exp(-1.0))
    parts = small_parts(recipe(algorithm=algorithm(token_weights=lopti)), trainer=Scores(), needs_old=True)
    first, second = make_batches(parts, [group(two_tokens(0), two_tokens(1))])
    assert first.samples == [0, 1] and first.weights_N.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert second.samples == [0] and second.weights_N.tolist() == [1, 0]
    assert second.old_logprobs_N is not None and second.old_logprobs_N.tolist() == [-0.5, -1.5]
    likely = make("token_weights", "lopti", eta=math.exp(-0.1))
    parts = small_parts(recipe(algorithm=algorithm(token_weights=likely)), trainer=Scores(), needs_old=True)
    assert len(make_batches(parts, [group(two_tokens(0), two_tokens(1))])) == 1, (
        "nothing is left for a second"
    )


def test_a_token_is_recorded_as_the_update_that_trained_it_saw_it() -> None:
    lopti = make("token_weights", "lopti", eta=math.exp(-1.0))
    parts = small_parts(recipe(algorithm=algorithm(token_weights=lopti)), trainer=Scores(), needs_old=True)
    found = [group(two_tokens(0), two_tokens(1))]
    batches = make_batches(parts, found)
    for number, batch in enumerate(batches):
        batch.notes = torch.full((3, len(batch.weights_N)), float(number + 1))
    [[one, two]] = token_notes(found, batches).values()
    assert one["entropies"] == [2.0, 1.0] and two["entropies"] == [1.0, 1.0]
    assert one["old_logprobs"] == [-0.5, -1.5]


def test_each_update_of_a_step_is_normalised_over_its_own_tokens() -> None:
    """Two groups of 2 x 2 and 1 x 2 + 1 x 1 tokens: with two updates 1/4 and 1/3 a token, with one 1/7."""
    short = Completion(
        tokens=np.array([5], np.int32), logprobs=np.array([-1.0], np.float32), text="1", finished=True
    )
    groups = [group(two_tokens(0), two_tokens(1)), group(two_tokens(0), short)]
    weights = {}
    for updates in (1, 2):
        settings = Batch(prompts_per_step=2, group_size=2, updates_per_step=updates)
        batches = make_batches(small_parts(recipe(batch=settings)), groups)
        weights[updates] = [batch.weights_N.tolist() for batch in batches]
    assert weights[1] == [pytest.approx([1 / 7] * 7)]
    assert weights[2] == [pytest.approx([1 / 4] * 4), pytest.approx([1 / 3] * 3)]


def test_an_update_whose_every_sequence_is_masked_is_left_out() -> None:
    """All responses were cut off, and nothing but the policy loss looks at them."""
    overlong = make("token_weights", "all", drop_truncated=True)
    cut_off = group(two_tokens(0, finished=False), two_tokens(1, finished=False))
    assert make_batches(small_parts(plain_recipe(token_weights=overlong)), [cut_off]) == []


def plain_recipe(**axes: Any) -> Any:
    """No reference, no bonus: nothing but the policy loss looks at a sample."""
    return recipe(algorithm=algorithm(**axes))


def indifferent(index: int, *completions: Completion) -> Group:
    """All samples earned the same."""
    same = [1.0] * len(completions)
    return Group(
        problem=problem(index),
        index=index,
        completions=list(completions),
        scores=same,
        correct=same,
        rewards=same,
    )


def test_sequences_without_an_advantage_are_left_out_and_stay_in_the_normaliser() -> None:
    """2 x 2 tokens of two groups: of 8 tokens 4 have no gradient, and each of the others weighs 1/8."""
    groups = [indifferent(0, two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))]
    [batch] = make_batches(small_parts(plain_recipe()), groups)
    assert batch.samples == [2, 3] and len(batch.sequences) == len(batch.trained) == 2
    assert batch.weights_N.tolist() == pytest.approx([1 / 8] * 4) and batch.idle_tokens == 4
    assert batch.advantages_N is not None and bool((batch.advantages_N != 0).all())
    assert batch.rollout_logprobs_N is not None and len(batch.rollout_logprobs_N) == 4


def test_an_update_without_any_advantage_is_still_made() -> None:
    """Adam's moments decay in it, as if every sequence had been computed."""
    [batch] = make_batches(small_parts(plain_recipe()), [indifferent(0, two_tokens(0), two_tokens(1))])
    assert len(batch.sequences) == 1 and batch.advantages_N is not None
    assert batch.advantages_N.tolist() == [0.0, 0.0] and batch.idle_tokens == 2


@pytest.mark.parametrize(
    "axes",
    [
        {"kl": make("kl", "loss", coef=0.1)},
        {"kl": make("kl", "measured")},
        {"entropy": make("entropy", "bonus", coef=0.1)},
    ],
    ids=["kl in the loss", "kl measured", "entropy bonus"],
)
def test_sequences_that_another_term_sees_are_computed(axes: dict[str, Any]) -> None:
    groups = [indifferent(0, two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))]
    parts = small_parts(plain_recipe(**axes))
    parts.reference = None  # its logprobs are not what is asked here
    [batch] = make_batches(parts, groups)
    assert batch.samples == [0, 1, 2, 3] and batch.idle_tokens == 0


def aged(completion: Completion, *versions: int) -> Completion:
    completion.versions = np.array(versions, np.int32)
    return completion


def test_ages_of_tokens_are_counted_from_the_steps_start() -> None:
    """Step 5; the second response was begun in step 3 and went on in step 4."""
    interpolated = make("mismatch", "mask", proximal=Proximal.interpolated)
    of = recipe(algorithm=algorithm(mismatch=interpolated), rollout=Rollout(max_tokens=4, max_staleness=2))
    parts = small_parts(of, trainer=Scores(), step=5)
    [batch] = make_batches(parts, [group(aged(two_tokens(0), 5, 5), aged(two_tokens(1), 3, 4))])
    assert batch.ages_N is not None and batch.ages_N.tolist() == [0, 0, 2, 1]
    assert batch.old_logprobs_N is None, "nobody needs them"
    parts = small_parts(recipe(algorithm=algorithm(mismatch=interpolated)))
    [batch] = make_batches(parts, [group(two_tokens(0), two_tokens(1))])
    assert batch.ages_N is None, "all of them are of the present weights"


def test_weights_are_normalised_over_each_update() -> None:
    """rho = exp(old + 1) of the tokens: e^.5, e^-.5, e^-1.5, e^-2.5, in the first update capped at 1.2."""
    capped = make("mismatch", "truncate", cap=1.2, normalise=True)
    settings = Batch(prompts_per_step=2, group_size=2, updates_per_step=2)
    parts = small_parts(
        recipe(algorithm=algorithm(mismatch=capped), batch=settings), trainer=Scores(), needs_old=True
    )
    groups = [group(two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))]
    scales = []
    for batch in make_batches(parts, groups):
        assert batch.mismatch_scale_N is not None
        scales.append(batch.mismatch_scale_N.tolist())
    first = 4 / (1.2 + math.exp(-0.5) + math.exp(-1.5) + math.exp(-2.5))
    second = 4 / sum(math.exp(-n - 0.5) for n in range(3, 7))
    assert scales == [pytest.approx([first] * 4), pytest.approx([second] * 4)]


def test_what_a_loss_chooses_is_chosen_of_each_update() -> None:
    """The right response's likelier token and the wrong one's less likely token, of each update's four."""
    settings = Batch(prompts_per_step=2, group_size=2, updates_per_step=2)
    loss = make("loss", "kl_cov", fraction=0.5)
    groups = [group(two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))]
    of = recipe(algorithm=algorithm(loss=loss), batch=settings)
    batches = make_batches(small_parts(of, trainer=Scores(), needs_old=True), groups)
    for batch in batches:
        assert batch.chosen_N is not None and batch.old_logprobs_N is not None
        a_N, old_N = batch.advantages_N.double(), batch.old_logprobs_N.double()
        cov_N = (a_N - a_N.mean()) * (old_N - old_N.mean())
        assert batch.chosen_N.tolist() == (cov_N == cov_N.max()).tolist() == [True, False, False, True]
        assert batch.per_token()["chosen"] is batch.chosen_N
    assert len(batches) == 2
    [batch] = make_batches(small_parts(recipe(), trainer=Scores(), needs_old=True), groups)
    assert batch.chosen_N is None


def test_masked_tokens_are_not_chosen() -> None:
    """Only tokens below exp(-3) train: of six the first does not; two of the other five are chosen."""
    rare = make("token_weights", "low_probability", rho=math.exp(-3.0))
    chosen = algorithm(loss=make("loss", "kl_cov", fraction=0.5), token_weights=rare)
    parts = small_parts(recipe(algorithm=chosen), trainer=Scores(), needs_old=True)
    [batch] = make_batches(parts, [group(two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))])
    assert batch.chosen_N is not None and (batch.weights_N != 0).tolist() == [False] + [True] * 5
    assert batch.chosen_N.tolist() == [False, False, True, False, False, True]


def test_a_draw_depends_on_seed_step_and_update_alone() -> None:
    loss = make("loss", "clip_cov", cov_low=-math.inf, cov_high=math.inf, fraction=0.25)
    groups = [group(*(two_tokens(s) for s in range(6))) for _ in range(2)]

    def drawn(**given: Any) -> list[bool]:
        of = recipe(algorithm=algorithm(loss=loss))
        [batch] = make_batches(small_parts(of, trainer=Scores(), needs_old=True, **given), groups)
        assert batch.chosen_N is not None and int(batch.chosen_N.sum()) == 6
        return batch.chosen_N.tolist()

    assert drawn(step=3) == drawn(step=3)
    assert len({tuple(drawn(step=step)) for step in range(8)}) > 4


def test_a_loss_that_moves_more_than_advantages_computes_all_sequences() -> None:
    groups = [indifferent(0, two_tokens(0), two_tokens(1)), group(two_tokens(0), two_tokens(1))]
    held = make("loss", "squared_ratio", beta=0.1)
    [batch] = make_batches(small_parts(plain_recipe(loss=held)), groups)
    assert batch.samples == [0, 1, 2, 3] and batch.idle_tokens == 0


def test_prompts_weigh_the_same_in_a_mean_over_prompts() -> None:
    """Three responses of one prompt are masked: its 2 tokens weigh as much as the 8 of the other."""
    overlong = make("token_weights", "all", drop_truncated=True)
    parts = small_parts(plain_recipe(aggregation="prompt_mean", token_weights=overlong))
    cut = [two_tokens(s, finished=s == 0) for s in range(4)]
    groups = [group(*cut), group(*(two_tokens(s) for s in range(4)))]
    [batch] = make_batches(parts, groups)
    assert batch.samples == [0, 4, 5, 6, 7]
    assert batch.weights_N.tolist() == pytest.approx([1 / 4] * 2 + [1 / 16] * 8)


def test_unlikely_tokens_are_weakened_by_old_logprobs() -> None:
    weak = make("reweight", "token_probability", alpha=0.5)
    found = group(two_tokens(0), two_tokens(1))
    plain, weakened = (
        make_batches(small_parts(plain_recipe(reweight=x), trainer=Scores(), needs_old=True), [found])[0]
        for x in ("none", weak)
    )
    factors_N = weakened.advantages_N / plain.advantages_N
    assert factors_N.tolist() == pytest.approx([0.5 * math.exp(-n - 0.5) + 0.5 for n in range(4)])
    assert found.corrections == [], "factors of tokens are no prompt's"
