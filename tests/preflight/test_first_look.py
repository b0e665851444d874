"""When a short run has a first look: where data, verifiers or model are new beside it."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_parts import Counts, Even, recipe, small_parts

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.preflight.examine import preflight, sample
from rlvr_cli.preflight.first_look import MADE, fingerprint, is_new
from rlvr_cli.preflight.table import lines_of
from rlvr_cli.schema import Model, Preflight, Recipe, Rollout, Source, Trainer
from rlvr_cli.verifiers.format import Format


@pytest.fixture
def mine(tmp_path: Path) -> Recipe:
    data = tmp_path / "mine.jsonl"
    data.write_text('{"prompt": "1+1=", "answer": "2"}\n')
    return recipe(
        data={"train": Source(path=str(data), verifiers=["even"])},
        verifiers={"even": Format()},
        model=Model(path="my_model"),
        out=str(tmp_path / "runs" / "mine"),
    )


def looked(of: Recipe, name: str, **fields: Any) -> None:
    """A run beside it has written its report."""
    folder = Path(of.out).parent / name
    folder.mkdir(parents=True)
    report = {"passed": True, "fingerprint": fingerprint(of)} | fields
    (folder / "preflight.json").write_text(json.dumps(report))


def test_what_a_run_beside_has_passed_is_not_new(mine: Recipe) -> None:
    assert is_new(mine)
    looked(mine, "refused", passed=False)
    looked(mine, "other", fingerprint="0" * 16)
    (Path(mine.out).parent / "other" / "preflight.json").parent.joinpath("notes").write_text("")
    assert is_new(mine)
    looked(mine, "broken")
    (Path(mine.out).parent / "broken" / "preflight.json").write_text("{")
    assert is_new(mine)
    looked(mine, "passed")
    assert not is_new(mine)


def test_other_data_verifiers_models_and_lengths_are_new(mine: Recipe) -> None:
    source = mine.data["train"]
    changed = [
        replace(mine, data={"train": replace(source, prompt="Add: {prompt}")}),
        replace(mine, verifiers={"even": Format(pattern="x")}),
        replace(mine, model=Model(path="other_model")),
        replace(mine, rollout=Rollout(max_prompt_tokens=4, max_tokens=5)),
    ]
    marks = {fingerprint(each) for each in (mine, *changed)}
    assert len(marks) == 5
    same = replace(mine, trainer=Trainer(steps=3, lr=1.0), seed=7, out="elsewhere")
    assert fingerprint(same) == fingerprint(mine)  # a sweep looks once
    before = fingerprint(mine)
    path = Path(source.path)
    path.write_text(path.read_text() * 2)
    assert fingerprint(mine) != before
    before = fingerprint(mine)
    os.utime(path, ns=(0, 10**9))
    assert fingerprint(mine) != before


def test_a_model_that_is_made_is_not_looked_at(mine: Recipe) -> None:
    assert not is_new(replace(mine, model=Model(path=MADE[0])))


@pytest.mark.parametrize(
    ("enabled", "steps", "prompts"),
    [(None, 9, True), (False, 9, False), (False, 900, False), (True, 9, True)],
)
def test_who_looks(enabled: bool | None, steps: int, prompts: bool, mine: Recipe, tmp_path: Path) -> None:
    engine = Counts()
    wanted = replace(mine, preflight=Preflight(enabled=enabled, prompts=6), trainer=Trainer(steps=steps))
    preflight(small_parts(wanted, engine=engine, out=tmp_path))
    assert bool(engine.asked) is prompts
    later = small_parts(wanted, engine=Counts(), out=tmp_path)
    later.step = 3
    preflight(later)
    assert later.engine.asked == []  # type: ignore[attr-defined]


def test_a_brief_look_asks_no_more_at_once_than_a_step(mine: Recipe, tmp_path: Path) -> None:
    """Four prompts a step; a signal is found in the first four."""
    engine = Counts()
    parts = small_parts(replace(mine, preflight=Preflight(prompts=6)), engine=engine, out=tmp_path)
    facts, _ = sample(parts, brief=True)
    assert facts.prompts == 4 and len(engine.asked) == 4 and facts.useful == 4


class Silent(Even):
    """Verifiers that cannot be reached."""

    def submit_group(
        self, verifier: str, responses: list[str], answer: str, extra: dict[str, Any], group: Any = None
    ) -> list[Future[Verdict]]:
        futures: list[Future[Verdict]] = [Future() for _ in responses]
        for future in futures:
            future.set_result(Verdict(score=0.0, reason=Reason.crash, detail="Connection refused"))
        return futures


@pytest.mark.parametrize("brief", [True, False])
def test_verdicts_that_are_missing_are_not_asked_for_again(brief: bool, mine: Recipe, tmp_path: Path) -> None:
    wanted = replace(mine, preflight=Preflight(prompts=4))
    facts, _ = sample(small_parts(wanted, pool=Silent(), out=tmp_path), brief=brief)
    assert facts.prompts == 4 and facts.verifiers["even"].unscored == 1
    assert lines_of(facts)["correct"] == "nothing: there are no verdicts"


def test_without_a_signal_it_goes_on_to_four_times_the_prompts(mine: Recipe, tmp_path: Path) -> None:
    alone = replace(mine, batch=replace(mine.batch, group_size=1), preflight=Preflight(prompts=3))
    facts, groups = sample(small_parts(alone, out=tmp_path), brief=True)
    assert facts.useful == 0 and facts.prompts == len(groups) == 12
