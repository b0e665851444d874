"""Which convention a function is written for, by the names of its parameters.

Reward functions of AReaL and TRL share `completions` and `completion_ids`: `prompt` in the singular tells
them apart. A group function of verifiers looks like one of TRL, but for `answers`, `infos` or `states`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from inspect import Parameter
from types import ModuleType
from typing import Any

from rlvr_cli.verifiers.user_code.conventions import Convention
from rlvr_cli.verifiers.user_code.load import Unusable

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(slots=True, kw_only=True)
class Signature:
    """The parameters of a function, `self` and what a partial has bound by position left out."""

    names: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    """Those without a default."""
    positional: int = 0
    """How many may be given by position."""
    open: bool = False
    """It has **kwargs."""
    line: int = 0
    """Where it begins in its file; 0: not known."""


def signature_of(function: Any) -> Signature:
    """Unusable where Python does not know it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise Unusable(f"its parameters are not known to Python ({error})") from error
    found = Signature()
    for each in parameters:
        if each.kind is Parameter.VAR_KEYWORD:
            found.open = True
        elif each.kind is not Parameter.VAR_POSITIONAL:
            found.names.append(each.name)
            found.required += [each.name] if each.default is Parameter.empty else []
            found.positional += each.kind in POSITIONAL
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    found.line = code.co_firstlineno if code is not None else 0
    return found


Test = tuple[bool, Convention, str]
"""(whether it holds, what a function is written for then, what it is known by)"""


def recognise(function: Any, name: str, module: ModuleType, from_file: bool) -> tuple[Convention, str]:
    """The convention, and the parameters it was known by. Unusable where none fits."""
    signature = signature_of(function)
    constant = getattr(module, "REWARD_TYPE", None)
    openrlhf = from_file and name == "reward_func"
    group = _group_of_verifiers(set(signature.names), module)
    for holds, convention, seen in (*_distinct(signature, constant, openrlhf), *_similar(signature, group)):
        if holds:
            return convention, seen
    known = ", ".join(each.value for each in Convention if each is not Convention.auto)
    raise Unusable(
        f"{name}({', '.join(signature.names)}{', **' if signature.open else ''}) fits no convention; say "
        f"which with convention: {known}"
    )


def _distinct(signature: Signature, constant: Any, openrlhf: bool) -> tuple[Test, ...]:
    """Names that one framework alone has. `constant`: EasyR1's; `openrlhf`: the function's name is theirs."""
    names, first = set(signature.names), signature.names[:2]
    open_instruct = ("tokenized_prediction", "prediction")
    by = "REWARD_TYPE" if constant else first[0] if first else ""
    sequential = constant == "sequential" or (constant is None and first[:1] == ["reward_input"])
    batch = constant == "batch" or (constant is None and first[:1] == ["reward_inputs"])
    by_place = openrlhf and signature.positional == 3 and "completions" not in names
    return (
        (names.issuperset(open_instruct), Convention.open_instruct, ", ".join(open_instruct)),
        ({"data_sources", "solution_strs"} <= names, Convention.verl_batch, "data_sources, solution_strs"),
        ({"data_source", "solution_str"} <= names, Convention.verl, "data_source, solution_str"),
        (sequential, Convention.easyr1, by),
        (batch, Convention.easyr1_batch, by),
        ({"queries", "prompts", "labels"} <= names, Convention.openrlhf, "queries, prompts, labels"),
        (by_place, Convention.openrlhf, "the name reward_func and three parameters"),
        (first == ["args", "samples"], Convention.slime_group, "args, samples"),
        (first == ["args", "sample"], Convention.slime, "args, sample"),
    )


def _similar(signature: Signature, group: bool) -> tuple[Test, ...]:
    """Names that several have. `group`: it is a group function of verifiers."""
    names, first = set(signature.names), signature.names[:1]
    areal = {"prompt", "completions"} <= names and bool(names & {"prompt_ids", "completion_ids"})
    trl = bool(names & {"completions", "prompts"}) or ("completion_ids" in names and signature.open)
    said = [name for name in signature.names if name in ("prompts", "completions", "completion_ids")]
    scorer = Convention.verl_scorer
    return (
        (areal, Convention.areal, "prompt, completions and token ids"),
        (group, Convention.verifiers_group, "plural names"),
        (trl, Convention.trl, ", ".join(said)),
        ("completion" in names, Convention.verifiers, "completion"),
        ({"solution_str", "ground_truth"} <= names, scorer, "solution_str, ground_truth"),
        ({"model_output", "ground_truth"} <= names, scorer, "model_output, ground_truth"),
        (first == ["responses"], Convention.rlvr_group, "responses"),
        (first == ["response"], Convention.rlvr, "response"),
    )


def _group_of_verifiers(names: set[str], module: ModuleType) -> bool:
    """Names that TRL's functions have as well count where something else speaks for verifiers."""
    imports = any(
        isinstance(value, ModuleType) and value.__name__.partition(".")[0] == "verifiers"
        for value in vars(module).values()
    )
    if "completion" in names:
        return False
    return bool(names & {"answers", "states", "infos"}) or (
        imports and bool(names & {"prompts", "completions", "tasks"})
    )


def is_async(function: Any) -> bool:
    """Whether a call gives a coroutine; looks through partials and objects that are called."""
    return any(
        inspect.iscoroutinefunction(each)
        for each in (function, getattr(function, "func", None), vars(type(function)).get("__call__"))
    )
