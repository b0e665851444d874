"""The conventions that reward functions are written for, and what each of them needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Convention(Enum):
    auto = "auto"
    """Recognised by the names of the parameters."""
    rlvr = "rlvr"
    """(response, answer, extra), one response."""
    rlvr_group = "rlvr_group"
    """(responses, answer, extra), all responses to a problem."""
    verl = "verl"
    """(data_source, solution_str, ground_truth, extra_info), by name."""
    verl_batch = "verl_batch"
    """(data_sources, solution_strs, ground_truths, extra_infos), by name, all responses to a problem."""
    verl_prime = "verl_prime"
    """As verl, by position; of a sequence the first element is the reward."""
    verl_scorer = "verl_scorer"
    """(solution_str, ground_truth): verl's own scorers."""
    easyr1 = "easyr1"
    """(reward_input), one object {response, response_length, ground_truth}."""
    easyr1_batch = "easyr1_batch"
    """(reward_inputs), a list of such objects, all responses to a problem."""
    trl = "trl"
    """(prompts, completions, completion_ids, <columns>), by name, all responses to a problem."""
    openrlhf = "openrlhf"
    """(queries, prompts, labels), by position, lists of one."""
    slime = "slime"
    """(args, sample)."""
    slime_group = "slime_group"
    """(args, samples), all responses to a problem."""
    areal = "areal"
    """(prompt, completions, prompt_ids, completion_ids, <columns>), by name, one response."""
    open_instruct = "open_instruct"
    """A class with __call__(tokenized_prediction, prediction, label, query)."""
    verifiers = "verifiers"
    """Any of (prompt, completion, answer, state, info, task, <columns>), by name, one response."""
    verifiers_group = "verifiers_group"
    """Any of (prompts, completions, answers, states, infos, tasks), by name, all responses to a problem."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What a convention is like."""

    together: bool = False
    """One call for all responses to a problem, answered by a list."""
    by_position: bool = False
    ids: bool = False
    """It gets token ids, or a number of them."""
    special: bool = False
    """It gets texts with special tokens."""
    columns: bool = False
    """It gets the columns of the row by their names."""
    reward: tuple[str, ...] = ("score", "reward")
    """Keys of a dict that may hold the reward; the first that is there."""
    correct: tuple[str, ...] = ("acc", "accuracy")
    """Keys of a dict that say how right a response is, apart from what it earns."""


VERL = ("score",)
OVERALL = ("overall",)
SPECS = {
    Convention.rlvr: Spec(by_position=True, correct=("acc", "accuracy", "correct")),
    Convention.rlvr_group: Spec(by_position=True, together=True, correct=("acc", "accuracy", "correct")),
    Convention.verl: Spec(reward=VERL, correct=("acc",)),
    Convention.verl_batch: Spec(together=True, reward=VERL, correct=("acc",)),
    Convention.verl_prime: Spec(by_position=True, reward=VERL, correct=("acc",)),
    Convention.verl_scorer: Spec(reward=VERL, correct=("acc",)),
    Convention.easyr1: Spec(by_position=True, ids=True, reward=OVERALL, correct=("accuracy",)),
    Convention.easyr1_batch: Spec(
        by_position=True, together=True, ids=True, reward=OVERALL, correct=("accuracy",)
    ),
    Convention.trl: Spec(together=True, ids=True, columns=True),
    Convention.openrlhf: Spec(by_position=True, special=True, reward=("rewards",), correct=("scores",)),
    Convention.slime: Spec(by_position=True, ids=True, special=True),
    Convention.slime_group: Spec(by_position=True, together=True, ids=True, special=True),
    Convention.areal: Spec(ids=True, special=True, columns=True),
    Convention.open_instruct: Spec(ids=True),
    Convention.verifiers: Spec(columns=True),
    Convention.verifiers_group: Spec(together=True),
}
