"""The arguments of a call, as the frameworks hand them over that a function is written for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

from rlvr_cli.verifiers.user_code.case import Case, Messages
from rlvr_cli.verifiers.user_code.conventions import Convention


@dataclass(slots=True, kw_only=True)
class Call:
    """What a function is called with, and what it leaves behind besides its result."""

    args: list[Any] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    logged: dict[str, list[float]] = field(default_factory=dict)
    """By TRL's `log_metric`."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """By TRL's `log_extra`."""


def call_of(convention: Convention, case: Case, key: str | None) -> Call:
    """One call; of a convention for a single response its first. `key`: slime's reward_key."""
    case.row = deepcopy(case.row)  # functions change what they are given
    case.gold = deepcopy(case.gold)
    if convention in (Convention.slime, Convention.slime_group):
        return _slime(case, key, convention is Convention.slime_group)
    return _MAKERS[convention](case)


def _info(case: Case) -> dict[str, Any]:
    """verl's extra_info: the column, or where there is none all of them."""
    found = case.row.get("extra_info", case.row)
    found = dict(found) if isinstance(found, Mapping) else {}
    return found | {"num_turns": None, "rollout_reward_scores": {}}


def _source(case: Case) -> str:
    return str(case.row.get("data_source", case.source))


def _verl(case: Case) -> Call:
    names = {"data_source": _source(case), "solution_str": case.responses[0], "ground_truth": case.gold}
    return Call(names=names | {"extra_info": _info(case)})


def _verl_prime(case: Case) -> Call:
    return Call(args=list(_verl(case).names.values()))


def _verl_batch(case: Case) -> Call:
    count = len(case.responses)
    names = {
        "data_sources": [_source(case)] * count,
        "solution_strs": list(case.responses),
        "ground_truths": [deepcopy(case.gold) for _ in range(count)],
        "extra_infos": [deepcopy(_info(case)) for _ in range(count)],
    }
    return Call(names=names)


def _verl_scorer(case: Case) -> Call:
    names = {"solution_str": case.responses[0], "model_output": case.responses[0], "ground_truth": case.gold}
    return Call(names=names)


def _easyr1_inputs(case: Case) -> list[dict[str, Any]]:
    inputs: list[dict[str, Any]] = [
        {"response": response, "ground_truth": deepcopy(case.gold)} for response in case.responses
    ]
    for each, ids in zip(inputs, case.response_ids or (), strict=False):
        each["response_length"] = len(ids)
    return inputs


def _easyr1(case: Case) -> Call:
    return Call(args=_easyr1_inputs(case)[:1])


def _easyr1_batch(case: Case) -> Call:
    return Call(args=[_easyr1_inputs(case)])


