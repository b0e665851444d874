"""The pages of the verifiers hold: their recipes build, and every example gets the verdict beside it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import model_servers as models
import numpy as np
import pytest
import yaml
from doc_pages import SHARED, VERIFIER_PAGES, entry_of
from doc_tables import section, tables
from omegaconf import OmegaConf

from rlvr_cli import verifiers
from rlvr_cli.core.episode import Ended, Episode
from rlvr_cli.core.types import Completion, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.ifeval_checks import CHECKS
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.sandbox import probe
from rlvr_cli.verifiers.server import serving

Row = dict[str, str]
BOXED = any(tier.available for tier in probe() if tier.name != "rlimit")
ELSEWHERE = ("environment", "judge", "pairwise", "python", "remote", "reward_model", "rubric")
"""Of these other tests run the examples: those of `python` are functions (tests/verifiers/test_python.py)."""
judge_server = models.server


def build(name: str, settings: dict[str, Any]) -> Any:
    """As a recipe does: strings become enums, unknown keys and wrong types are errors."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(verifiers.find(name)), settings))


def examples(name: str) -> list[list[Row]]:
    part = section(VERIFIER_PAGES[name].read_text(), "Examples")
    found = tables(section(part, name) if name in SHARED else part)
    assert found
    return found


def settings_of(row: Row) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(row["settings"]) or {}
    return settings


def text_of(cell: str) -> str:
    return "" if cell == "nothing" else cell


def hold(row: Row, verdict: Verdict) -> None:
    score, _, reason = row["verdict"].partition(", ")
    assert verdict.reason.value == reason, (row, verdict)
    assert verdict.score == pytest.approx(float(score), abs=1e-6), (row, verdict)


def verdict_of(name: str, row: Row, **settings: Any) -> Verdict:
    verifier = build(name, settings | settings_of(row))
    extra = yaml.safe_load(row.get("row", "")) or {}
    return verifier.verify(text_of(row["response"]), text_of(row["answer"]), extra)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VERIFIER_PAGES if name not in ELSEWHERE])
def test_examples(name: str) -> None:
    if name == "code" and not BOXED:
        pytest.skip("no sandbox on this machine")
    clock = {"timeout_s": 20.0, "total_s": 60.0} if name == "code" else {}  # it is not timing that is shown
    for table in examples(name):
        if hasattr(verifiers.find(name), "verify_group"):
            verifier = build(name, settings_of(table[0]))
            assert all(settings_of(row) == settings_of(table[0]) for row in table)
            group = verifier.verify_group([text_of(row["response"]) for row in table], table[0]["answer"], {})
            for row, verdict in zip(table, group, strict=True):
                hold(row, verdict)
            continue
        for row in table:
            hold(row, verdict_of(name, row, **clock))


def test_examples_of_environment() -> None:
    for row in examples("environment")[0]:
        reward = None if row["reward"] == "nothing" else float(row["reward"])
        episode = Episode(environment="game", ended=Ended.done, turns=[], reward=reward)
        none = np.zeros(0, np.int32)
        sample = Completion(tokens=none, logprobs=none, text="", finished=True, episode=episode)
        hold(row, build("environment", settings_of(row)).of_sample(sample))


def test_examples_of_judge(judge_server: models.Server) -> None:
    for row in examples("judge")[0]:
        judge_server.answers = [(200, row["judge"], {})]
        hold(row, verdict_of("judge", row, base_url=judge_server.url, model="grader"))


def test_examples_of_rubric(judge_server: models.Server) -> None:
    for row in examples("rubric")[0]:
        judge_server.answers = [(200, row["judge"], {})]
        hold(row, verdict_of("rubric", row, base_url=judge_server.url, model="grader"))


def test_examples_of_pairwise(judge_server: models.Server) -> None:
    """By a judge that prefers the larger number."""

    def says(prompt: str) -> tuple[int, str, dict[str, str]]:
        first, second = (int(found) for found in re.findall(r"<response_.>\n(.*)\n", prompt))
        return 200, f"Winner: {'tie' if first == second else 'A' if first > second else 'B'}", {}

    judge_server.says = says
    [rows] = examples("pairwise")
    verifier = build("pairwise", {"base_url": judge_server.url, "model": "grader"})
    group = verifier.verify_together([row["response"] for row in rows], "", {})
    for row, verdict in zip(rows, group, strict=True):
        hold(row, verdict)


@pytest.fixture
def math_server() -> Iterator[str]:
    with serving({"math": Math()}, Verification(workers=1)) as server:
        yield server.url


def test_examples_of_remote(math_server: str) -> None:
    for row in examples("remote")[0]:
        hold(row, verdict_of("remote", row, url=math_server))


@pytest.mark.slow
def test_examples_of_reward_model(tmp_path: Path) -> None:
    """The head of a random model is scaled until it says of the response what the page says."""
    import torch
    from transformers import AutoModelForSequenceClassification

    rows = examples("reward_model")[0]
    base = models.make_reward_model(tmp_path / "base", pad_token="~")
    said = models.logit(base, rows[0]["response"])
    model = AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.float32)
    weight = model.score.weight.data.clone()
    for n, row in enumerate(rows):
        assert row["response"] == rows[0]["response"]
        path = shutil.copytree(base, tmp_path / str(n))
        model.score.weight.data = weight * (float(row["output"]) / said)
        model.save_pretrained(path)
        hold(row, verdict_of("reward_model", row, path=str(path), device="cpu"))


@pytest.mark.parametrize("page", sorted(set(VERIFIER_PAGES.values())), ids=lambda page: page.stem)
def test_recipes_build(page: Path) -> None:
    """The entries exist and take the settings."""
    [block] = re.findall(r"```yaml\n(.*?)```", section(page.read_text(), "Recipe"), re.DOTALL)
    recipe = yaml.safe_load(block)
    entries = {
        key.removeprefix("verifier@verifiers."): entry
        for line in recipe["defaults"]
        for key, entry in line.items()
        if key.startswith("verifier@")
    }
    assert set(recipe["verifiers"]) <= set(entries)
    for key, entry in entries.items():
        tree = entry_of(entry) | recipe["verifiers"].get(key, {})
        build(tree["name"], tree)


def test_every_instruction_of_ifeval_is_listed() -> None:
    listed = next(t for t in tables(VERIFIER_PAGES["ifeval"].read_text()) if "instruction" in t[0])
    found = {row["instruction"]: set(re.findall(r"\w+", row["arguments"])) for row in listed}
    assert found == {id: set(check.arguments) for id, check in CHECKS.items()}
