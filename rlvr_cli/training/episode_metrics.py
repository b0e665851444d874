"""What a step's episodes looked like, and what their environments did."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rlvr_cli.core.episode import Ended, Episode
from rlvr_cli.core.types import Completion, Group, Reason


def episode_metrics(sampled: list[Group]) -> dict[str, float]:
    """Over the episodes of all ranks; nothing where there are none."""
    pairs = [(c, c.episode) for g in sampled for c in g.completions if c.episode is not None]
    if not pairs:
        return {}
    out = _lengths(pairs)
    for ended in Ended:
        out[f"episode/ended_{ended.value}_fraction"] = _share(e.ended is ended for _, e in pairs)
    out |= _sums("", [episode for _, episode in pairs])
    names = sorted({episode.environment for _, episode in pairs})
    for name in names:
        own = [(c, episode) for c, episode in pairs if episode.environment == name]
        out |= _sums(f"{name}/", [episode for _, episode in own])
        rewards = [episode.reward for _, episode in own if episode.reward is not None]
        if rewards:
            out[f"environment/{name}/reward"] = float(np.mean(rewards))
        if len(names) > 1:
            out[f"environment/{name}/turns"] = float(np.mean([len(e.turns) for _, e in own]))
    return out


def _lengths(pairs: list[tuple[Completion, Episode]]) -> dict[str, float]:
    turns = np.array([len(episode.turns) for _, episode in pairs])
    said = np.array([sum(len(row.tokens) - row.row_length for row in c.rows) for c, _ in pairs])
    return {
        "episode/turns/mean": float(turns.mean()),
        "episode/turns/max": float(turns.max()),
        "episode/environment_tokens/mean": float(said.mean()),
        "episode/environment_tokens/max": float(said.max()),
        "episode/rows/mean": float(np.mean([len(completion.rows) for completion, _ in pairs])),
        "episode/closed_turns": float(sum(episode.closed for _, episode in pairs)),
        "episode/token_violations": float(sum(episode.violations for _, episode in pairs)),
        "episode/seconds/mean": float(np.mean([episode.seconds for _, episode in pairs])),
        "episode/seconds/max": float(max(episode.seconds for _, episode in pairs)),
    }


def _sums(prefix: str, episodes: list[Episode]) -> dict[str, float]:
    """Timeouts, crashes, and what the environments have measured: sums under names of their own
    (`tool/calls`), means over the episodes under their environment's."""
    found = {
        f"environment/{prefix}timeouts": _count(episodes, Reason.timeout),
        f"environment/{prefix}crashes": _count(episodes, Reason.crash),
        f"environment/{prefix}seconds": sum(turn.seconds for e in episodes for turn in e.turns),
    }
    for name in sorted({name for episode in episodes for name in episode.measures}):
        if ("/" in name) == (not prefix):
            values = [episode.measures[name] for episode in episodes if name in episode.measures]
            if prefix:
                found[f"environment/{prefix}{name}"] = sum(values) / len(values)
            else:
                found[name] = sum(values)
    return found


def _count(episodes: list[Episode], reason: Reason) -> float:
    return float(sum(e.failure is not None and e.failure.reason is reason for e in episodes))


def _share(answers: Iterable[bool]) -> float:
    found = list(answers)
    return sum(found) / len(found)
