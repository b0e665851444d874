"""Problems that a model solves when they are asked otherwise: which ways are tried, and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_parts import Counts, Even, recipe, small_parts

from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.data.prompts import render
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
from rlvr_cli.preflight.otherwise import PROMPTS, asked_otherwise, ways
from rlvr_cli.schema import Chat, Model, Recipe, Rollout, Source, TinyModel

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
OWN = "{% for m in messages %}Q {{ m['content'] }}{% endfor %} A"


def tokenizer(template: str | None) -> Any:
    found = tiny_tokenizer(128)
    found.chat_template = template
    return found


def problems(source: Source, tokenizer: Any, count: int = 20) -> list[Problem]:
    found = []
    for n in range(count):
        text, tokens = render({"id": str(n), "prompt": f"{n}+1=", "shots": []}, source, tokenizer)
        extra = {"prompt": f"{n}+1="}
        found.append(
            Problem(
                id=str(n),
                prompt=text,
                tokens=tokens,
                answer="",
                source="train",
                verifiers=["even"],
                extra=extra,
            )
        )
    return found


def asking(source: Source, **more: Any) -> Recipe:
    return recipe(data={"train": source}, rollout=Rollout(max_prompt_tokens=64, max_tokens=4), **more)


def tried(source: Source, template: str | None, **more: Any) -> dict[str, str]:
    """What is done -> the first prompt."""
    of = tokenizer(template)
    return {w.words: w.problems[0].prompt for w in ways(problems(source, of), asking(source, **more), of)}


def test_ways_are_other_prompts_and_each_comes_once() -> None:
    assert tried(Source(path="f"), None) == {}
    assert tried(Source(path="f", prompt="say {prompt}"), None) == {"with nothing around the problem": "0+1="}
    assert tried(Source(path="f", chat=Chat.never), OWN) == {"with the model's own chat template": "Q 0+1= A"}
    assert tried(Source(path="f", prompt="say {prompt}"), OWN) == {
        "with nothing around the problem": "Q 0+1= A",
        "without a chat template": "say 0+1=",
        "as it stands in the data": "0+1=",
    }
    assert "without a chat template" not in tried(Source(path="f", system="be"), OWN)  # it needs one


def test_a_template_in_the_place_of_the_models_own_is_taken_away(tmp_path: Path) -> None:
    make_tiny(
        tmp_path / "model", TinyModel(hidden_size=32, layers=1, heads=2, kv_heads=1, max_positions=32), 0
    )
    (tmp_path / "turns.jinja").write_text(TURNS)
    model = Model(path=str(tmp_path / "model"), chat_template=str(tmp_path / "turns.jinja"))
    found = tried(Source(path="f"), TURNS, model=model)
    assert found == {"with the model's own chat template": "0+1="}


class Knows(Counts):
    """Answers rightly where the prompt begins with a digit."""

    def generate(self, requests: Any, sampling: Any) -> Any:
        digits = {tiny_tokenizer(9)(d)["input_ids"][0] for d in "0123456789"}
        for request in requests:
            right = request.tokens[0] in digits
            yield (
                request.key,
                [
                    Completion(
                        tokens=np.array([4, 1], np.int32),
                        logprobs=np.array([-1.0, -1.0], np.float32),
                        text="2" if right and s else "1",
                        finished=True,
                    )
                    for s in range(request.samples)
                ],
            )


@pytest.mark.parametrize(
    ("correct", "said"), [(0.0, True), (0.04, True), (0.06, False), (float("nan"), False)]
)
def test_only_where_hardly_anything_is_right_is_it_asked_otherwise(correct: float, said: bool) -> None:
    of, source = tokenizer(None), Source(path="f", prompt="say {prompt}")
    items = problems(source, of)
    parts: Any = small_parts(
        asking(source),
        engine=Knows(),
        pool=Even(),
        tokenizer=of,
        sampler=Sampler({"train": items}, {"train": 1.0}, seed=0),
    )
    found = asked_otherwise(parts, correct)
    if not said:
        assert found == [] and parts.sampler.position == 0
        return
    [sentence] = found
    assert sentence.startswith(
        "asked with nothing around the problem the model solves 75% of the same problems"
    )
    assert sentence.endswith("it was not trained on this prompt; set data.train.prompt='{prompt}'")
    assert parts.sampler.position == PROMPTS


def test_a_way_that_is_no_better_is_not_told() -> None:
    of, source = tokenizer(OWN), Source(path="f", chat=Chat.never)
    parts: Any = small_parts(
        asking(source), engine=Knows(), tokenizer=of,
        sampler=Sampler({"train": problems(source, of)}, {"train": 1.0}, seed=0),
    )  # fmt: skip
    assert asked_otherwise(parts, 0.0) == []


def test_problems_with_worked_examples_or_turns_are_left_as_they_are() -> None:
    of, source = tokenizer(None), Source(path="f", prompt="say {prompt}", shots=2)
    parts: Any = small_parts(
        asking(source), engine=Knows(), tokenizer=of,
        sampler=Sampler({"train": problems(replace(source, shots=0), of)}, {"train": 1.0}, seed=0),
    )  # fmt: skip
    assert asked_otherwise(parts, 0.0) == []
