"""An episode as a row of JSON, in records of training and in results of evaluations; and read again."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Reason, Verdict

CLOCK = "seconds"
"""Measures whose names end so differ from one run to the next."""


def row_of(episode: Episode, *, clock: bool = True) -> dict[str, Any]:
    """How it went, turn by turn. `clock`: with what took how long, which another run would not repeat."""
    turns = [
        {
            "text": turn.text,
            "said": turn.said,
            "tokens": turn.end - turn.begin,
            "reward": turn.reward,
            **({"seconds": round(turn.seconds, 4)} if clock else {}),
            **({"notes": turn.notes} if turn.notes else {}),
        }
        for turn in episode.turns
    ]
    failure = episode.failure
    return {
        "environment": episode.environment,
        "ended": episode.ended.value,
        "environment_reward": episode.reward,
        "measures": {name: n for name, n in episode.measures.items() if clock or not name.endswith(CLOCK)},
        "turns": turns,
        **({"failure": [failure.reason.value, failure.detail]} if failure is not None else {}),
    }


def episode_of(row: dict[str, Any]) -> Episode:
    """The episode of a row, as far as it is in it: where its turns lie among the tokens is not."""
    failed = row.get("failure")
    return Episode(
        environment=row["environment"],
        ended=Ended(row["ended"]),
        turns=[
            TurnNote(
                begin=0,
                end=turn["tokens"],
                text=turn["text"],
                said=turn["said"],
                reward=turn["reward"],
                seconds=turn.get("seconds", 0.0),
                notes=turn.get("notes", {}),
            )
            for turn in row["turns"]
        ],
        reward=row["environment_reward"],
        measures=row["measures"],
        failure=Verdict(score=0.0, reason=Reason(failed[0]), detail=failed[1]) if failed else None,
    )


def as_text(completion: Completion) -> str:
    """A completion for people: its text, or the turns of an episode with what was said to each."""
    if completion.episode is None:
        return completion.text
    return "\n".join(
        f"{turn.text}\n> {turn.said}" if turn.said else turn.text for turn in completion.episode.turns
    )


def columns(row: dict[str, Any]) -> dict[str, Any]:
    """What a table of samples says of a row."""
    return {
        "turns": len(row["turns"]),
        "ended": row["ended"],
        "environment_reward": row["environment_reward"],
        "conversation": conversation(row),
    }


def conversation(row: dict[str, Any]) -> list[dict[str, str]]:
    """The turns of a row as messages: of the `assistant`, and of the `environment` what it said to each."""
    found: list[dict[str, str]] = []
    for turn in row["turns"]:
        found.append({"role": "assistant", "content": turn["text"]})
        if turn["said"]:
            found.append({"role": "environment", "content": turn["said"]})
    return found
