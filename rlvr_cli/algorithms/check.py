"""Refuses hyperparameters and combinations that make no sense, before anything expensive starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rlvr_cli.algorithms import Algorithm, proximal
from rlvr_cli.algorithms.check_loss import check_loss, has_ratio_to_sampler


def require(holds: bool, key: str, value: Any, rule: str) -> None:
    """Raise "algorithm.<key> is <value>; it must be <rule>" unless it holds (NaN compares False: refused)."""
    if not holds:
        shown = "null" if value is None else value
        raise ValueError(f"algorithm.{key} is {shown}; it must be {rule}")


def check(algorithm: Algorithm, *, group_size: int, max_tokens: int) -> None:
    """Raise ValueError with one line for the first combination that cannot work.

    group_size and max_tokens are batch.group_size and rollout.max_tokens. Whether the reference policy is
    used is for `check_reference`: one of a recipe's stages may do without.
    """
    _check_group(algorithm, group_size)
    _check_rewards(algorithm, max_tokens)
    _check_segments(algorithm)
    _check_tree(algorithm, group_size, max_tokens)
    _check_samples(algorithm, group_size)
    _check_pairs(algorithm)
    proximal.refuse(algorithm)
    check_loss(algorithm, group_size)
    if algorithm.aggregation.name == "constant":
        length = algorithm.aggregation.length
        require(
            length is not None, "aggregation.length", length, "given for constant, e.g. ${rollout.max_tokens}"
        )


def doubts(algorithm: Algorithm, updates_per_step: int, max_staleness: int = 0) -> Iterator[str]:
    """What can be meant but seldom is, a line each."""
    yield from proximal.doubts(algorithm, max_staleness)
    if max_staleness and not _corrected(algorithm):
        yield (
            f"rollout.max_staleness={max_staleness} with algorithm.mismatch=none: samples of older weights "
            "train as if they were of the present ones; set algorithm/mismatch=truncate"
        )
    if algorithm.loss.name == "reinforce" and updates_per_step > 1:
        yield (
            "algorithm.loss=reinforce knows no ratio: all updates of a step but the first are off-policy and "
            "uncorrected; set batch.updates_per_step=1 or algorithm/loss=clipped"
        )
    if algorithm.loss.name == "kl_cov" and updates_per_step == 1:
        yield (
            "algorithm.loss=kl_cov holds tokens where the step began, and in the first update all are there: "
            "with batch.updates_per_step=1 it does nothing"
        )
    if not algorithm.kl.in_loss and not algorithm.kl.in_reward:
        return
    wrong, right = (("k1",), "k2") if algorithm.kl.in_loss else (("k3", "abs"), "k1")
    if algorithm.kl.estimator.value in wrong and algorithm.kl.needs_reference:
        yield (
            f"algorithm.kl={algorithm.kl.name} with {algorithm.kl.estimator.value}: its expected gradient is "
            f"not that of the KL; set algorithm.kl.estimator={right}"
        )


def _corrected(algorithm: Algorithm) -> bool:
    """Whether something accounts for samples of another policy than the one of the step's start."""
    mismatch = algorithm.mismatch
    return mismatch.name != "none" or not mismatch.recomputes or has_ratio_to_sampler(algorithm)


LONG = 4096
"""Tokens of a response over which what two ways of rounding differ by adds up."""


def rounding_doubt(algorithm: Algorithm, *, updates_per_step: int, max_tokens: int) -> Iterator[str]:
    """Where weights are bf16, trainer and engine differ by more than can be left alone in some runs."""
    if _corrected(algorithm) or (updates_per_step == 1 and max_tokens < LONG):
        return
    several = updates_per_step > 1
    why = f"{updates_per_step} updates a step" if several else f"responses of {max_tokens} tokens"
    yield (
        f"algorithm.mismatch=none in bf16 with {why}: engine and trainer round differently, and nothing "
        "corrects for it; if mismatch/k3 passes 1e-3, set algorithm/mismatch=truncate or model.fp32_head=true"
    )


def _check_group(algorithm: Algorithm, group_size: int) -> None:
    if group_size >= 2:
        return
    for axis in ("advantage", "reweight"):
        part = getattr(algorithm, axis)
        if part.needs_group:
            raise ValueError(
                f"batch.group_size is {group_size}; it must be at least 2, as algorithm.{axis}={part.name} "
                "compares the samples of a prompt"
            )
    if algorithm.filter.name == "difficulty_band":
        raise ValueError(
            f"batch.group_size is {group_size}; it must be at least 2, as algorithm.filter=difficulty_band "
            "judges a prompt by its pass rate"
        )


def _check_samples(algorithm: Algorithm, group_size: int) -> None:
    samples = getattr(algorithm.token_weights, "samples", None)
    if samples is None:
        return
    rule = f"1 to batch.group_size = {group_size}, or null: all samples of a prompt train"
    require(1 <= samples <= group_size, "token_weights.samples", samples, rule)
    if algorithm.advantage.name in ("tree", "online_pairs"):
        raise ValueError(
            "algorithm.token_weights.samples drops whole samples, and those of "
            f"advantage={algorithm.advantage.name} train together: set it to null"
        )