def _said(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


def _asked(case: Case) -> Messages:
    prompt = case.prompt
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else deepcopy(prompt)


def _trl(case: Case) -> Call:
    count, call = len(case.responses), Call()
    chat = not isinstance(case.prompt, str)
    call.names = {
        name: [deepcopy(value) for _ in range(count)]
        for name, value in case.row.items()
        if name not in ("prompt", "completion")
    }
    call.names |= {
        "prompts": [deepcopy(case.prompt) for _ in range(count)],
        "completions": [_said(text) for text in case.responses] if chat else list(case.responses),
        "completion_ids": case.response_ids,
        "trainer_state": SimpleNamespace(global_step=case.step, max_steps=case.steps),
        "log_extra": lambda column, values: call.columns.__setitem__(str(column), list(values)),
        "log_metric": lambda name, value: call.logged.setdefault(str(name), []).append(float(value)),
    }
    return call


def _openrlhf(case: Case) -> Call:
    prompt = case.prompt_text if case.prompt_text is not None else _as_text(case)
    label = "" if case.gold is None else case.gold
    return Call(args=[[prompt + _special(case)[0]], [prompt], [label]])


def _special(case: Case) -> list[str]:
    return case.responses if case.raw_responses is None else case.raw_responses


def _as_text(case: Case) -> str:
    """A prompt whose template is not known."""
    return case.prompt if isinstance(case.prompt, str) else "\n".join(m["content"] for m in case.prompt)


class Status(Enum):
    """Of slime's sample."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"


class _Slime(SimpleNamespace):
    """slime's objects as far as they are known here."""

    def __getattr__(self, name: str) -> Any:
        what = "an attribute" if name.startswith("_") else f"slime's {self._what}.{name}"
        raise AttributeError(f"{what} is not known here")

    def __repr__(self) -> str:
        shown = ("prompt", "response", "label") if self._what == "sample" else ()
        return f"{self._what}({', '.join(f'{name}={getattr(self, name)!r:.60}' for name in shown)})"

    def get_reward_value(self, args: Any) -> Any:
        return self.reward[args.reward_key] if args.reward_key else self.reward


def _slime(case: Case, key: str | None, together: bool) -> Call:
    names = ("rm_type", "rm_url", "rollout_max_response_len", "hf_checkpoint")
    keys = {"reward_key": key, "eval_reward_key": key, "n_samples_per_prompt": len(case.responses)}
    samples = [_slime_sample(case, number) for number in range(len(case.responses))]
    return Call(
        args=[_Slime(_what="args", **dict.fromkeys(names), **keys), samples if together else samples[0]]
    )


def _slime_sample(case: Case, number: int) -> _Slime:
    more = case.row.get("metadata", case.row)
    known: dict[str, Any] = {
        "prompt": case.prompt_text if case.prompt_text is not None else deepcopy(case.prompt),
        "response": _special(case)[number],
        "label": deepcopy(case.gold),
        "metadata": deepcopy(more) if isinstance(more, Mapping) else {},
        "index": case.first + number,
        "group_index": case.index,
        "multimodal_inputs": None,
        "reward": None,
    }
    if case.finished is not None:
        known["status"] = Status.COMPLETED if case.finished[number] else Status.TRUNCATED
    if case.response_ids is not None and case.prompt_ids is not None:
        ids = case.response_ids[number]
        known |= {"tokens": case.prompt_ids + ids, "response_length": len(ids), "loss_mask": [1] * len(ids)}
    return _Slime(_what="sample", **known)


def _areal(case: Case) -> Call:
    names = {
        "prompt": case.prompt_text if case.prompt_text is not None else _as_text(case),
        "completions": _special(case)[0],
        "prompt_ids": case.prompt_ids,
        "completion_ids": None if case.response_ids is None else case.response_ids[0],
    }
    return Call(names={name: value for name, value in case.row.items() if name not in names} | names)


def _open_instruct(case: Case) -> Call:
    names = {
        "tokenized_prediction": None if case.response_ids is None else case.response_ids[0],
        "prediction": case.responses[0],
        "label": case.gold,
        "query": case.prompt_text if case.prompt_text is not None else _as_text(case),
        "rollout_state": None,
    }
    return Call(names=names)


def _verifiers_names(case: Case, response: str) -> dict[str, Any]:
    info = case.row.get("info", {})
    if isinstance(info, str):  # often JSON text
        info = json.loads(info)
    found = {
        "prompt": _asked(case),
        "completion": _said(response),
        "answer": "" if case.gold is None else str(case.gold),
        "info": deepcopy(info) if isinstance(info, Mapping) else {},
        "task": str(case.row.get("task", "default")),
    }
    return found | {"state": dict(found)}


def _verifiers(case: Case) -> Call:
    names = _verifiers_names(case, case.responses[0])
    return Call(names={name: value for name, value in case.row.items() if name not in names} | names)


def _verifiers_group(case: Case) -> Call:
    each = [_verifiers_names(case, response) for response in case.responses]
    plural = ("prompt", "completion", "answer", "info", "task", "state")
    return Call(names={f"{name}s": [one[name] for one in each] for name in plural})


def _own_gold(case: Case) -> Any:
    """As text, as our own verifiers have it; what has no text as it is."""
    return case.answer if case.answer or case.gold is None else case.gold


def _rlvr(case: Case) -> Call:
    return Call(args=[case.responses[0], _own_gold(case), case.row | {"prompt": case.prompt}])


def _rlvr_group(case: Case) -> Call:
    return Call(args=[list(case.responses), _own_gold(case), case.row | {"prompt": case.prompt}])


_MAKERS: dict[Convention, Callable[[Case], Call]] = {
    Convention.rlvr: _rlvr,
    Convention.rlvr_group: _rlvr_group,
    Convention.verl: _verl,
    Convention.verl_batch: _verl_batch,
    Convention.verl_prime: _verl_prime,
    Convention.verl_scorer: _verl_scorer,
    Convention.easyr1: _easyr1,
    Convention.easyr1_batch: _easyr1_batch,
    Convention.trl: _trl,
    Convention.openrlhf: _openrlhf,
    Convention.areal: _areal,
    Convention.open_instruct: _open_instruct,
    Convention.verifiers: _verifiers,
    Convention.verifiers_group: _verifiers_group,
}
