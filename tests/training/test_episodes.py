"""What of an episode trains: the tokens that were sampled, as if nothing had been said between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from f1 import algorithm, make
from small_parts import problem, recipe, small_parts, two_tokens

from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Group, Reason, Verdict
from rlvr_cli.sampling.collect import submitted, verdict_of
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.episode_metrics import episode_metrics
from rlvr_cli.training.metrics import length_metrics
from rlvr_cli.training.shares import brief


def episode(reward: float | None = 1.0, **more: Any) -> Episode:
    turns = [TurnNote(begin=0, end=2, text="a", said="x"), TurnNote(begin=4, end=6, text="b")]
    return Episode(environment="game", ended=Ended.done, turns=turns, reward=reward, **more)


def two_turns(said: tuple[int, int] = (7, 8), **more: Any) -> Completion:
    """4 1, then what the environment says, then 5 1."""
    return Completion(
        tokens=np.array([4, 1, *said, 5, 1], np.int32),
        logprobs=np.array([-0.1, -0.2, 0, 0, -0.3, -0.4], np.float32),
        text="b",
        finished=True,
        sampled=np.array([True, True, False, False, True, True]),
        episode=episode(**more),
    )


def group(*completions: Completion) -> Group:
    right = [1.0] + [0.0] * (len(completions) - 1)
    return Group(
        problem=problem(0), index=0, completions=list(completions), scores=right, correct=right, rewards=right
    )


def test_sampled_tokens_train_and_what_was_said_is_context() -> None:
    [batch] = make_batches(small_parts(recipe()), [group(two_turns(), two_tokens(1))])
    assert [s.tolist() for s in batch.sequences] == [[9, 0, 4, 1, 7, 8, 5, 1], [9, 0, 5, 1]]
    assert batch.trained[0].tolist() == [False, False, True, True, False, False, True, True]
    assert batch.lengths_B == [4, 2]
    assert batch.rollout_logprobs_N is not None
    assert batch.rollout_logprobs_N.tolist() == pytest.approx([-0.1, -0.2, -0.3, -0.4, -1.0, -1.0])
    assert batch.weights_N.tolist() == pytest.approx([1 / 6] * 6)


def test_an_episode_with_a_prompt_of_its_own() -> None:
    own = replace(two_turns(), prompt=np.array([3, 3, 3], np.int32))
    [batch] = make_batches(small_parts(recipe()), [group(own, two_tokens(1))])
    assert batch.sequences[0].tolist() == [3, 3, 3, 4, 1, 7, 8, 5, 1]
    assert batch.lengths_B == [4, 2]


def two_rows() -> Completion:
    """Two sampled tokens after the problem's prompt, and two turns after another one."""
    first = replace(two_tokens(0), prompt=np.array([9, 0], np.int32), sampled=np.array([True, True]))
    return replace(two_turns(), prompt=np.array([3, 3], np.int32), earlier=[first])


def test_a_sample_of_two_sequences_is_one_in_advantage_and_aggregation() -> None:
    """By sequence means: its 6 tokens weigh as much as the 2 of the other sample."""
    chosen = algorithm(aggregation="seq_mean_token_mean")
    [batch] = make_batches(small_parts(recipe(algorithm=chosen)), [group(two_rows(), two_tokens(1))])
    assert [s.tolist() for s in batch.sequences] == [[9, 0, 4, 1], [3, 3, 4, 1, 7, 8, 5, 1], [9, 0, 5, 1]]
    assert batch.samples == [0, 0, 1]
    assert batch.lengths_B == [2, 4, 2]
    assert batch.weights_N.tolist() == pytest.approx([1 / 12] * 6 + [1 / 4] * 2)
    assert batch.advantages_N is not None
    assert len(set(batch.advantages_N[:6].tolist())) == 1
    assert batch.rollout_logprobs_N is not None
    assert batch.rollout_logprobs_N.tolist() == pytest.approx([-1, -1, -0.1, -0.2, -0.3, -0.4, -1, -1])


def test_an_episode_whose_environment_failed_before_a_token_is_left_out() -> None:
    nothing = Completion(
        tokens=np.zeros(0, np.int32),
        logprobs=np.zeros(0, np.float32),
        text="",
        finished=True,
        episode=episode(failure=Verdict(score=0.0, reason=Reason.crash)),
    )
    found = group(two_turns(), nothing, two_tokens(1))
    found.rewards[1] = float("nan")
    [batch] = make_batches(small_parts(recipe()), [found])
    assert batch.samples == [0, 2]
    assert length_metrics([found])["response_length/min"] == 0


def test_gae_goes_across_turns_as_if_nothing_had_been_said() -> None:
    """gamma 1, lambda 0.5, reward 1 at the end; values 0.2 0.4 | 0.6 0.8 of the four sampled tokens."""
    gae = make("advantage", "gae", lam=0.5, gamma=1.0, whiten=False)
    inputs = AdvantageInputs(
        rewards_PG=torch.tensor([[1.0]], dtype=torch.float64),
        lengths_B=torch.tensor([4]),
        values_N=torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64),
        finished_B=torch.tensor([True]),
    )
    found, _ = gae.estimate(inputs)
    last = 1 - 0.8
    third = (0.8 - 0.6) + 0.5 * last
    second = (0.6 - 0.4) + 0.5 * third
    first = (0.4 - 0.2) + 0.5 * second
    assert found.tolist() == pytest.approx([first, second, third, last])


