"""The facts of a preflight as lines of text."""

from __future__ import annotations

import math

from rlvr_cli.core.types import Reason
from rlvr_cli.preflight.facts import Facts, Verifier


def lines_of(facts: Facts) -> dict[str, str]:
    """What -> what was found, in the order of interest."""
    size, lengths = facts.samples, facts.lengths
    at_most = "" if facts.signal else f"; at 95% fewer than {facts.at_most:.1%} of all prompts"
    kept = "" if facts.kept == facts.prompts else f", {facts.kept} pass the filter"
    lines = {
        "sampled": f"{facts.prompts} prompts x {size} responses",
        "groups with a signal": f"{facts.signal} ({facts.signal / facts.prompts:.0%}{at_most}){kept}; "
        f"{facts.all_right} all right, {facts.all_wrong} all wrong",
        "correct": "nothing: there are no verdicts"
        if math.isnan(facts.correct)
        else f"{facts.correct:.1%} of the responses",
        "prompts by correctness": ", ".join(f"{name}: {n}" for name, n in facts.histogram.items()),
    }
    if len(facts.sources) > 1:
        lines |= {f"data.{name}": _source(found) for name, found in facts.sources.items()}
    if facts.seen:
        lines["prompts with images"] = _source(facts.seen)
    lines |= {f"verifiers.{name}": _verifier(found) for name, found in facts.verifiers.items()}
    lines |= {f"environments.{name}": str(found) for name, found in facts.environments.items()}
    tokens = ", ".join(f"{name} {value:.0f}" for name, value in lengths.items())
    repeated = "" if math.isnan(facts.repeated) else f", {facts.repeated:.0%} repeat another of their group"
    lines |= {
        "responses": f"{facts.truncated:.1%} cut at the limit{repeated}",
        "response tokens": tokens,
        "-log p of a token": f"{facts.nats:.3f} nats (of a uniform choice {facts.uniform:.2f})",
        "engine against trainer": f"|logprob difference| mean {facts.mismatch_mean:.1e}, "
        f"max {facts.mismatch_max:.1e}",
        "a step": f"about {facts.step_s:.2g} s, weight sync not counted (here: "
        + ", ".join(f"{name} {value:.2g} s" for name, value in facts.seconds.items())
        + ")",
    }
    return lines | {f"example {n}": _example(found) for n, found in enumerate(facts.examples, 1)}


def _source(found: dict[str, float]) -> str:
    return (
        f"{found['prompts']:.0f} prompts, {found['signal']:.0f} groups with a signal, "
        f"{found['correct']:.1%} correct"
    )


def _verifier(found: Verifier) -> str:
    reasons = sorted(found.reasons.items(), key=lambda pair: -pair[1])
    shares = ", ".join(f"{reason} {count / found.verdicts:.1%}" for reason, count in reasons)
    late = found.count(Reason.timeout)
    return f"{shares}; p50 {found.p50_ms:.2g} ms, p99 {found.p99_ms:.2g} ms" + (
        f", {late} timeouts" if late else ""
    )


def _example(found: dict[str, object]) -> str:
    end = "" if found["finished"] else " (cut)"
    return (
        f"{str(found['prompt'])[-60:]!r} -> {str(found['response'])[-80:]!r}{end}: {found['reason']}, "
        f"read {found['extracted']!r}, wanted {found['answer']!r}"
    )
