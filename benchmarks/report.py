"""Size of a long run's page and the time until it is drawn: `python benchmarks/report.py`.

A made-up run of 1,000 steps of 256 samples, written by the classes that write real ones, tokens included. The
page is built by `rlvr report` and opened from its file by a headless Chromium (if there is one) that can
resolve no host name. The time is the page's own clock, until two frames after the first curves and rollouts
are there. Exit code 1 beyond 20 MB or 3 s.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

from rlvr_cli import compose
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.schema import ConsoleMode, Tracker, WandbMode
from rlvr_cli.tracking import RolloutRecords, tracker

MB, SECONDS, STEPS, GROUPS, SAMPLES = 20.0, 3.0, 1000, 32, 8
DISTINCT = 61
"""Steps with rollouts of their own; the others are links, to save disk. Prime: evenly spread ones differ."""
WORDS = "so we add both and carry one therefore x is 12 + 31 = 43 ."
METRICS = "reward/mean actor/entropy actor/grad_norm response_length/mean timing_s/rollout timing_s/step"
PROBE = """<script>(function look() {
  const there = document.querySelector("#curves path") && document.querySelector("#rollouts details");
  const done = () => { document.title = `drawn ${performance.now()}`; };
  requestAnimationFrame(there ? () => requestAnimationFrame(done) : look);
})();</script>"""


def group(index: int, length: int, noise: random.Random) -> tuple[Group, list[dict[str, Any]]]:
    completions, notes = [], []
    for _ in range(SAMPLES):
        count = max(int(noise.gauss(length, length / 4)), 2)
        logprobs = np.array([-noise.expovariate(4) for _ in range(count)], np.float32)
        text = " ".join(noise.choices(WORDS.split(), k=count))
        tokens = np.array(noise.choices(range(50_000), k=count), np.int32)
        completions.append(Completion(tokens=tokens, logprobs=logprobs, text=text, finished=True))
        seen = [logprob + noise.gauss(0, 0.01) for logprob in logprobs.tolist()]
        notes.append({"trainer_logprobs": seen, "entropies": [noise.expovariate(3) for _ in range(count)]})
        notes[-1]["clipped"] = [float(noise.random() < 0.01) for _ in range(count)]
    right = [float(noise.random() < 0.5) for _ in completions]
    reasons = {0.0: Reason.wrong, 1.0: Reason.correct}
    verdicts = [{"math": Verdict(score=each, reason=reasons[each])} for each in right]
    kind: dict[str, Any] = {"answer": "43", "source": "sums", "verifiers": ["math"]}
    problem = Problem(id=f"p{index}", prompt=f"What is {index} + {length}?", tokens=[1] * 60, **kind)
    judged: dict[str, Any] = {"verdicts": verdicts, "scores": right, "correct": right}
    return Group(problem=problem, index=index, completions=completions, **judged), notes


def write_rollouts(out: Path, length: int, noise: random.Random) -> None:
    records = RolloutRecords(out, 0, tokens=True)
    for step in range(1, DISTINCT + 1):
        pairs = [group(step * GROUPS + number, length, noise) for number in range(GROUPS)]
        groups, rewards = [one for one, _ in pairs], [one.correct for one, _ in pairs]
        notes = {one.index: seen for one, seen in pairs}
        records.write(step, groups, rewards, rewards, [True] * GROUPS, [step] * GROUPS, notes=notes)
    files = [out / f"step_{step:06d}.rank0.jsonl" for step in range(1, STEPS + 1)]
    for number in range(DISTINCT, STEPS):
        os.link(files[number % DISTINCT], files[number])


def write_run(out: Path, length: int) -> None:
    noise = random.Random(0)
    settings = Tracker(wandb=WandbMode.disabled, console=ConsoleMode.plain)
    told: dict[str, Any] = {"total_steps": STEPS, "run_name": "long", "recipe": {}, "kind": "rl"}
    with open(os.devnull, "w") as nowhere, tracker.Tracker(settings, out, terminal=nowhere, **told) as run:
        compose.save(compose.load("tiny_dapo", ["model.path=none"], "dapo"), out / "recipe.yaml")
        names = METRICS.split() + [f"other/{number}" for number in range(70)]
        for step in range(1, STEPS + 1):
            run.step(step, {name: noise.lognormvariate(0, 0.2) + step / STEPS for name in names})
            if step % 20 == 0:
                run.evaluation(step, "sums", {"avg@4": 0.4, "ci95_low": 0.37, "ci95_high": 0.43})
                run.event("checkpoint", f"saved step {step}")
            if step % 125 == 0:
                run.event("diagnosis", "entropy falls: actor/entropy is 0.01 and was 0.12 50 steps ago")
    write_rollouts(out / "rollouts", length, noise)


def titles(port: Path) -> list[str]:
    """Titles of the browser's tabs; none before it has written its port."""
    if not (lines := port.read_text().split() if port.is_file() else []):
        return []
    tabs = f"http://127.0.0.1:{lines[0]}/json/list"
    return [tab["title"] for tab in json.load(urllib.request.urlopen(tabs, timeout=10))]


def opened(browser: str, page: Path, scratch: Path) -> float:
    """Seconds until the page is drawn."""
    profile = Path(tempfile.mkdtemp(dir=scratch))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-port=0", "--window-size=1400,1000"]
    command, started = [browser, *flags, f"--user-data-dir={profile}", page.as_uri()], perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while perf_counter() - started < 60:
            sleep(0.05)
            for title in titles(profile / "DevToolsActivePort"):
                if found := re.fullmatch(r"drawn ([\d.]+)", title):
                    return float(found[1]) / 1000
    finally:
        process.terminate()
        process.wait()
    sys.exit("the page was not drawn within 60 s")


def measure(scratch: Path, length: int) -> dict[str, float]:
    run, page = scratch / "long", scratch / "long" / "report.html"
    write_run(run, length)
    started = perf_counter()
    subprocess.run([sys.executable, "-m", "rlvr_cli", "report", str(run)], check=True)
    found = {"build_s": perf_counter() - started, "page_mb": page.stat().st_size / 1e6}
    if browser := shutil.which("chromium"):
        copy = scratch / "probed.html"
        copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
        found["drawn_s"] = median(opened(browser, copy, scratch) for _ in range(3))
    return found


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=200, help="mean of a sample (200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), options.tokens)
    print(f"page {found['page_mb']:.1f} MB (at most {MB:g}), built in {found['build_s']:.1f} s")
    if "drawn_s" in found:
        print(f"drawn after {found['drawn_s']:.2f} s (at most {SECONDS:g}), median of 3")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(int(found["page_mb"] > MB or found.get("drawn_s", 0.0) > SECONDS))


if __name__ == "__main__":
    main()