def test_rewards_of_turns_go_to_what_was_sampled_until_then() -> None:
    """0.25 after two tokens and 0.5 at the end: rewards-to-go of 0.75 and 0.5; without it all have 0.75."""
    from rlvr_cli.verifiers.environment import Credit, Environment, Scale

    def advantages(credit: str) -> list[float]:
        played = two_turns(reward=0.75)
        assert played.episode is not None
        for turn, reward in zip(played.episode.turns, (0.25, 0.5), strict=True):
            turn.reward = reward
        found = group(played, two_tokens(1))
        found.rewards = [0.75, 0.0]
        found.problem.verifiers = ["won"]
        chosen = algorithm(advantage="reinforce")
        won = Environment(scale=Scale.own, credit=Credit(credit))
        [batch] = make_batches(small_parts(recipe(algorithm=chosen, verifiers={"won": won})), [found])
        assert batch.advantages_N is not None
        return batch.advantages_N.tolist()

    assert advantages("turn") == pytest.approx([0.75, 0.75, 0.5, 0.5])
    assert advantages("episode") == pytest.approx([0.75] * 4)


def gradients(net: Any, batch: Any) -> list[torch.Tensor]:
    """Of the policy-gradient loss of the first sequence, by plain transformers; without those of attention,
    which reads all that went before."""
    net.zero_grad()
    ids, mask = torch.from_numpy(batch.sequences[0]).long(), torch.from_numpy(batch.trained[0])
    log_p = net(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
    (-(log_p[mask[1:]] * batch.advantages_N[: int(mask.sum())]).sum()).backward()
    return [p.grad.clone() for name, p in net.named_parameters() if "self_attn" not in name]


def test_gradients_do_not_know_the_tokens_of_the_environment(tiny_path: Any) -> None:
    """Without attention a token sees the one before it alone: of what the environment says only the last
    token may matter then, as the input from which the next turn begins."""
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32)
    with torch.no_grad():
        for layer in net.model.layers:
            layer.self_attn.o_proj.weight.zero_()

    def of(said: tuple[int, int], sampled: list[bool] | None = None) -> list[torch.Tensor]:
        made = two_turns(said)
        if sampled is not None:
            made.sampled = np.array(sampled)
        [batch] = make_batches(small_parts(recipe()), [group(made, two_tokens(1))])
        return gradients(net, batch)

    mine, other = of((7, 8)), of((20, 8))
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    everything = [True] * 6  # what happens where they are trained on
    mine, other = of((7, 8), everything), of((20, 8), everything)
    assert not all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_overlong_shaping_counts_sampled_tokens() -> None:
    from rlvr_cli.training.dynamic_sampling import judge

    shaping = make("shaping", "soft_overlong", buffer=2)
    shaping.resolve(6)
    chosen = algorithm(shaping=shaping)
    found = group(two_turns(), two_tokens(1))
    found.first_scores = found.scores
    judge([found], chosen, 0)
    assert found.rewards == [1.0, 0.0]  # 4 of 6, not 6 of 6
    whole = replace(two_turns(), sampled=np.ones(6, bool))
    long = group(whole, two_tokens(1))
    long.first_scores = long.scores
    judge([long], chosen, 0)
    assert long.rewards[0] == pytest.approx(0.0)


class Counting:
    """A pool that judges texts."""

    def submit_group(self, verifier: str, responses: list[str], *_: Any) -> list[Any]:
        from concurrent.futures import Future

        futures: list[Any] = [Future() for _ in responses]
        for future, text in zip(futures, responses, strict=True):
            future.set_result(Verdict(score=float(text == "b"), reason=Reason.correct))
        return futures


def test_verifiers_judge_the_last_turn_and_not_what_its_environment_has_failed_in() -> None:
    lost = two_turns(failure=Verdict(score=0.0, reason=Reason.timeout, detail="environment game: late"))
    found, futures = submitted(Counting(), 0, problem(0), [two_turns(), lost])  # type: ignore[arg-type]
    [right, missing] = [
        verdict_of(c, future.result()) for c, future in zip(found.completions, futures["even"], strict=True)
    ]
    assert (right.score, right.reason) == (1.0, Reason.correct)
    assert (missing.reason, missing.missing) == (Reason.timeout, True)


def test_metrics_of_episodes() -> None:
    lost = two_turns(failure=Verdict(score=0.0, reason=Reason.timeout), reward=None)
    measured = two_turns(measures={"tool/calls": 3.0, "found": 1.0}, reward=0.5, closed=1)
    row = episode_metrics([group(measured, lost)])
    assert row["episode/turns/mean"] == 2
    assert row["episode/environment_tokens/mean"] == 2
    assert row["episode/token_violations"] == 0
    assert row["episode/closed_turns"] == 1
    assert row["episode/ended_done_fraction"] == 1
    assert (row["environment/timeouts"], row["environment/crashes"]) == (1, 0)
    assert (row["tool/calls"], row["environment/game/found"], row["environment/game/reward"]) == (3, 1, 0.5)
    assert length_metrics([group(measured, lost)])["response_length/mean"] == 4
    assert episode_metrics([group(two_tokens(0))]) == {}


def test_other_ranks_get_no_texts() -> None:
    found = brief(two_turns())
    assert found is not None
    assert [(turn.text, turn.said, turn.begin) for turn in found.turns] == [("", "", 0), ("", "", 4)]
    assert brief(two_tokens(0)) is None
