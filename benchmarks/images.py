"""What workers that open images save, by the images' size: `python benchmarks/images.py`.

JPEG files are opened and resized as a step's prompts are, in this process and by `model.image_workers`, in
turns. Told are milliseconds for an image by the clock and of this process's own computing, which is what a
trainer beside it misses.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import psutil
from PIL import Image as PIL

from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.tiny_vision import make_tiny_vision
from rlvr_cli.schema import Model, TinyModel
from rlvr_cli.vision import workers
from rlvr_cli.vision.album import album
from rlvr_cli.vision.pictures import Encoded
from rlvr_cli.vision.processor import Processor, processor_of

SIZES = ((56, 56), (256, 256), (512, 512), (1024, 768), (1632, 1224))
LIMITS = {"min_pixels": 3136, "max_pixels": 1_003_520}


def photographs(width: int, height: int, count: int, seed: int) -> list[bytes]:
    """JPEG files of smooth colours with some noise, which are as large as photographs are."""
    draw, files = np.random.default_rng(seed), []
    for _ in range(count):
        coarse = PIL.fromarray(draw.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), PIL.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        PIL.fromarray(noisy).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def step(processor: Processor, numbers: list[int]) -> tuple[float, float, float]:
    """Milliseconds for an image: by the clock, of this process's computing, of the workers'."""
    album._seen.clear()
    clock, own, theirs = perf_counter(), process_time(), computed()
    processor.coming([numbers])
    for number in numbers:
        processor.seen(number)
    spent = (perf_counter() - clock, process_time() - own, computed() - theirs)
    return tuple(1e3 * seconds / len(numbers) for seconds in spent)  # type: ignore[return-value]


def computed() -> float:
    """Seconds that workers have computed."""
    times = [each.cpu_times() for each in psutil.Process().children()]
    return sum(each.user + each.system for each in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        make_tiny_vision(Path(folder) / "model", TinyModel(), 0)

        def processor(count: int) -> Processor:
            model = Model(path=str(Path(folder) / "model"), image_workers=count, **LIMITS)
            found = processor_of(load_tokenizer(model))
            assert found is not None
            return found

        found = {count: processor(count) for count in (0, *asked.workers)}
    started = perf_counter()
    workers.shared(max(asked.workers)).submit(abs, -1).result()
    print(f"{len(os.sched_getaffinity(0))} cores; {max(asked.workers)} workers begin in "
          f"{perf_counter() - started:.2f} s")  # fmt: skip
    columns = " | ".join(f"{n} workers: clock, here, there" for n in asked.workers)
    print(f"| image | file | no workers: clock, here | {columns} |")
    for width, height in SIZES:
        files = photographs(width, height, asked.images, width)
        numbers = [found[0].look(Encoded(each)) for each in files]
        times: dict[int, list[tuple[float, float, float]]] = {count: [] for count in found}
        for _ in range(asked.rounds):
            for count, each in found.items():
                times[count].append(step(each, numbers))
        middle = {n: [median(column) for column in zip(*each, strict=True)] for n, each in times.items()}
        cells = [", ".join(f"{ms:.2f}" for ms in middle[n]) for n in asked.workers]
        size = f"{width} x {height} | {np.mean([*map(len, files)]) / 1024:.0f} KiB"
        here = f"{middle[0][0]:.2f}, {middle[0][1]:.2f}"
        print(f"| {size} | {here} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
