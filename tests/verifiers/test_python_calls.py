"""How a user's function is recognised, what it is called with, and what becomes of its answer."""

from __future__ import annotations

import functools
from decimal import Decimal
from fractions import Fraction
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Group, Problem, Raw, Reason
from rlvr_cli.verifiers.python import Python
from rlvr_cli.verifiers.user_code.arguments import call_of
from rlvr_cli.verifiers.user_code.case import Surroundings, as_numpy, case_of, single, with_prefill
from rlvr_cli.verifiers.user_code.conventions import SPECS, Convention
from rlvr_cli.verifiers.user_code.recognise import recognise
from rlvr_cli.verifiers.user_code.results import NoNumber, number, verdict_of, verdicts_of

PARAMETERS = {
    "data_source, solution_str, ground_truth, extra_info=None": "verl",
    "data_sources, solution_strs, ground_truths, extra_infos": "verl_batch",
    "solution_str, ground_truth, method='strict'": "verl_scorer",
    "model_output, ground_truth, timeout_score=0": "verl_scorer",
    "reward_inputs, **kwargs": "easyr1_batch",
    "reward_input": "easyr1",
    "prompts, completions, completion_ids, **kwargs": "trl",
    "completions, answer, **kwargs": "trl",
    "completion_ids, **kwargs": "trl",
    "queries, prompts, labels, **kwargs": "openrlhf",
    "args, sample, **kwargs": "slime",
    "args, samples, **kwargs": "slime_group",
    "prompt, completions, prompt_ids, completion_ids, **data": "areal",
    "completion, answer": "verifiers",
    "prompts, completions, answers": "verifiers_group",
    "tokenized_prediction, prediction, label, query=None": "open_instruct",
    "response, answer, extra": "rlvr",
    "responses, answer, extra": "rlvr_group",
}


@pytest.mark.parametrize(("parameters", "convention"), PARAMETERS.items())
def test_a_convention_is_known_by_its_parameters(parameters: str, convention: str) -> None:
    module = ModuleType("mine")
    exec(f"def f({parameters}): pass", module.__dict__)
    assert recognise(module.f, "f", module, True)[0] is Convention(convention)
    bound = functools.partial(module.f)
    assert recognise(bound, "f", module, True)[0] is Convention(convention)


def test_a_constant_of_easyr1_and_a_name_of_openrlhf_decide() -> None:
    module = ModuleType("mine")
    exec("REWARD_TYPE = 'sequential'\ndef f(inputs): pass\ndef reward_func(a, b, c): pass", module.__dict__)
    assert recognise(module.f, "f", module, True)[0] is Convention.easyr1
    del module.REWARD_TYPE
    assert recognise(module.reward_func, "reward_func", module, True)[0] is Convention.openrlhf


def case(convention: Convention, prompt: Any = "2+5?") -> Any:
    """Two responses to a problem of a run, whose columns and tokens are known."""
    problem = Problem(
        id="1",
        prompt="<user>2+5?<assistant><think>\n",
        tokens=[10, 11],
        answer="7",
        source="train",
        verifiers=["mine"],
        extra={"prompt": prompt, "level": [1, 2]},
        raw=Raw(columns={"question": prompt, "gold": 7}, gold=7),
    )
    completions = [
        Completion(tokens=np.array(ids, np.int32), logprobs=np.zeros(0), text=text, finished=len(ids) < 3)
        for ids, text in (([1, 2], "7"), ([3, 4, 5], "eight"))
    ]
    group = Group(problem=problem, index=3, completions=completions)
    around = Surroundings(decode=lambda ids: " ".join(map(str, ids)) + "<end>", step=4, steps=9)
    texts = [completion.text for completion in completions]
    return case_of(texts, "7", problem.extra, group, around, SPECS[convention])


def test_trl_gets_columns_ids_and_messages_where_the_data_has_messages() -> None:
    call = call_of(Convention.trl, case(Convention.trl), None)
    assert call.names["completions"] == ["7", "eight"] and call.names["prompts"] == ["2+5?"] * 2
    assert call.names["completion_ids"] == [[1, 2], [3, 4, 5]]
    assert call.names["gold"] == [7, 7] and call.names["level"] == [[1, 2], [1, 2]]
    assert call.names["level"][0] is not call.names["level"][1], "what one sample's is changed to is its own"
    assert vars(call.names["trainer_state"]) == {"global_step": 4, "max_steps": 9}
    chat = [{"role": "user", "content": "2+5?"}]
    call = call_of(Convention.trl, case(Convention.trl, chat), None)
    assert call.names["completions"][1] == [{"role": "assistant", "content": "eight"}]
    assert call.names["prompts"] == [chat, chat]


