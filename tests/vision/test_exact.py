"""Images that are used again: by two threads, by other ranks, and by a run that goes on."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as PIL
from ticking import Heard, Ticking

from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.engine.model import uneven
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.schema import Rollout
from rlvr_cli.training.ahead import Ahead
from rlvr_cli.training.flights import Flight
from rlvr_cli.vision import album as albums
from rlvr_cli.vision import exact
from rlvr_cli.vision.album import Album, album
from rlvr_cli.vision.pictures import Stored
from rlvr_cli.vision.processor import Processor

SMALL = Processor(
    7, 2, {"shortest_edge": 196, "longest_edge": 12_544}, pad=9, images=SimpleNamespace(resample=3)
)


def test_two_threads_look_at_images_that_are_made_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for one alone, so that each takes away what the other has just found."""
    monkeypatch.setattr(albums, "KEPT", 1)
    interval, several = sys.getswitchinterval(), Album()
    wrong: list[Any] = []

    def look(start: int) -> None:
        try:
            for n in range(start, start + 20_000):
                number = -1 - n % 3
                seen = several.kept(number)
                if seen is None:
                    seen = several.keep(number, np.full(4, number))
                assert seen[0] == number
        except BaseException as error:
            wrong.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=look, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong and several._bytes == sum(each.nbytes for each in several._seen.values())


def image(path: Path, colour: tuple[int, int, int]) -> int:
    PIL.new("RGB", (28, 28), colour).save(path)
    return SMALL.look(Stored(path))


def test_a_sample_in_flight_goes_on_with_the_image_it_was_begun_with_or_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the checkpoint one file is drawn anew under the same name, and another start reads it."""
    monkeypatch.setattr(exact, "_digests", {})
    numbers = [image(tmp_path / f"{n}.png", (n, 0, 0)) for n in range(2)]
    problems = [
        Problem(id=f"{n}", prompt="", tokens=[5, number] * 2, answer="", source="train", verifiers=[])
        for n, number in enumerate(numbers)
    ]
    begun = Completion(
        tokens=np.array([3, 4], np.int32),
        logprobs=np.array([-1, -2], np.float32),
        versions=np.zeros(2, np.int32),
        text="",
        finished=False,
        partial=True,
    )
    engine, tracker = Ticking(len), Heard()
    ahead = Ahead(Rollout(max_staleness=1), engine, tracker, SMALL)
    ahead.flights.add(Flight(index=n, problem=p, begun=[begun]) for n, p in enumerate(problems))
    saved = ahead.state()
    assert [len(row["images"]) for row in saved] == [1, 1]

    image(tmp_path / "1.png", (200, 0, 0))
    monkeypatch.setattr(exact, "_digests", {})
    monkeypatch.setattr(album, "_seen", type(album._seen)())
    sampler: Any = SimpleNamespace(items={"train": problems})
    ahead.load([saved], sampler, engine)
    same, changed = ahead.flights
    assert same.begun[0].tokens.tolist() == [3, 4] and same.problem is problems[0]
    assert not changed.begun and changed.problem is problems[1]
    [(kind, told, _)] = tracker.events
    assert kind == "begun_anew" and "1 prompts in flight begin anew: their images are others" in told


def test_ranks_with_one_engine_compare_what_it_is_shown(tmp_path: Path) -> None:
    number, noted = image(tmp_path / "seen.png", (9, 9, 9)), list[np.ndarray]()
    asked = Prompts(SMALL).of("7", [5, *[number] * 4, 6], noted.append)
    [pixels] = noted
    assert pixels.shape == (28, 28, 3) and (pixels == 9).all() and len(asked["prompt_token_ids"]) == 3
    assert "multi_modal_data" not in Prompts(SMALL).of("8", [5, 6], noted.append) and len(noted) == 1


@pytest.mark.parametrize(
    ("parts", "what"),
    [(2, None), (4, None), (8, "a vision tower with feed-forward layers of width 3420"), (3, "64 attention")],
)
def test_a_tower_is_cut_over_the_ranks_of_an_engine_too(parts: int, what: str | None) -> None:
    from transformers import Qwen2_5_VLConfig

    sizes = {"num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 29_568}
    found = uneven(Qwen2_5_VLConfig(text_config=sizes), parts)
    assert found == what if what is None or found is None else found.startswith(what)