def _check_rewards(algorithm: Algorithm, max_tokens: int) -> None:
    shaping = algorithm.shaping
    replace(shaping).resolve(max_tokens)  # on a copy: a buffer longer than the response is refused now
    if getattr(algorithm.advantage, "needs_parts", False) and (
        shaping.name != "identity" or algorithm.kl.in_reward
    ):
        added = f"shaping={shaping.name}" if shaping.name != "identity" else "kl=reward"
        raise ValueError(
            f"algorithm.advantage={algorithm.advantage.name} compares the scores of each verifier, and what "
            f"algorithm.{added} adds is none: use shaping=identity and no KL in the reward; a rule of "
            "lengths can be a verifier"
        )
    if algorithm.advantage.name != "maxrl":
        return
    negative = shaping.wrong < 0 or getattr(shaping, "coef", 0) < 0
    if negative or shaping.name not in ("identity", "stop_properly") or algorithm.kl.in_reward:
        raise ValueError(
            "algorithm.advantage=maxrl divides by the mean reward and needs rewards of 0 and more: "
            "use shaping=identity with wrong >= 0, and no KL in the reward"
        )


def check_reference(algorithm: Algorithm) -> None:
    """Raise ValueError if the reference policy is renewed, and nothing uses it."""
    if algorithm.reference.resets and not algorithm.kl.needs_reference:
        raise ValueError(
            f"algorithm.reference={algorithm.reference.name} renews a reference policy that nothing uses: "
            "choose reference=fixed, or kl=loss or kl=reward with a coef above 0, or kl=measured"
        )


def _check_pairs(algorithm: Algorithm) -> None:
    """The gradient of a loss on pairs is exact for one plain pass over the samples, whole."""
    if algorithm.aggregation.name == "sum" and algorithm.advantage.name != "online_pairs":
        raise ValueError(
            "algorithm.aggregation=sum divides by nothing, which only advantage=online_pairs has done "
            "already: "
            "choose aggregation=token_mean"
        )
    if algorithm.advantage.name != "online_pairs":
        return
    exact = {"loss": "reinforce", "aggregation": "sum", "reweight": "none", "token_weights": "all"}
    for axis, wanted in (exact | {"mismatch": "none"}).items():
        if (name := getattr(algorithm, axis).name) != wanted:
            raise ValueError(
                f"algorithm.{axis}={name} would change the gradient of advantage=online_pairs, which is "
                f"that of "
                f"its loss with {axis}={wanted}: choose that"
            )
    if algorithm.kl.in_reward:
        raise ValueError(
            "algorithm.kl=reward has no place in advantage=online_pairs, which compares rewards: choose "
            "kl=measured"
        )
    if algorithm.advantage.needs_reference and not algorithm.kl.needs_reference:
        raise ValueError(
            f"algorithm.advantage.loss={algorithm.advantage.loss} needs a reference policy: choose "
            f"kl=measured, or "
            "a loss without one (simpo, cpo, orpo)"
        )


def _check_segments(algorithm: Algorithm) -> None:
    if algorithm.advantage.name != "segment":
        return
    if algorithm.filter.drops:
        raise ValueError(
            f"algorithm.filter={algorithm.filter.name} drops groups by their outcomes, but advantage=segment "
            "finds a signal within each response, also where all outcomes are equal: choose filter=none"
        )
    if algorithm.kl.in_reward:
        raise ValueError(
            "algorithm.advantage=segment compares values of states, which a KL in the reward is no part of: "
            "choose kl=loss"
        )


SHARED = "and with advantage=tree several share their first tokens"


def _check_tree(algorithm: Algorithm, group_size: int, max_tokens: int) -> None:
    """Leaves share tokens: what weighs, divides or drops whole samples has no meaning there."""
    if algorithm.advantage.name != "tree":
        return
    tree = replace(algorithm.advantage)  # a copy: lengths are filled in later
    tree.resolve(max_tokens)
    if group_size != tree.leaves:
        raise ValueError(
            f"batch.group_size is {group_size}, and a tree of algorithm.advantage.branching={tree.branching} "
            f"has {tree.leaves} leaves: set batch.group_size={tree.leaves}"
        )
    if (inner := (len(tree.branching) - 1) * tree.tokens) >= max_tokens:
        raise ValueError(
            f"algorithm.advantage.tokens is {tree.tokens}: the levels before the last take {inner} tokens, "
            f"and rollout.max_tokens={max_tokens} leaves none for it; set fewer tokens, or a larger limit"
        )
    for axis, name in {"aggregation": "token_mean", "reweight": "none", "distillation": "none"}.items():
        if (chosen := getattr(algorithm, axis).name) != name:
            raise ValueError(
                f"algorithm.{axis}={chosen} weighs whole samples, {SHARED}: choose {axis}={name}"
            )
    by = {key: getattr(algorithm.mismatch, key, None) for key in ("level", "over", "weight")}
    whole = [key for key, unit in by.items() if unit is not None and unit.value not in ("token", "none")]
    if getattr(algorithm.mismatch, "veto_low", 0) or getattr(algorithm.mismatch, "veto_high", None):
        whole.append("veto_low or veto_high")
    if whole:
        raise ValueError(
            f"algorithm.mismatch.{whole[0]} judges whole samples, {SHARED}: choose mismatch=truncate with "
            "level=token"
        )
    if getattr(algorithm.loss, "by_response", False):
        raise ValueError(
            f"algorithm.loss={algorithm.loss.name} goes by the ratio of a whole response, {SHARED}: choose "
            "loss=clipped"
        )
    if algorithm.token_weights.drop_truncated:
        raise ValueError(
            f"algorithm.token_weights.drop_truncated drops whole samples, {SHARED}: set it to false"
        )
    if algorithm.kl.in_reward:
        raise ValueError(
            "algorithm.kl=reward rewards single tokens, which the values that advantage=tree compares know "
            "nothing of: choose kl=loss"
        )
