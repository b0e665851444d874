"""What the numbers of a preflight mean: why nothing can be learned, what slows learning, what to change."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlvr_cli.core.types import Reason
from rlvr_cli.preflight.facts import Facts, Verifier
from rlvr_cli.schema import Recipe, Unscored

MOST = 0.5
"""Share from which something counts as the cause."""
RANDOM = 0.9
"""Share of the nats of a uniform choice from which a model's tokens are as good as drawn at random."""
REFUSED = 0.1
"""Share of refusals from which they are spoken of."""
EMPTY = 0.2
"""Share of responses without a word from which they are spoken of."""
FEW = 0.25
"""Share of groups with a signal below which most of the sampling is for nothing."""
EPISODE = re.compile(r"environment ([\w.-]+): (.*)", re.DOTALL)
"""How a verdict says that an episode was lost, not its answer."""
OFF = "; preflight.enabled=false trains all the same"


def refusal(facts: Facts, recipe: Recipe, tolerance: float) -> str | None:
    """Why this recipe cannot learn anything, and the key to change; None if it can.

    tolerance: of the mean |logprob difference| between engine and trainer.
    """
    found = _failing(facts, recipe) or _shifted(facts) or _mismatch(facts, recipe, tolerance)
    if found is None and not facts.useful:
        found = _cause(facts, recipe)
    if found is None and facts.repeated == 1:
        found = _identical(facts)
    return None if found is None else f"preflight: {found}{OFF}"


def _failing(facts: Facts, recipe: Recipe) -> str | None:
    """A verifier that mostly gives no verdict, or that may not do so even once."""
    for name, verifier in facts.verifiers.items():
        few = verifier.unscored < MOST
        if not verifier.unscored or (few and recipe.verification.unscored is not Unscored.fail):
            continue
        forbidden = ", and verification.unscored is fail" if few else ""
        if lost := _lost(verifier):
            return (
                f"{verifier.unscored:.0%} of the verdicts of verifiers.{name} are missing{forbidden}: {lost}"
            )
        late = verifier.count(Reason.timeout) >= verifier.count(Reason.crash)
        limit = f"verification.timeout_s is {recipe.verification.timeout_s:g}: raise it, or "
        return (
            f"{verifier.unscored:.0%} of the verdicts of verifiers.{name} {'time out' if late else 'crash'}"
            f"{_said(verifier.unscored_detail)}{forbidden}; {limit if late else ''}see what it needs in "
            "docs/verifiers.md"
        )
    return None


def _shifted(facts: Facts) -> str | None:
    """Golds of another row, with a signal or without: what is rewarded is chance."""
    for name, shift in facts.shifts.items():
        rows = "row" if abs(shift.offset) == 1 else "rows"
        side = "before" if shift.offset < 0 else "after"
        return (
            f"the golds of data.{name} stand in another row: responses to {shift.prompts} of {shift.of} "
            f"prompts give the gold {abs(shift.offset)} {rows} {side}, and to {shift.own} their own; mend "
            f"the file (data.{name}.path), or how its columns were joined"
        )
    return None


def _mismatch(facts: Facts, recipe: Recipe, tolerance: float) -> str | None:
    if recipe.rollout.top_p < 1 or facts.mismatch_mean <= tolerance:
        return None  # the engine's logprobs are those of the nucleus, and differ rightly
    return (
        f"logprobs of sampled tokens differ by {facts.mismatch_mean:.2g} on average between engine and "
        f"trainer, more than rollout.probe_tolerance ({tolerance:g}): the two implement this model "
        "differently; try rollout.dtype=fp32 or rollout=hf"
    )


