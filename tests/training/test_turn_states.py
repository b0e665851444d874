"""Turns of a group's episodes, as the advantage takes them."""

import numpy as np

from rlvr_cli.algorithms import options
from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.training.turn_credit import turns_of


def completion(*turns: TurnNote, tokens: int) -> Completion:
    episode = Episode(environment="e", ended=Ended.done, turns=list(turns)) if turns else None
    return Completion(
        tokens=np.arange(tokens, dtype=np.int32),
        logprobs=np.zeros(tokens, np.float32),
        text="",
        finished=True,
        episode=episode,
    )


def test_turns_lie_one_after_the_other_and_one_answer_is_one_turn() -> None:
    problem = Problem(id="1", prompt="p", tokens=[1], answer="", source="s", verifiers=["v"])
    first = TurnNote(begin=0, end=2, text="", state=7), TurnNote(begin=4, end=5, text="", state=9)
    group = Group(problem=problem, index=0, completions=[completion(*first, tokens=3), completion(tokens=4)])
    found = turns_of([group], options("advantage")["step_groups"]())
    assert found is not None
    assert [x.tolist() for x in found] == [[2, 1], [2, 1, 4], [7, 9, 0]]
    assert turns_of([group], options("advantage")["group_zscore"]()) is None
