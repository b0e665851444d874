"""What the rules make of a run as a whole, finished or not: the findings that hold, the weightiest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlvr_cli.core.causes import causes, commonest
from rlvr_cli.diagnosis import EASE, RULES, Asked, Finding, Rule, Severity
from rlvr_cli.diagnosis.history import Context, History
from rlvr_cli.diagnosis.learning import trend
from rlvr_cli.diagnosis.samples import Sample, first_verdict, that_show
from rlvr_cli.diagnosis.statistics import Change
from rlvr_cli.diagnosis.watch import Problems, Watch, finding_of
from rlvr_cli.schema import Diagnosis

ORDER = (
    "environment_failures", "tools_failing", "no_verdicts", "all_refused", "cut_off", "unreadable",
    "all_wrong", "equal_scores", "all_right", "signal_lost", "refusals_rising", "reward_hacking",
    "over_optimisation", "canary", "same_answer", "reward_jump", "reward_alone",
    "eval_regression", "entropy_explosion", "entropy_collapse",
    "mismatch_growth", "kl_drift", "gradient_explosion", "gradient_spikes",
    "tools_unused", "repetition_loops", "language_mixing", "length_collapse", "truncation", "length_pays",
    "length_growth", "verdicts_lost", "growing_memory", "reward_falls", "no_learning", "within_noise",
    "slow_disk", "slow_phase",
)  # fmt: skip
"""Causes before what follows from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """The recorded samples of a run."""

    steps: list[int] = field(default_factory=list)
    read: Callable[[int], Iterable[Sample]] = lambda step: ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A finding that holds at the end."""

    finding: Finding
    """As it began, with what is seen of it at the end."""
    rule: Rule
    change: list[str]
    """Keys of the recipe, the likeliest first."""
    samples: list[Sample]
    """Rows of `rollouts/` that show it."""
    cause: str = ""
    """Of verdicts that are missing: the commonest, in the verifier's words."""

    def as_dict(self) -> dict[str, Any]:
        found = {k: v for k, v in asdict(self.finding).items() if k != "begins"}
        return found | {
            "title": self.rule.title,
            "change": self.change,
            "cause": self.cause,
            "symptom": self.rule.symptom,
            "samples": [dict(row) for row in self.samples],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    steps: int
    """Finished ones."""
    trend: Change | None
    """Of the mean reward in the present stage; None: too few steps."""
    findings: list[Told]
    over: list[Finding]
    """What was found and is seen no more."""
    early: bool
    """There are no findings, and too few steps for most rules."""


def account(
    settings: Diagnosis,
    contexts: Sequence[Context],
    rows: Sequence[Mapping[str, Any]],
    problems: Problems = lambda bench, step: None,
    rollouts: Rollouts | None = None,
) -> Account:
    """Of the rows of a run's `metrics.jsonl`. `contexts` has one entry for each stage of the recipe."""
    steps = [row for row in rows if row.get("event") != "eval"]
    stage = steps[-1].get("stage/number") if steps else None
    size = sum(row.get("stage/number") == stage for row in steps)
    watch = Watch(settings, contexts, window=max(1, min(settings.window, size)))
    ended = [finding for finding in watch.replay(rows, problems) if not finding.begins]
    history = watch.history
    found = [_as_it_is(finding, history, settings) for finding in watch.active]
    if steps and not any(finding.severity is Severity.critical for finding in found):
        found += _at_the_end(history, settings, {finding.rule for finding in found})
    told = [_told(finding, history.context, rollouts or Rollouts()) for finding in found]
    return Account(
        steps=max((int(row["step"]) for row in steps), default=0),
        trend=trend(history),
        findings=sorted(told, key=lambda each: ORDER.index(each.rule.name)),
        over=[finding for finding in ended if finding.rule not in {each.rule for each in found}],
        early=not found and size < 2 * settings.window,
    )


def _as_it_is(finding: Finding, history: History, settings: Diagnosis) -> Finding:
    """With the numbers of the newest steps."""
    rule = RULES[finding.rule]
    evidence = rule.check(history, settings, EASE)
    return finding if evidence is None else finding_of(rule, evidence, finding.step)


def _at_the_end(history: History, settings: Diagnosis, known: set[str]) -> list[Finding]:
    if "no_learning" in known:  # says more than that it is within the noise
        return []
    found = []
    for rule in RULES.values():
        if rule.asked is Asked.end and (evidence := rule.check(history, settings, 1.0)) is not None:
            found.append(finding_of(rule, evidence, int(history.rows[-1]["step"])))
    return found


def _told(finding: Finding, context: Context, rollouts: Rollouts) -> Told:
    rule = RULES[finding.rule]
    samples = that_show(rule.shows, rollouts.steps, rollouts.read)
    return Told(
        finding=finding,
        rule=rule,
        change=[key_of(key, context) for key in rule.change],
        samples=samples,
        cause=_cause(rule, rollouts) if rule.symptom == "there-are-no-verdicts" else "",
    )


def key_of(template: str, context: Context) -> str:
    """`data.{source}.prompt` -> `data.train.prompt`, or `data.<source>.prompt` of several."""
    return template.format(verifier=context.first_verifier, source=context.source or "<source>")


def _cause(rule: Rule, rollouts: Rollouts) -> str:
    rows = [row for step in rollouts.steps[-1:] for row in rollouts.read(step) if rule.shows(row)]
    verdicts = [first_verdict(row) for row in rows]
    return commonest(causes((v["reason"], v.get("detail") or "") for v in verdicts))
