"""verl's rollout correction, by the keys of its nineteen presets."""

from __future__ import annotations

import re
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.algorithms import options
from rlvr_cli.convert import verl_correction
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.given import Given

PAGE = Path(__file__).parents[2] / "docs" / "algorithms" / "off_policy.md"
GEO = {"rollout_rs": "seq_mean_k1", "rollout_rs_threshold": "0.999_1.001"}
K3 = {"rollout_rs": "seq_mean_k3", "rollout_rs_threshold": 0.01}
TOKEN, SEQUENCE = ({"rollout_is": level, "rollout_is_threshold": 2.0} for level in ("token", "sequence"))
ICEPOP = {"rollout_is": "token", "rollout_is_threshold": "0.5_5.0"}
CLIP = {"bypass_mode": True, "loss_type": "ppo_clip"}
PG = {"bypass_mode": True, "loss_type": "reinforce"}
PRESETS: dict[str, dict[str, Any]] = {
    "decoupled_token_is": TOKEN,
    "decoupled_seq_is": SEQUENCE,
    "decoupled_token_icepop": ICEPOP,
    "decoupled_seq_is_rs": SEQUENCE | {"rollout_rs": "seq_sum_k1", "rollout_rs_threshold": "0.5_2.0"},
    "decoupled_geo_rs": GEO,
    "decoupled_geo_rs_seq_tis": SEQUENCE | GEO,
    "decoupled_geo_rs_token_tis": TOKEN | GEO,
    "decoupled_k3_rs": K3,
    "decoupled_k3_rs_seq_tis": SEQUENCE | K3,
    "decoupled_k3_rs_token_tis": TOKEN | K3,
    "bypass_ppo_clip": CLIP,
    "bypass_ppo_clip_geo_rs": CLIP | GEO,
    "bypass_ppo_clip_k3_rs": CLIP | K3,
    "bypass_pg_is": PG | SEQUENCE,
    "bypass_pg_token_icepop": PG | ICEPOP,
    "bypass_pg_geo_rs": PG | GEO,
    "bypass_pg_geo_rs_seq_tis": PG | SEQUENCE | GEO,
    "bypass_pg_geo_rs_token_tis": PG | TOKEN | GEO,
    "disabled": {"rollout_is": None, "rollout_rs": None},
}


def converted(**keys: Any) -> Draft:
    given = Given("verl", "script.sh", {f"algorithm.rollout_correction.{k}": v for k, v in keys.items()})
    draft = Draft(given)
    draft.put("algorithm.loss.clip_ratio_low", 0.2)
    verl_correction.convert(draft)
    return draft


def mismatch_of(draft: Draft) -> dict[str, Any]:
    """Option and values, where they differ from the option's own."""
    name, _ = draft.options["mismatch"]
    usual = options("mismatch")[name]()
    found = {
        path[2]: value for path, (value, _) in draft.values.items() if path[:2] == ("algorithm", "mismatch")
    }
    own = {key: getattr(value, "value", value) for key, value in vars(usual).items()}
    assert found.keys() <= own.keys()
    return {"name": name} | {key: value for key, value in found.items() if own[key] != value}


def of_the_page(cell: str) -> dict[str, Any]:
    """A row of the page's table, less what the option has anyway."""
    cell = cell.replace("geo,", "`mask`, `level=geometric`, `low=0.999`, `high=1.001`,")
    cell = cell.replace("k3,", "`reject`, `statistic=k3`, `over=mean`, `limit=0.01`,")
    name, *pairs = re.findall(r"`([^`]+)`", cell)
    usual = {key: getattr(value, "value", value) for key, value in vars(options("mismatch")[name]()).items()}
    values = dict(pair.split("=") for pair in pairs)
    read = {key: float(v) if re.fullmatch(r"[\d.]+", v) else v for key, v in values.items()}
    return {"name": name} | {key: value for key, value in read.items() if usual[key] != value}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_what_the_page_says(name: str) -> None:
    draft = converted(**PRESETS[name])
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE))
    found, wanted = mismatch_of(draft), of_the_page(rows[name])
    for bound in ("low", "high"):  # verl's are those of 1 / rho
        assert found.pop(bound, 1.0) == pytest.approx(wanted.pop(bound, 1.0), rel=1e-5)
    assert found == wanted
    pg = draft.options.get("loss", ("clipped", ""))[0] == "reinforce"
    assert pg is rows[name].endswith("; pg")
    assert (draft.get("algorithm.loss.clip_ratio_low") is None) is pg
    lists = draft.given.account()
    assert not lists.lost and not lists.unknown and not lists.settle


def test_the_page_has_verls_presets_and_no_other() -> None:
    table = PAGE.read_text().partition("<!-- verl -->\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(PRESETS)


def test_two_criteria_bounds_and_older_names() -> None:
    both = mismatch_of(converted(rollout_rs="token_k1,seq_max_k2", rollout_rs_threshold="0.6_1.6,2.5"))
    assert (both["name"], both["weight"]) == ("mask", "none")
    assert (both["low"], both["high"]) == pytest.approx((1 / 1.6, 1 / 0.6))
    assert (both["veto_low"], both["veto_high"]) == pytest.approx((exp(-sqrt(5)), exp(sqrt(5))))
    summed = mismatch_of(converted(rollout_rs="seq_sum_k2", rollout_rs_threshold=3.0))
    assert (summed["statistic"], summed["over"], summed["limit"]) == ("k2", "sum", 3.0)
    assert mismatch_of(converted(rollout_rs="seq_sum_k1", rollout_rs_threshold=4.0))["low"] == 0.25
    old = mismatch_of(
        converted(
            **{"rollout_rs": "geometric", "rollout_rs_threshold": 1.01, "rollout_rs_threshold_lower": 0.98},
            **{"rollout_token_veto_threshold": 1e-4, "bypass_old_logprob_for_rollout": True},
        )
    )
    assert (old["level"], old["low"], old["high"], old["veto_low"]) == ("geometric", 0.98, 1.01, 1e-4)
    assert old["proximal"] == "rollout" and old["weight"] == "none"
    assert mismatch_of(converted(**TOKEN, rollout_is_batch_normalize=True))["normalise"] is True
    assert mismatch_of(converted(**PG, **SEQUENCE, use_pure_rollout_correction=True))["proximal"] == "rollout"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (PG | SEQUENCE | {"rollout_is_batch_normalize": True}, "weights that follow the update"),
        (GEO | TOKEN | {"rollout_is_batch_normalize": True}, "beside rejection it is not there"),
        (
            {"rollout_rs": "seq_sum_k1,seq_mean_k3", "rollout_rs_threshold": "0.5_2,0.01"},
            "without seq_mean_k3",
        ),
        ({"rollout_rs": "token_k9", "rollout_rs_threshold": 2}, "no such criterion: token_k9"),
    ],
)
def test_what_is_not_here_is_said(keys: dict[str, Any], says: str) -> None:
    [line] = converted(**keys).given.account().lost
    assert says in line


@pytest.mark.parametrize("limit", [1e-3, 0.01, 0.3066, 4.0])
def test_bounds_of_a_token_within_which_a_divergence_is(limit: float) -> None:
    for edge in verl_correction.within("k3", limit):
        assert edge - 1 - log(edge) == pytest.approx(limit)
