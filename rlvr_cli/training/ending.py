"""How a run ends: interrupted, with a checkpoint to go on from, or finished, with an exported model."""

from __future__ import annotations

from rlvr_cli.core import distributed
from rlvr_cli.diagnosis.told import in_short
from rlvr_cli.engine.model import export
from rlvr_cli.training.account import account_of
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resume import save
from rlvr_cli.training.tracker import tell_stop


def interrupted(parts: Parts) -> None:
    """Save what is finished and say how to go on."""
    save(parts, last=True)
    tell_why(parts)
    tell_stop(parts.tracker, parts.step, parts.stop, parts.out)
    parts.tracker.close("interrupted")
    parts.stop.saved()


def conclude(parts: Parts) -> None:
    """Save the last state and export the model as an ordinary Hugging Face folder."""
    save(parts, last=True)
    state = parts.trainer.state_dict()
    note = {"run": parts.recipe.name, "algorithm": parts.recipe.algorithm.name, "steps": parts.step}
    if distributed.rank() == 0:
        export(parts.out / "final", parts.trainer.hf, state, parts.tokenizer, note)
    if parts.critic is not None:
        state = parts.critic.state_dict()
        if distributed.rank() == 0:
            export(parts.out / "critic", parts.critic.hf, state, parts.tokenizer, note)
    for line in gains(parts):
        parts.tracker.event("result", line)
    best = parts.state.get("best")
    if best is not None and best["step"] == 0 and parts.step:
        said = (
            f"{parts.recipe.checkpoint.best} of the start model, {best['value']:.4f}, was not reached again"
        )
        parts.tracker.event("best", f"{said}: there is no best/")
    parts.tracker.event("export", f"model: {parts.out / 'final'}")
    tell_why(parts)
    distributed.barrier()


def tell_why(parts: Parts) -> None:
    """The last lines: what the rules make of the run, in short."""
    if distributed.rank() != 0 or not parts.recipe.diagnosis.enabled:
        return
    try:
        lines = in_short(account_of(parts.out, parts.stages), str(parts.out))
    except Exception as error:  # whatever is wrong with the records: the run itself is fine
        lines = [f"rlvr why {parts.out} cannot tell: {error}"]
    for line in lines:
        parts.tracker.event("why", line)


def gains(parts: Parts) -> list[str]:
    """What training changed on each bench: `addition avg@4: 0.31 [0.28, 0.34] -> 0.78 [0.75, 0.81]`."""
    lines = []
    for name, after in parts.last_eval.items():
        before = parts.state["first_eval"][name]
        metric = next(key for key in after if key.startswith("avg@"))
        if before["step"] == parts.step or metric not in before:
            continue
        shown = [f"{x[metric]:.1%} [{x['ci95_low']:.1%}, {x['ci95_high']:.1%}]" for x in (before, after)]
        lines.append(
            f"{name} {metric}: {shown[0]} before, {shown[1]} after {parts.step} steps "
            f"({100 * (after[metric] - before[metric]):+.1f} points; 95% intervals over problems)"
        )
    return lines