def _cause(facts: Facts, recipe: Recipe) -> str:
    """Why no group has a signal. What is certain comes first, and what explains the rest before it."""
    decides = facts.verifiers[facts.verifier]
    asked = f"{facts.prompts} prompts x {facts.samples}"
    if facts.all_right == facts.judged:
        return (
            f"every response to {facts.prompts} prompts is right by verifiers.{facts.verifier}, so no group "
            f"has a signal; take harder problems in {_data(facts)}, or a verifier that accepts less"
        )
    if decides.gold_faults >= MOST * decides.golds:
        return (
            f"verifiers.{facts.verifier} cannot use {decides.gold_faults} of {decides.golds} gold answers "
            f"({decides.gold_fault}); name one that fits in {_data(facts)}.verifiers"
        )
    if decides.systems:
        return decides.systems
    if facts.nats > RANDOM * facts.uniform:
        return (
            f"the model's tokens are as good as drawn at random ({facts.nats:.1f} nats each, of a uniform "
            f"choice {facts.uniform:.1f}); train model.path by `rlvr sft` first, or take a trained one"
            + (", or lower rollout.temperature" if recipe.rollout.temperature > 1 else "")
        )
    if facts.template:
        return facts.template[0]
    if decides.refused >= MOST:
        return _refused(facts, recipe, decides)
    if facts.truncated >= MOST:
        return (
            f"{facts.truncated:.0%} of {asked} responses are cut at rollout.max_tokens="
            f"{recipe.rollout.max_tokens} and no group has a signal; raise it, or see that the model ends "
            f"its responses (chat template, rollout.stop){_replaced(facts)}"
        )
    if facts.empty >= MOST:
        return (
            f"{facts.empty:.0%} of the responses are empty: the model ends them at once, as after a prompt "
            f"that it was not trained on; see how prompts end (model.chat_template, {_data(facts)}.prompt, "
            f"here in '{_short(facts.examples[0]['prompt'][-40:])}'){_replaced(facts)}"
        )
    if facts.repeated == 1:
        return _identical(facts)
    if decides.unread >= MOST:
        return _unread(facts, recipe, decides)
    return _wrong(facts, recipe, decides)


def _identical(facts: Facts) -> str:
    return (
        f"all {facts.samples} responses to each of {facts.prompts} prompts are the same, so there is nothing "
        "to compare; raise rollout.temperature"
    )


def _refused(facts: Facts, recipe: Recipe, decides: Verifier) -> str:
    limit = recipe.verification.timeout_s
    return (
        f"verifiers.{facts.verifier} refuses {decides.refused:.0%} of the responses"
        f"{_said(decides.refused_detail)}; if it takes too long, raise verification.timeout_s ({limit:g}), "
        f"otherwise change the prompt ({_data(facts)}.prompt, system) that says how to answer"
    )


def _unread(facts: Facts, recipe: Recipe, decides: Verifier) -> str:
    extraction = getattr(recipe.verifiers[facts.verifier], "extraction", None)
    key = f"verifiers.{facts.verifier}" + (f".extraction={extraction.value}" if extraction else "")
    example = next((e for e in facts.examples if e["reason"] not in ("correct", "wrong")), None)
    end = f", e.g. in '{_short(example['response'][-60:])}'" if example else ""
    return (
        f"{key} finds no answer in {decides.unread:.0%} of the responses{end}; "
        f"change it, or the prompt ({_data(facts)}.prompt, system) that says how to answer{_replaced(facts)}"
    )


def _replaced(facts: Facts) -> str:
    return (
        "; model.chat_template is not the template that the model came with: see what it does with its own"
        if facts.replaced
        else ""
    )


def _wrong(facts: Facts, recipe: Recipe, decides: Verifier) -> str:
    bound = f"at 95% fewer than {facts.at_most:.1%} of the prompts have one"
    if facts.signal:
        return (
            f"algorithm.filter={recipe.algorithm.filter.name} keeps none of the {facts.signal} groups with a "
            f"signal among {facts.prompts}; widen it"
        )
    if facts.all_right or facts.all_wrong < facts.judged:
        return (
            f"no group of {facts.prompts} has a signal ({facts.all_right} all right, {facts.all_wrong} all "
            f"wrong; {bound}); raise batch.group_size or rollout.temperature, or take problems between "
            f"the two in {_data(facts)}"
        )
    example = next((e for e in facts.examples if e["reason"] == "wrong" and e["extracted"]), None)
    said = (
        f", e.g. '{_short(example['extracted'])}' where '{_short(example['answer'])}' is wanted"
        if example
        else ""
    )
    return (
        f"none of {facts.prompts} prompts x {facts.samples} responses is right by verifiers.{facts.verifier}"
        f"{said} ({bound}): too hard for this model, or the gold answers are wrong; take easier problems in "
        f"{_data(facts)}, or train model.path by `rlvr sft` first{_replaced(facts)}"
    )


def warnings(facts: Facts, recipe: Recipe, tolerance: float) -> list[str]:
    """What will hold learning up, or may; each with the key to change."""
    return [
        *facts.template,
        *_of_signal(facts, recipe),
        *_of_verifiers(facts, recipe),
        *_of_environments(facts),
        *_of_sampling(facts, recipe, tolerance),
    ]