def test_the_gold_keeps_its_type_and_special_tokens_stay_where_they_are_expected() -> None:
    verl = call_of(Convention.verl, case(Convention.verl), None).names
    assert (verl["data_source"], verl["solution_str"], verl["ground_truth"]) == ("train", "7", 7)
    assert verl["extra_info"]["level"] == [1, 2] and verl["extra_info"]["num_turns"] is None
    prompt = "<user>2+5?<assistant><think>\n"
    assert call_of(Convention.openrlhf, case(Convention.openrlhf), None).args == [
        [prompt + "1 2<end>"],
        [prompt],
        [7],
    ]
    areal = call_of(Convention.areal, single(case(Convention.areal), 1), None).names
    assert (areal["completions"], areal["completion_ids"], areal["prompt_ids"]) == (
        "3 4 5<end>",
        [3, 4, 5],
        [10, 11],
    )
    args, samples = call_of(Convention.slime_group, case(Convention.slime_group), "r").args
    assert (args.reward_key, args.n_samples_per_prompt) == ("r", 2)
    assert [sample.status.value for sample in samples] == ["completed", "truncated"]
    assert samples[1].tokens == [10, 11, 3, 4, 5] and samples[1].index == 1 and samples[1].group_index == 3
    with pytest.raises(AttributeError, match=r"slime's args\.lr is not known here"):
        _ = args.lr
    [inputs] = call_of(Convention.easyr1_batch, case(Convention.easyr1_batch), None).args
    assert inputs[1] == {"response": "eight", "response_length": 3, "ground_truth": 7}


def test_a_call_changes_nothing_of_the_row() -> None:
    given = case(Convention.verl)
    row, level = given.row, given.row["level"]
    info = call_of(Convention.verl, given, None).names["extra_info"]
    info["level"].append(3)
    assert level == [1, 2] and row["level"] is level


def test_prefill_and_arrays() -> None:
    assert with_prefill(case(Convention.verl)).responses == ["<think>\n7", "<think>\neight"]
    found = as_numpy({"target": [1, 2], "n": 5, "names": ["a", ["b"]], "text": "x"})
    assert found["target"].tolist() == [1, 2] and found["n"].item() == 5 and found["text"] == "x"
    assert found["names"].shape == (2,) and found["names"][1].tolist() == ["b"]


class Tensor:
    def item(self) -> float:
        return 0.25


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((True, 1), (-3, -3), (np.float32(0.5), 0.5), (np.array([2]), 2), (Tensor(), 0.25)),
        *((Decimal("0.5"), 0.5), (Fraction(1, 4), 0.25)),
    ],
)
def test_numbers(value: Any, expected: float) -> None:
    assert number(value) == expected and type(number(value)) is float


@pytest.mark.parametrize("value", ["0.5", None, [1.0, 2.0], np.array([1, 2]), float("nan"), float("inf"), {}])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(NoNumber):
        number(value)


def read(result: Any, convention: Convention, correct_at: float = 0.5, key: str | None = None) -> Any:
    return verdict_of(result, convention, SPECS[convention], correct_at, key)


def test_results_become_verdicts() -> None:
    verl = read({"score": -1.0, "acc": 1, "pred": "7", "n": 2, "why": "x", "none": None}, Convention.verl)
    assert (verl.score, verl.reason, verl.judged, verl.extracted) == (-1.0, Reason.correct, 1.0, "7")
    assert verl.more == {"acc": 1.0, "n": 2.0, "why": "x"} and verl.raw
    assert read(8, Convention.trl, correct_at=9).reason is Reason.wrong
    assert read(8, Convention.trl, correct_at=8).reason is Reason.correct
    assert read((0.5, "rest"), Convention.verl_prime).score == 0.5
    assert read({"r": 3}, Convention.slime, key="r").score == 3
    assert read(SimpleNamespace(score=10, cost=1.5, reasoning="so"), Convention.open_instruct).more == {
        "cost": 1.5,
        "reasoning": "so",
    }
    with pytest.raises(NoNumber, match="without 'score'; it has reward"):
        read({"reward": 1}, Convention.verl)
    said = verdicts_of([1, None, "1"], 3, Convention.trl, SPECS[Convention.trl], 0.5, None)
    assert [verdict.reason for verdict in said] == [Reason.correct, Reason.no_say, Reason.crash]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set one of the two"),
        ({"path": "a.py", "module": "a"}, "set one of the two"),
        ({"path": "a.py", "function": "a b"}, "function is 'a b'"),
        ({"path": "a.py", "concurrency": 0}, "concurrency is 0"),
        ({"path": "a.py", "timeout_s": 0.0}, "timeout_s is 0"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Python(**options)
