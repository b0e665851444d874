"""Every packaged preset names existing options and valid keys; nonsense is refused with one clear line."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from f1 import algorithm, make
from omegaconf import OmegaConf
from presets import PRESETS, preset

from rlvr_cli import compose
from rlvr_cli.algorithms import AXES, PARTS, options
from rlvr_cli.algorithms.advantage_tokens import Baseline
from rlvr_cli.algorithms.check import check, check_reference, doubts, rounding_doubt
from rlvr_cli.algorithms.kl import Estimator
from rlvr_cli.algorithms.mismatch import Level
from rlvr_cli.algorithms.mismatch_rejection import Weight
from rlvr_cli.algorithms.proximal import Proximal
from rlvr_cli.core.errors import UserError

NAMES = {
    *("grpo", "dr_grpo", "dapo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "gspo", "cispo"),
    *("high_entropy", "ha_dw", "maxrl", "prorl", "prorl_v2", "ppo", "spo"),
}


def test_the_presets() -> None:
    assert set(PRESETS) >= NAMES


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_complete_and_sane(name: str) -> None:
    text = PRESETS[name].read_text()
    tree = yaml.safe_load(text)
    assert text.startswith("#")
    assert tree["name"] == name
    assert tree["defaults"][-1] == "_self_"
    assert [axis for entry in tree["defaults"][:-1] for axis in entry] == list(AXES)
    recipe = preset(name)
    check(recipe, group_size=8, max_tokens=64)


def test_preset_hyperparameters() -> None:
    dapo = preset("dapo")
    assert (dapo.loss.clip_ratio_low, dapo.loss.clip_ratio_high, dapo.loss.dual_clip) == (0.2, 0.28, 10.0)
    assert (dapo.shaping.correct, dapo.shaping.wrong) == (1.0, -1.0)
    assert preset("dr_grpo").aggregation.length == 64
    gspo = preset("gspo")
    assert (gspo.loss.clip_ratio_low, gspo.loss.clip_ratio_high) == (3e-4, 4e-4)
    prorl, v2 = preset("prorl"), preset("prorl_v2")
    assert (prorl.loss.clip_ratio_high, prorl.kl.coef, prorl.reference.reset_optimizer) == (0.4, 1e-4, True)
    assert (v2.loss.clip_ratio_high, v2.mismatch.high, v2.reference.reset_optimizer) == (0.27, 5.0, False)
    assert preset("high_entropy").token_weights.fraction == 0.2
    assert preset("rloo").kl.in_reward


@pytest.mark.parametrize("axis", PARTS)
def test_options_are_schemas(axis: str) -> None:
    for name, cls in options(axis).items():
        built = OmegaConf.to_object(OmegaConf.structured(cls))
        assert isinstance(built, cls)
        assert built.name == name
        assert cls.__doc__


def test_options_are_found_without_torch() -> None:
    code = (
        "import sys; from rlvr_cli.algorithms import AXES, options; [options(a) for a in AXES]; "
        "import rlvr_cli.algorithms.check; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("shaping", "identity", {"correct": 0.0, "wrong": 1.0}),
    ("shaping", "soft_overlong", {"buffer": 0}),
    ("shaping", "soft_overlong", {"max_length": 10, "buffer": 11}),
    ("shaping", "soft_overlong", {"max_length": -1}),
    ("shaping", "soft_overlong", {"floor": 0.5}),
    ("shaping", "soft_overlong", {"factor": -1.0}),
    ("shaping", "cosine_length", {"r_min": 0.5}),
    ("shaping", "cosine_length", {"on_steps": 0}),
    ("shaping", "cosine_length", {"off_steps": -1}),
    ("shaping", "stop_properly", {"coef": 1.5}),
    ("shaping", "stop_properly", {"wrong": -1.0}),
    ("filter", "difficulty_band", {"low": 0.5, "high": 0.5}),
    ("filter", "difficulty_band", {"high": 1.5}),
    ("advantage", "group_zscore", {"ddof": 2}),
    ("advantage", "group_zscore", {"eps": -1.0}),
    ("advantage", "batch_whitened", {"ddof": -1}),
    ("advantage", "gae", {"gamma": 0.0}),
    ("advantage", "gae", {"lam": 1.1}),
    ("advantage", "segment", {"interval": 0}),
    ("advantage", "segment", {"samples": 0}),
    ("advantage", "segment", {"rho": 1.5}),
    ("advantage", "tree", {"branching": []}),
    ("advantage", "tree", {"branching": [2, 0]}),
    ("advantage", "tree", {"branching": [1, 1]}),
    ("advantage", "tree", {"tokens": 0}),
    ("advantage", "tree", {"budget": 0}),
    ("advantage", "step_groups", {"omega": -1.0}),
    ("advantage", "step_groups", {"gamma": 0.0}),
    ("advantage", "step_groups", {"eps": -1.0}),
    ("reweight", "history_difficulty", {"scale": 0.0}),
    ("reweight", "history_difficulty", {"window": 0}),
    ("reweight", "history_difficulty", {"window": 1, "hard": False}),
    ("reweight", "history_difficulty", {"eta": -1.0}),
    ("token_weights", "top_entropy", {"fraction": 0.0}),
    ("token_weights", "top_entropy", {"fraction": 1.5}),
    ("token_weights", "low_probability", {"rho": 0.0}),
    ("loss", "clipped", {"clip_ratio_low": -0.1}),
    ("loss", "clipped", {"clip_ratio_high": float("nan")}),
    ("loss", "clipped", {"dual_clip": 1.0}),
    ("loss", "sequence_ratio", {"clip_ratio_high": -1.0}),
    ("loss", "clipped_weight", {"clip_ratio_low": -0.5}),
    ("aggregation", "constant", {"length": 0}),
    ("mismatch", "truncate", {"cap": 0.0}),
    ("mismatch", "truncate", {"floor": 3.0}),
    ("mismatch", "mask", {"low": 1.5}),
    ("mismatch", "mask", {"high": 0.5}),
    ("mismatch", "mask", {"cap": 0.5}),
    ("mismatch", "mask", {"cap": 2.0, "weight": Weight.none}),
    ("mismatch", "mask", {"veto_low": 1.5}),
    ("mismatch", "mask", {"veto_high": 0.5}),
    ("mismatch", "reject", {"limit": -0.1}),
    ("mismatch", "reject", {"limit": float("nan")}),
    ("mismatch", "reject", {"veto_low": -1.0}),
    ("mismatch", "truncate", {"normalise": True, "proximal": Proximal.rollout}),
    ("kl", "loss", {"coef": -1.0}),
    ("kl", "reward", {"clamp_value": 0.0}),
    ("reference", "reset", {"every": 0}),
    ("reference", "reset", {"every": None}),
    ("reference", "reset", {"kl_above": -1.0}),
    ("entropy", "bonus", {"coef": -1.0}),
    ("entropy", "adaptive", {"target": 0.0}),
    ("entropy", "adaptive", {"min_coef": -1.0}),
    ("entropy", "adaptive", {"min_coef": 2.0}),
    ("gradient", "global_clip", {"max_norm": 0.0}),
    ("gradient", "layer_clip", {"kappa": 1.0}),
    ("gradient", "layer_clip", {"decay": 1.0}),
    ("gradient", "layer_clip", {"limit": -1.0}),
]


@pytest.mark.parametrize(("axis", "name", "values"), REFUSED)
def test_nonsense_is_refused(axis: str, name: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.{axis}\.\w+ is .+; it must be [^\n]+$"):
        make(axis, name, **values)


@pytest.mark.parametrize(
    ("parts", "group_size", "message"),
    [
        ({}, 1, r"batch\.group_size is 1; .*algorithm\.advantage=group_zscore"),
        ({"advantage": "leave_one_out"}, 1, r"batch\.group_size is 1"),
        ({"advantage": "batch_whitened"}, 1, r"batch\.group_size is 1"),
        ({"advantage": "reinforce", "reweight": "history_difficulty"}, 1, r"reweight=history_difficulty"),
        ({"advantage": "reinforce", "filter": "difficulty_band"}, 1, r"filter=difficulty_band"),
        ({"aggregation": "constant"}, 8, r"algorithm\.aggregation\.length is null"),
        ({"shaping": make("shaping", "soft_overlong", buffer=100)}, 8, r"algorithm\.shaping\.buffer is 100"),
        ({"advantage": "maxrl", "shaping": make("shaping", "identity", wrong=-1.0)}, 8, r"advantage=maxrl"),
        ({"advantage": "maxrl", "shaping": "soft_overlong"}, 8, r"advantage=maxrl"),
        ({"advantage": "maxrl", "kl": "reward"}, 8, r"advantage=maxrl"),
        (
            {"advantage": "segment", "filter": "zero_signal"},
            8,
            r"filter=zero_signal drops .*choose filter=none",
        ),
        ({"advantage": "segment", "filter": "difficulty_band"}, 8, r"filter=difficulty_band drops"),
        ({"advantage": "segment", "kl": "reward"}, 8, r"advantage=segment .*choose kl=loss"),
        ({"advantage": "tree"}, 4, r"has 8 leaves: set batch\.group_size=8"),
        (
            {"advantage": make("advantage", "tree", tokens=32)},
            8,
            r"take 64 tokens, .*max_tokens=64 leaves none",
        ),
        ({"advantage": "tree", "aggregation": "seq_mean_token_mean"}, 8, r"choose aggregation=token_mean"),
        ({"advantage": "tree", "reweight": "history_difficulty"}, 8, r"choose reweight=none"),
        (
            {"advantage": "tree", "loss": "sequence_ratio"},
            8,
            r"ratio of a whole response, .*choose loss=clipped",
        ),
        *(
            ({"advantage": "tree", "loss": loss}, 8, rf"{loss} goes by .*choose loss=clipped")
            for loss in ("sequence_bell", "tapered", "off_policy_mask")
        ),
        (
            {"advantage": "tree", "mismatch": make("mismatch", "truncate", level=Level.sequence)},
            8,
            r"mismatch\.level judges whole samples, .*level=token",
        ),
        ({"advantage": "tree", "mismatch": "reject"}, 8, r"mismatch\.over judges whole samples"),
        (
            {"advantage": "tree", "token_weights": make("token_weights", "all", drop_truncated=True)},
            8,
            r"drop_truncated drops whole samples, .*set it to false",
        ),
        ({"token_weights": make("token_weights", "all", samples=0)}, 8, r"samples is 0; it must be 1 to "),
        (
            {"token_weights": make("token_weights", "all", samples=9)},
            8,
            r"^algorithm\.token_weights\.samples is 9; it must be 1 to batch\.group_size = 8, or null",
        ),
        (
            {"advantage": "tree", "token_weights": make("token_weights", "all", samples=2)},
            8,
            r"samples drops whole samples, .*advantage=tree train together: set it to null",
        ),
        ({"advantage": "tree", "kl": "reward"}, 8, r"kl=reward rewards single tokens, .*choose kl=loss"),
        (
            {"mismatch": make("mismatch", "truncate", proximal=Proximal.rollout)},
            8,
            r"^algorithm\.mismatch\.proximal=rollout with loss=clipped and mismatch=truncate.*=reinforce$",
        ),
        (
            {"mismatch": make("mismatch", "mask", proximal=Proximal.rollout)},
            8,
            r"choose mismatch\.weight=none",
        ),
        (
            {"mismatch": make("mismatch", "none", proximal=Proximal.rollout), "loss": "reinforce"},
            8,
            "is without effect: choose mismatch=truncate",
        ),
        (
            {"mismatch": make("mismatch", "truncate", proximal=Proximal.interpolated), "loss": "reinforce"},
            8,
            "no ratio to a proximal policy: choose proximal=rollout",
        ),
    ],
)
def test_impossible_combinations(parts: dict[str, Any], group_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check(algorithm(**parts), group_size=group_size, max_tokens=64)
    assert "\n" not in str(caught.value)


def test_a_reference_is_renewed_only_where_one_is_used() -> None:
    for kl in ("none", make("kl", "loss", coef=0.0)):
        with pytest.raises(ValueError, match=r"reference=reset renews a reference policy that nothing uses"):
            check_reference(algorithm(reference="reset", kl=kl))
    check_reference(algorithm(reference="reset", kl="measured"))


def test_what_is_seldom_meant_is_said() -> None:
    def said(**parts: Any) -> list[str]:
        return [line.split()[0] for line in doubts(algorithm(**parts), 4)]

    assert said(loss="reinforce") == ["algorithm.loss=reinforce"]
    assert list(doubts(algorithm(loss="reinforce"), 1)) == []
    assert said(kl=make("kl", "loss", estimator=Estimator.k1)) == ["algorithm.kl=loss"]
    assert said(kl=make("kl", "reward", estimator=Estimator.k3)) == ["algorithm.kl=reward"]
    for name in NAMES:
        assert list(doubts(preset(name), 1)) == []


def test_uncorrected_rounding_is_said_where_it_adds_up() -> None:
    def said(mismatch: str, updates: int, tokens: int) -> list[str]:
        part = algorithm(mismatch=mismatch)
        return list(rounding_doubt(part, updates_per_step=updates, max_tokens=tokens))

    assert said("none", 1, 4095) == said("truncate", 16, 20480) == []
    [line] = said("none", 16, 512)
    assert "with 16 updates a step" in line and "algorithm/mismatch=truncate" in line
    [line] = said("none", 1, 4096)
    assert "with responses of 4096 tokens" in line


@pytest.mark.slow
def test_a_recipe_of_rl_is_none_of_sft() -> None:
    with pytest.raises(UserError, match=r"^tiny_dapo\.yaml: unknown key 'verifiers'"):
        compose.load("tiny_dapo", ["algorithm=sft"], "train")


def test_possible_combinations() -> None:
    for parts, group_size in (
        ({"advantage": "reinforce"}, 1),
        ({"advantage": make("advantage", "batch_whitened", baseline=Baseline.none)}, 1),
        ({"reference": "reset", "kl": "loss"}, 2),
        ({"advantage": "maxrl", "shaping": "stop_properly"}, 2),
        ({"filter": "zero_signal"}, 2),
        ({"advantage": "segment", "kl": "loss"}, 1),
        ({"reference": "reset", "kl": "measured"}, 2),
        ({"mismatch": make("mismatch", "none", proximal=Proximal.rollout)}, 2),
        ({"mismatch": make("mismatch", "reject", weight=Weight.none, proximal=Proximal.rollout)}, 2),
        ({"mismatch": make("mismatch", "truncate", proximal=Proximal.rollout), "loss": "reinforce"}, 2),
        ({"mismatch": make("mismatch", "mask", proximal=Proximal.interpolated)}, 2),
    ):
        check(algorithm(**parts), group_size=group_size, max_tokens=64)
    check(algorithm(advantage="gae", gradient="layer_clip"), group_size=1, max_tokens=64)


def test_checking_does_not_fill_in_lengths() -> None:
    recipe = algorithm(shaping="soft_overlong")
    check(recipe, group_size=2, max_tokens=64)
    assert recipe.shaping.max_length is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.kl.coef=0.1", "algorithm.kl=none has none; choose algorithm/kl=loss or reward"),
        ("algorithm.token_weights.fraction=0.2", "token_weights=all has none; choose .*=top_entropy"),
        ("algorithm.loss.clip_hihg=0.2", r"did you mean 'algorithm\.loss\.clip_ratio_high'"),
        ("algorithm/aggregation=constant", r"aggregation\.length is null; it must be given for constant"),
        ("algorithm/advantage=segment", "drops groups by their outcomes"),
        ("critic.lr=1e-5", "algorithm.advantage=group_zscore has no critic"),
        ("algorithm/reference=reset", "^command line: .* renews a reference policy that nothing uses"),
        ("algorithm/advantage=gae", "^command line: .*gae needs a critic, .* group_zscore.*algorithm=ppo"),
        ("algorithm=[grpo,dapo]", "an algorithm is one preset; available: "),
    ],
)
def test_nonsense_on_the_command_line_is_refused_with_the_reason(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compose.load("tiny_dapo", [override], "dapo")
    assert "\n" not in str(caught.value)