def _of_signal(facts: Facts, recipe: Recipe) -> Iterator[str]:
    share, batch, rollout = facts.kept / facts.prompts, recipe.batch, recipe.rollout
    if 0 < facts.signal < FEW * facts.prompts:
        most, take = ("right", "harder") if facts.all_right > facts.all_wrong else ("wrong", "easier")
        yield (
            f"{facts.signal} of {facts.prompts} groups have a signal, most others are all {most}: take "
            f"{take} problems in {_data(facts)}"
        )
    if recipe.algorithm.filter.drops and share * rollout.oversample * rollout.max_rounds < 1:
        yield (
            f"the filter keeps {share:.1%} of groups, so rollout.max_rounds={rollout.max_rounds} at "
            f"rollout.oversample={rollout.oversample:g} will not fill {batch.prompts_per_step} prompts"
        )
    if facts.signal and not facts.correct > 0:
        yield f"verifiers.{facts.verifier} calls no response right; the signal is that of other verifiers"
    for name, found in facts.sources.items() if facts.signal else ():
        if not found["signal"]:
            yield f"data.{name}: none of its {found['prompts']:.0f} groups has a signal"


def _of_verifiers(facts: Facts, recipe: Recipe) -> Iterator[str]:
    limit = recipe.verification.timeout_s
    for name, verifier in facts.verifiers.items():
        if verifier.systems:
            yield verifier.systems
        if verifier.gold_faults:
            yield (
                f"verifiers.{name} cannot use {verifier.gold_faults} of {verifier.golds} gold answers "
                f"({verifier.gold_fault})"
            )
        if verifier.unscored and (lost := _lost(verifier)):
            yield f"verifiers.{name} has {verifier.unscored:.1%} of the responses without a verdict: {lost}"
        elif verifier.unscored:
            yield (
                f"verifiers.{name} gave no verdict on {verifier.unscored:.1%} of the responses"
                f"{_said(verifier.unscored_detail)}"
            )
        if verifier.unread >= MOST:
            yield f"verifiers.{name} finds no answer in {verifier.unread:.0%} of the responses"
        if verifier.refused >= REFUSED:
            yield (
                f"verifiers.{name} refuses {verifier.refused:.0%} of the responses"
                f"{_said(verifier.refused_detail)}"
            )
        if verifier.p99_ms > 500 * limit:
            yield (
                f"verifiers.{name} takes {verifier.p99_ms / 1000:.2g} s at the 99th percentile, more than "
                f"half of verification.timeout_s ({limit:g})"
            )


def _of_environments(facts: Facts) -> Iterator[str]:
    for name, found in facts.environments.items():
        if found.right < found.problems:
            yield (
                f"environments.{name}: its scripted turns, which should earn all there is, are correct on "
                f"{found.right} of {found.problems} problems ({_short(found.wrong, 160)}); see its limits "
                "(max_turns), and that the first verifier of its sources judges what it gives"
            )


def _of_sampling(facts: Facts, recipe: Recipe, tolerance: float) -> Iterator[str]:
    if facts.empty >= EMPTY:
        yield f"{facts.empty:.0%} of the responses are empty; see how prompts end (model.chat_template)"
    if facts.truncated >= 0.2:
        limit = recipe.rollout.max_tokens
        yield f"{facts.truncated:.0%} of the responses are cut at rollout.max_tokens={limit}"
    if 0.9 <= facts.repeated < 1:
        said = "of the responses repeat another of their group"
        yield f"{facts.repeated:.0%} {said}; raise rollout.temperature"
    if recipe.rollout.top_p == 1 and tolerance / 2 < facts.mismatch_mean <= tolerance:
        yield (
            f"logprobs of engine and trainer differ by {facts.mismatch_mean:.2g} on average, more than half "
            f"of rollout.probe_tolerance ({tolerance:g}); algorithm/mismatch=truncate corrects for that"
        )


def _data(facts: Facts) -> str:
    return f"data.{next(iter(facts.sources))}" if len(facts.sources) == 1 else "data"


def _lost(verifier: Verifier) -> str | None:
    """That an environment failed, where that is why there is no verdict."""
    if not (found := EPISODE.match(verifier.unscored_detail)):
        return None
    name = f"environments.{found[1]}"
    log = f"logs/environment.{found[1]}.log"
    return f"{name} failed{_said(found[2])}; see {log}, and for late answers {name}.step_s"


def _said(detail: str) -> str:
    return f" ({_short(detail, 120)})" if detail else ""


def _short(text: str, most: int = 60) -> str:
    """Foreign text in a message of one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
