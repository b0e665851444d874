"""verl's keys of the KL to the reference -> where it goes, its estimator and how its coefficient goes on."""

from __future__ import annotations

from rlvr_cli.convert.draft import Draft

ACTOR = "actor_rollout_ref.actor."
CONTROL = "algorithm.kl_ctrl."
ESTIMATORS = {
    **{"kl": "k1", "k1": "k1", "abs": "abs", "mse": "k2", "k2": "k2"},
    **{"low_var_kl": "k3", "k3": "k3"},
}


def convert(draft: Draft) -> None:
    given = draft.given
    in_loss, coefficient = ACTOR + "use_kl_loss", ACTOR + "kl_loss_coef"
    in_reward, reward = "algorithm.use_kl_in_reward", CONTROL + "kl_coef"
    if given.get(in_loss) and given.get(coefficient):
        draft.choose("kl", "loss", "use_kl_loss", in_loss)
        _penalty(draft, coefficient, ACTOR + "kl_loss_type")
        if given.get(in_reward) and given.get(reward):
            given.lose(in_reward, "the KL is in the loss or in the reward, not in both")
            given.settle(
                "algorithm/kl: verl has it in the loss and in the reward here; only the loss is kept"
            )
        else:
            given.take(in_reward)
    elif given.get(in_reward) and given.get(reward):
        draft.choose("kl", "reward", "use_kl_in_reward", in_reward, in_loss)
        _penalty(draft, reward, "algorithm.kl_penalty")
        _controller(draft)
    else:
        draft.choose("kl", "none", "neither in the loss nor in the reward", in_loss, in_reward)


def _controller(draft: Draft) -> None:
    """`kl_ctrl`, which verl asks for the KL in the reward alone."""
    given, kind = draft.given, CONTROL + "type"
    if given.get(kind) == "adaptive":
        draft.adaptive_kl(CONTROL + "target_kl", CONTROL + "horizon", kind)
    elif given.get(kind) == "fixed":
        given.take(kind)
    else:
        given.lose(kind, "there are fixed and adaptive; the coefficient stays as it is")


def _penalty(draft: Draft, coefficient: str, kind: str) -> None:
    given = draft.given
    draft.copy("algorithm.kl.coef", coefficient)
    said = str(given.get(kind))
    estimator = "k2" if said.endswith("+") else ESTIMATORS.get(said)
    if estimator is None:
        given.lose(kind, "there is no such estimator; k3 stands in its place")
        given.settle(f"algorithm.kl.estimator: {said} is not there; k3 is a guess")
    comment = f"{draft.origin(kind)} {said}" + ("; its gradient" if said.endswith("+") else "")
    draft.put("algorithm.kl.estimator", estimator or "k3", comment, kind)
    draft.put(
        "algorithm.kl.clamp_value",
        10.0 if estimator == "k3" else None,
        "verl's bound of k3" if estimator == "k3" else "",
    )
    draft.put("algorithm.kl.clamp_log_ratio", 20.0, "verl")
