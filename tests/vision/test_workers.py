"""Images opened in other processes: the same pixels, sizes, order and errors as here, and no orphan."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PIL

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Model, Source
from rlvr_cli.vision import workers
from rlvr_cli.vision.album import album
from rlvr_cli.vision.pictures import BadImage, Encoded, Scene, Stored
from rlvr_cli.vision.prefetch import ENOUGH, LARGE_BYTES, Prefetch, size_of
from rlvr_cli.vision.processor import Processor, processor_of

DRAW = np.random.default_rng(0)


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    PIL.fromarray(DRAW.integers(0, 256, (height, width, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    workers.close()


def processors(path: Path, count: int) -> Processor:
    found = processor_of(load_tokenizer(Model(path=str(path), image_workers=count)))
    assert found is not None
    return found


def test_pixels_are_the_same_bit_for_bit_in_any_order(tiny_vision_path: Path) -> None:
    files = [jpeg(40 + 9 * n, 90 - 7 * n) for n in range(9)]
    pictures = [*map(Encoded, files), Scene("scene:240,3;disc,blue,7,7,28,28")]
    here, there = processors(tiny_vision_path, 0), processors(tiny_vision_path, 2)
    numbers = [here.look(each) for each in pictures]
    asked = [there.prefetch.size(each) for each in pictures]
    assert None not in asked
    assert [there.look(*each) for each in zip(pictures, asked, strict=True)] == numbers
    album._seen.clear()
    ours = [here.seen(number).copy() for number in numbers]
    album._seen.clear()
    there.coming([numbers[:4] * 3, numbers[4:]])
    order = [*numbers[5:], *numbers[:5]]
    theirs = {number: there.seen(number) for number in order}
    for number, pixels in zip(numbers, ours, strict=True):
        assert np.array_equal(theirs[number], pixels) and theirs[number].flags.writeable
    assert not there.prefetch._made and not there.prefetch._waiting
    # patches, which the trainer takes, are made of them
    assert np.array_equal(here.patches(numbers[0])[0], there.patches(numbers[0])[0])


def test_no_more_than_a_few_are_made_ahead(tiny_vision_path: Path) -> None:
    there = processors(tiny_vision_path, 2)
    numbers = [there.look(Scene(f"scene:100,{n}")) for n in range(20)]
    there.coming([numbers])
    assert list(there.prefetch._made) == numbers[:4]
    there.seen(numbers[0])
    assert list(there.prefetch._made) == numbers[1:5]
    there.coming([numbers[3:6]])  # another step: what it does not show is forgotten
    assert list(there.prefetch._made) == numbers[3:6] and not there.prefetch._waiting


def test_the_same_line_where_an_image_cannot_be_used(tmp_path: Path, tiny_vision_path: Path) -> None:
    cut, gone = jpeg(30, 30)[:300], tmp_path / "gone.png"
    for picture in (Encoded(cut), Stored(gone), Encoded(b"no image")):
        with pytest.raises(BadImage) as here:
            size_of(picture)
        with pytest.raises(BadImage) as there:
            workers.shared(2).submit(size_of, picture).result()
        assert str(here.value) == str(there.value)
    said = []
    for count in (0, 2):
        PIL.new("RGB", (30, 30), (count, 0, 0)).save(gone)
        processor = processors(tiny_vision_path, count)
        number = processor.look(Stored(gone))
        album._seen.clear()
        gone.unlink()
        processor.coming([[number]])
        with pytest.raises(UserError, match=r"gone.png could be opened .* there is no file .*; put it back"):
            processor.seen(number)
        said.append(number)
    assert len(said) == 2


def rows_of(folder: Path, count: int) -> Source:
    rows = []
    for n in range(count):
        (folder / f"{n}.jpg").write_bytes(jpeg(30 + n, 40)[: 400 if n % 7 == 3 else None])
        rows.append({"problem": f"{n}?", "images": [f"{n}.jpg", f"{max(n - 1, 0)}.jpg"], "answer": "1"})
    rows[5]["images"] = []
    rows[6]["images"] = ["nowhere.png"]
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(folder / "d.jsonl"), images=str(folder), verifiers=["match"])


def test_a_data_set_is_the_same_with_workers(tmp_path: Path, tiny_vision_path: Path) -> None:
    source = rows_of(tmp_path, 30)
    found = []
    for count in (0, 2):
        tokenizer = load_tokenizer(Model(path=str(tiny_vision_path), image_workers=count))
        kept, report = problems("train", source, tokenizer, 400, 0)
        found.append(([(each.id, each.tokens, each.extra) for each in kept], str(report)))
    assert found[0] == found[1] and "rows with an image that cannot be used" in found[0][1]
    # a row that is not asked for is not missed
    source.limit = 4
    with open(source.path, "a") as file:
        file.write("no row at all\n")
    lines = Path(source.path).read_text().splitlines()
    Path(source.path).write_text("\n".join([*lines[:6], "no row at all"]) + "\n")
    assert problems("train", source, tokenizer, 400, 0)[1].rows == 4
    source.limit = None
    with pytest.raises(UserError, match="not valid JSON"):
        problems("train", source, tokenizer, 400, 0)


def test_by_default_small_images_are_opened_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda who: {0, 1, 2, 3})
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    ahead = Prefetch(None)
    assert ahead.count == 2 and ahead.width == 8
    small, large = Encoded(b"0" * (LARGE_BYTES - 1)), Encoded(b"0" * LARGE_BYTES)
    assert [ahead.size(small) for _ in range(3 * ENOUGH)] == [None] * 3 * ENOUGH
    assert [ahead.size(large) for _ in range(ENOUGH - 1)] == [None] * (ENOUGH - 1)
    begun = ahead.size(large)
    assert begun is not None
    with pytest.raises(BadImage, match="no image"):
        begun.result()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Prefetch(None).count == 0 == Prefetch(0).width


def test_a_worker_that_ends_is_an_error_with_its_cause() -> None:
    found = workers.Workers(1)
    try:
        found._workers[0].process.kill()
        with pytest.raises(workers.WorkerEnded, match=r"ended by signal 9; if memory was short, set fewer"):
            found.submit(size_of, Scene("scene:1,1")).result()
    finally:
        found.close()


CHILD = """
import sys, time
from rlvr_cli.vision import workers
from rlvr_cli.vision.prefetch import size_of
from rlvr_cli.vision.pictures import Scene
found = workers.shared(2)
print(found.submit(size_of, Scene("scene:1,1")).result(), flush=True)
print(*[each.process.pid for each in found._workers], flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wait", "end"])
def test_no_worker_outlives_its_parent(how: str) -> None:
    parent: Any = subprocess.Popen([sys.executable, "-c", CHILD, how], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "(56, 56)\n"
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    if how == "wait":
        parent.send_signal(signal.SIGKILL)
    assert parent.wait(60) == (-signal.SIGKILL if how == "wait" else 0)
    for _ in range(600):
        if not any(map(alive, pids)):
            return
        time.sleep(0.1)
    raise AssertionError(f"{pids} are still there")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
