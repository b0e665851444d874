"""Whether there is anything to learn from; a rule for each cause why there may not be."""

from __future__ import annotations

from rlvr_cli.diagnosis import Evidence, rule, samples
from rlvr_cli.diagnosis.history import History
from rlvr_cli.diagnosis.silence import MOST, Cause, Silence, cause, lost
from rlvr_cli.schema import Diagnosis


def _evidence(history: History, found: Silence, text: str) -> Evidence:
    values = {"zero_signal": found.zero, "all_wrong": found.wrong, "all_right": found.right}
    return Evidence(f"{text} ({found.zero:.0%} had no signal)", values)


@rule(
    "signal lost: the learning rate, or a collapse",
    "the updates have destroyed what the model could do; lower trainer.lr (by ten, to begin with), hold the "
    "policy by a KL penalty (algorithm/kl=loss, algorithm.kl.coef), and go back to a checkpoint from before",
    change=("trainer.lr",),
    symptom="the-reward-falls",
    critical=True,
    shows=samples.not_right,
)
def signal_lost(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, and two steps before had a mean score of
    which the newest half window has less than a fifth (Fisher's exact test)."""
    found = cause(history, settings, ease)
    gone = lost(history) if found is not None and found[0] is Cause.lost else None
    if found is None or gone is None:
        return None
    text = (
        f"after step {gone.last} the mean score fell from {gone.before:.1%} to {gone.now:.1%}, and "
        f"{found[1].zero:.0%} of the groups have no signal{_company(history)}"
    )
    return Evidence(text, {"before": gone.before, "now": gone.now, "last_step": float(gone.last)})


def _company(history: History) -> str:
    """What came with it."""
    said = []
    for name, metric in (("entropy", "actor/entropy"), ("KL to the reference", "actor/ref_kl")):
        values = history.values(metric)
        if values:
            said.append(f"the {name} went from {values[0]:.2g} to {values[-1]:.2g} nats per token")
    unread = history.values("reward/no_answer_fraction")
    if unread and unread[-1] >= MOST:
        said.append(f"{unread[-1]:.0%} of the responses have no answer that can be read")
    return "; " + ", ".join(said) if said else ""


@rule(
    "never had a signal: responses are cut off",
    "responses do not get to their answer; raise rollout.max_tokens, see that the model ends its responses "
    "(chat template, rollout.stop), or start from one that does (rlvr sft)",
    change=("rollout.max_tokens", "rollout.stop"),
    symptom="responses-are-cut-off",
    critical=True,
    shows=samples.cut,
)
def cut_off(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, and half of the responses are cut off."""
    found = cause(history, settings, ease)
    if found is None or found[0] is not Cause.cut:
        return None
    text = (
        f"{found[1].cut:.0%} of the responses in {history.steps} are cut off at rollout.max_tokens "
        f"({history.context.max_tokens})"
    )
    return _evidence(history, found[1], text)


@rule(
    "never had a signal: answers are refused",
    "a verifier refuses what takes it too long, is too large or names several answers, and each scores 0; "
    "see in rollouts/ which it is: raise verification.timeout_s, or say in the prompt "
    "(data.<source>.prompt) how to answer",
    change=("verification.timeout_s", "data.{source}.prompt", "verifiers.{verifier}"),
    symptom="no-answer-is-found",
    critical=True,
    shows=samples.costly,
)
def all_refused(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, and half of the verdicts are refusals."""
    found = cause(history, settings, ease)
    if found is None or found[0] is not Cause.refused:
        return None
    text = f"{found[1].refused:.0%} of the verdicts in {history.steps} are refusals"
    return _evidence(history, found[1], text)


@rule(
    "never had a signal: unreadable answers",
    "the model may well be right, but its answers are not read; change how answers are found "
    "(verifiers.<name>.extraction), or the prompt that says how to give them (data.<source>.prompt, "
    "data.<source>.system)",
    change=("verifiers.{verifier}.extraction", "data.{source}.prompt"),
    symptom="no-answer-is-found",
    critical=True,
    shows=samples.unread,
)
def unreadable(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, and in half of the responses no answer is
    found."""
    found = cause(history, settings, ease)
    if found is None or found[0] is not Cause.unread:
        return None
    context = history.context
    key = f"verifiers.{context.first_verifier}"
    key += f".extraction={context.extraction}" if context.extraction else ""
    text = f"{key} finds no answer in {found[1].unread:.0%} of the responses of {history.steps}"
    return _evidence(history, found[1], text)


@rule(
    "never had a signal: problems too hard",
    "answers are read and never right; take easier problems or mix them in (data.<source>.weight), raise "
    "batch.group_size, start from a better model (rlvr sft), and see in rollouts/ that the gold answers are "
    "right",
    change=("data.{source}", "model.path", "batch.group_size"),
    symptom="the-reward-is-flat",
    critical=True,
    shows=samples.wrong,
)
def all_wrong(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, mostly because all samples are wrong, though
    their answers are read."""
    found = cause(history, settings, ease)
    if found is None or found[0] is not Cause.hard:
        return None
    text = f"{found[1].wrong:.0%} of the groups in {history.steps} had not one correct sample"
    return _evidence(history, found[1], text)


@rule(
    "no signal: problems too easy",
    "these problems have nothing left to teach; take harder ones (data.<source>.weight), drop solved groups "
    "(algorithm/filter=zero_signal), and make sure that the verifier can say no",
    change=("data.{source}", "verifiers.{verifier}"),
    symptom="the-reward-is-flat",
    shows=samples.right,
)
def all_right(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, mostly because all samples are right."""
    found = cause(history, settings, ease)
    if found is None or found[0] is not Cause.easy:
        return None
    text = f"{found[1].right:.0%} of the groups in {history.steps} had only correct samples"
    return _evidence(history, found[1], text)


@rule(
    "no signal: nothing to compare within groups",
    "an advantage needs samples of one problem that differ; raise batch.group_size or rollout.temperature, "
    "take problems that are neither always solved nor never, and see that the verifier tells good from bad",
    change=("batch.group_size", "rollout.temperature", "data.{source}"),
    symptom="the-reward-is-flat",
    critical=True,
)
def equal_scores(history: History, settings: Diagnosis, ease: float) -> Evidence | None:
    """Over `diagnosis.zero_signal` of the groups have no signal, as all samples get the same partial credit,
    or some problems are always solved and the others never."""
    found = cause(history, settings, ease)
    if found is None or found[0] not in (Cause.equal, Cause.split):
        return None
    if found[0] is Cause.equal:
        text = (
            f"the samples of a group get the same score in {history.steps}, {found[1].score:.2f} on average"
        )
    else:
        text = (
            f"in {history.steps} {found[1].right:.0%} of the groups had only correct samples and "
            f"{found[1].wrong:.0%} not one"
        )
    return _evidence(history, found[1], text)
