"""Instruction following by rules (IFEval, Zhou et al. 2023, 2311.07911): 25 kinds of instruction.

The instructions of a problem are in its columns `instruction_id_list` and `kwargs`, as in google/IFEval,
or its gold answer is a JSON object with these two keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Rejected, after_reasoning
from rlvr_cli.verifiers.ifeval_checks import Instruction, prepare
from rlvr_cli.verifiers.several_golds import Reads


class Level(Enum):
    prompt = "prompt"
    """1 if all instructions are followed, otherwise 0."""
    instruction = "instruction"
    """The fraction of instructions that are followed."""


@dataclass(kw_only=True)
class Ifeval:
    reads = Reads.no_gold
    by_nature = "instructions about form"
    name: str = "ifeval"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    level: Level = Level.instruction
    """prompt: all or nothing; instruction: the fraction followed (ProRL's reward, 2505.24864)."""
    strict: bool = True
    """False also accepts an instruction that is followed once the first line, the last line, both or all
    asterisks are taken away ("loose")."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        instructions = _instructions(answer, extra)
        try:
            text = after_reasoning(response, self.thinking)
        except Rejected as rejected:
            return none(rejected.verdict, instructions)
        if text != response:  # the blank lines after </think> are no paragraphs
            text = text.strip()
        if not text.strip():
            return none(
                Verdict(score=0.0, reason=Reason.no_answer, detail="the response is empty"), instructions
            )
        unfollowed = {"strict": [each for each in instructions if not each.followed(text)]}
        variants = loose(text)[1:] if unfollowed["strict"] else []
        unfollowed["loose"] = [e for e in unfollowed["strict"] if not any(map(e.followed, variants))]
        missed = [each.id for each in unfollowed["strict" if self.strict else "loose"]]
        followed = len(instructions) - len(missed)
        share = followed / len(instructions) if self.level is Level.instruction else float(not missed)
        return Verdict(
            score=share,
            reason=Reason.wrong if missed else Reason.correct,
            extracted=f"{followed} of {len(instructions)} followed",
            detail=f"not followed: {', '.join(missed)}" if missed else "",
            measures=measures(len(instructions), {kind: len(left) for kind, left in unfollowed.items()}),
        )

    def warm(self) -> None:
        from rlvr_cli.verifiers.ifeval_checks.text import language

        language("The profiles of fifty-five languages are read once.")

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            _instructions(answer, extra)
        except ValueError as error:
            return str(error)
        return None


def measures(instructions: int, missed: dict[str, int]) -> dict[str, tuple[float, float]]:
    """The four numbers of the paper: prompts and instructions followed, each strict and loose."""
    found: dict[str, tuple[float, float]] = {}
    for kind, count in missed.items():
        found[f"prompt_{kind}"] = float(count == 0), 1.0
        found[f"instruction_{kind}"] = float(instructions - count), float(instructions)
    return found


def none(verdict: Verdict, instructions: list[Instruction]) -> Verdict:
    """The verdict of a response that follows nothing."""
    missed = len(instructions)
    return replace(verdict, measures=measures(missed, {"strict": missed, "loose": missed}))


def loose(response: str) -> list[str]:
    """The response and its seven variants: without first line, last line or both, each without asterisks."""
    lines = response.split("\n")
    kept = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return kept + [text.replace("*", "") for text in kept]


def _instructions(answer: str, extra: dict[str, Any]) -> list[Instruction]:
    """The problem's instructions; ValueError where they cannot be checked."""
    row = extra if "instruction_id_list" in extra else _read(answer or "{}", "the answer")
    if not isinstance(row, dict) or not {"instruction_id_list", "kwargs"} <= row.keys():
        raise ValueError("instruction_id_list and kwargs are needed, as columns or as a JSON answer")
    ids, arguments = row["instruction_id_list"], row["kwargs"]
    if isinstance(arguments, str):
        arguments = _read(arguments, "kwargs")
    if not isinstance(ids, list) or not isinstance(arguments, list) or not ids:
        raise ValueError("instruction_id_list and kwargs must be lists, one entry for each instruction")
    return prepare(ids, arguments)


def _read(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is not JSON: {text!r:.60}") from None
