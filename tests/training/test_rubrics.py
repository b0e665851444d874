"""Rubrics that grow in whole runs: bounded, told, the same after a resume and on two ranks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from model_servers import Server, server
from run_helpers import RECIPE, comparable, rlvr, steps_of

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError

__all__ = ["server"]  # a fixture, which pytest finds by its name

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
GROWING = ("evolve_every=1", "evolve_most=2", "evolve_problems=5")


def judge(prompt: str) -> tuple[int, str, dict[str, str]]:
    """Fulfilled is `has X` by what has an X. A rubric lacks the next two characters that A has; where the
    problem is `4+4=` it has forgotten the form."""
    if "<response_A>" not in prompt:
        [response] = re.findall(r"<response>\n(.*?)\n</response>", prompt, re.DOTALL)
        wanted = re.findall(r"^([0-9]+)\. has (.)$", prompt, re.MULTILINE)
        return 200, "\n".join(f"{n}: {'yes' if c in response else 'no'}" for n, c in wanted), {}
    [better] = re.findall(r"<response_A>\n(.*?)\n</response_A>", prompt, re.DOTALL)
    known = re.findall(r"^-?[0-9]+: has (.)$", prompt, re.MULTILINE)
    if "4+4=" in prompt:
        return 200, "I would rather not.", {}
    new = [c for c in LETTERS if c in better and c not in known][:2]
    return 200, "\n".join(f"{n}: has {c}" for n, c in enumerate(new, 1)) or "none", {}


@pytest.fixture
def recipe(server: Server, tmp_path: Path) -> Path:
    server.says = judge
    rows = [{"prompt": f"{n}+{n}=", "rubric": ["has a", "has 1", "has e", "has s"]} for n in range(1, 7)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RECIPE.replace("  - data@data.train: addition\n  - verifier@verifiers.chance: random\n", "")
    data = f"data: {{train: {{path: {tmp_path}/rows.jsonl, chat: never, verifiers: [quality]}}}}\n"
    text = text.replace("data: {train: {limit: 64, verifiers: [chance]}}\n", data)
    settings = f"name: rubric, base_url: {server.url}, model: m, retries: 0, timeout_s: 5.0, concurrency: 2"
    text += f"verifiers: {{quality: {{{settings}}}}}\npreflight: {{enabled: false}}\n"
    (tmp_path / "grows.yaml").write_text(text)
    return tmp_path / "grows.yaml"


def run(recipe: Path, out: str, *overrides: str) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Metrics of the steps, and the changes of rubrics."""
    given = [f"verifiers.quality.{setting}" for setting in GROWING]
    folder = recipe.parent / out
    done = rlvr("train", str(recipe), f"out={folder}", *given, *overrides)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [comparable(row) for row in steps_of(folder)], [e for e in events if e["kind"] == "rubric"]


@pytest.mark.slow
def test_rubrics_grow_and_go_on_after_a_resume_and_on_two_ranks(recipe: Path) -> None:
    whole, told = run(recipe, "whole", "trainer.steps=3")
    assert len(told) == 3 and sum(len(event["changes"]) for event in told) >= 4
    assert all(len(change["now"]) <= 2 for event in told for change in event["changes"])
    assert all(len(event["changes"]) + len(event["faults"]) <= 5 for event in told)
    assert any(event["faults"] for event in told), "once it has asked about 4+4="
    assert all("no criteria and no 'none'" in fault for event in told for fault in event["faults"])
    assert all(change["problem"] != "4" for event in told for change in event["changes"])
    counts = [row["reward/quality/criteria"] for row in whole]
    assert counts[0] == 4 < min(counts[1:])
    assert any(change["retired"] for event in told for change in event["changes"])

    for steps in (2, 3):
        parts, again = run(recipe, "parts", f"trainer.steps={steps}")
    assert parts == whole
    assert [e["changes"] for e in again] == [e["changes"] for e in told]

    both, shared = run(recipe, "both", "trainer.steps=2", "trainer.ranks=2", "trainer.zero_stage=2")
    assert shared[0]["changes"] == told[0]["changes"]
    assert [row["reward/quality/criteria"] for row in both] == counts[:2]


def test_where_a_rubric_must_not_grow(tmp_path: Path) -> None:
    """In a bench, beside the run's own judge, and where there is nothing to compare."""
    asked = "base_url: 'http://x', model: m, evolve_every: 2"
    benches = "defaults: [smoke, override verifier@eval.benches.addition.verifier: rubric, _self_]\n"
    benches += f"eval: {{benches: {{addition: {{verifier: {{{asked}}}}}}}}}\n"
    alone = "defaults: [smoke, override verifier@verifiers.math: rubric, _self_]\n"
    alone += f"verifiers: {{math: {{{asked}}}}}\n"
    second = f"defaults: [smoke, _self_]\nverifiers: {{more: {{name: rubric, {asked}}}}}\n"
    second += "diagnosis: {second_verifier: more}\n"
    for text, overrides, said in (
        (benches, [], "eval.benches.addition.verifier.evolve_every is set, and what is measured must stay"),
        (alone, ["batch.group_size=1", "algorithm/advantage=reinforce"], "batch.group_size is 1"),
        (second, [], "diagnosis.second_verifier=more is to look on unchanged"),
    ):
        (tmp_path / "grows.yaml").write_text(text)
        with pytest.raises(UserError) as error:
            compose.load(str(tmp_path / "grows.yaml"), overrides, "train")
        assert said in str(error.value) and "\n" not in str(error.value)
