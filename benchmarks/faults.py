"""What is noticed of things that go wrong: `python benchmarks/faults.py [--only NAME ...] [--fork]`.

Each case of `fault_cases/` breaks one thing of a tiny run of reinforcement learning, starts the command a
user starts and reads what it says, line by line with the time. Noticed is what is said by the right sentence:
each case has a regular expression that it must match, and another complaint does not count. The command is
ended there. Thirteen healthy runs, of other algorithms and seeds, go to their end: what they complain of is
a false alarm.

`--fork` begins each command in a copy of a process that has the libraries in memory (tests/support/warm.py),
which saves ten seconds a run and no step. A result is a JSON file in `--out`; what is there already is not
done again. `--table FILE` writes the tables of docs/faults.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "support")]

from fault_cases import Case, Place, every  # noqa: E402
from fault_cases.data import unseen_canary  # noqa: E402

RECIPE = """
defaults:
  - algorithm: grpo
  - data@data.train: addition
  - verifier@verifiers.math: math
  - rollout: hf
  - trainer: zero0
  - _self_
name: faulty
batch: {prompts_per_step: 16, group_size: 8, tokens_per_microbatch: 4096}
rollout: {max_prompt_tokens: 64, max_tokens: 40}
trainer: {steps: 48, lr: 3e-4, precision: fp32}
tracker: {wandb: disabled}
"""
START = """
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.train: addition
  - data@eval.source: addition
  - trainer: zero0
  - _self_
name: start
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 128}}
batch: {examples_per_step: 128}
algorithm: {max_length: 128}
trainer: {steps: 600, lr: 4e-3, warmup_steps: 10, precision: fp32}
eval: {source: {split: eval}, every: 20, stop_at: 0.975}
tracker: {wandb: disabled}
"""
HEALTHY: dict[str, list[str]] = {
    "dapo_0": ["algorithm=dapo", "rollout.oversample=1.4"],
    "dapo_1": ["algorithm=dapo", "rollout.oversample=1.4", "seed=1"],
    "grpo_0": [],
    "grpo_1": ["seed=1"],
    "dr_grpo": ["algorithm=dr_grpo"],
    "rloo": ["algorithm=rloo"],
    "reinforce_pp": ["algorithm=reinforce_pp"],
    "gspo": ["algorithm=gspo"],
    "cispo": ["algorithm=cispo"],
    "ppo": ["algorithm=ppo"],
    "lora": ["model.lora.rank=16", "trainer.lr=1e-3"],
    "two_updates": ["batch.updates_per_step=2"],
    "canary": [],
}
LEARNS = ("trainer.steps=48", "batch.prompts_per_step=32")
"""Of healthy runs: enough to learn more than noise."""
ALARM = re.compile(
    r"(warning|data_check|diagnosis|nonfinite|gradient|restart|error)  |rlvr: (error|failed|not restarted)"
    r"|why  .*\(found after"
)
"""Lines of a run that complain."""
TOLD = re.compile(rf"{ALARM.pattern}|\d  data  ")
"""Those that may say what is wrong: what was left out of the data is counted in a line that every run has."""
MILD = re.compile(r"\bover: |why  within noise")
"""Of those, what says that something is over, or that a run was too short to tell whether it learns."""
STEP = re.compile(r"step +(\d+)/\d+ ")
LONGEST_S = 400.0
"""A run that takes longer is ended: what was to be said was not."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What a run has said."""

    name: str
    pain: str = ""
    noticed: bool = False
    sentence: str = ""
    """The line that was right."""
    steps: int = 0
    """Finished steps from the beginning of the fault to it."""
    seconds: float = 0.0
    """The same by the clock; of a fault that is there from the start, since the command was started."""
    others: list[str] = field(default_factory=list)
    """Complaints of something else before it; of a healthy run, all."""
    code: int | None = None
    """Exit code; None: it was ended once it had said what it must."""
    finished: int = 0
    """Steps."""
    took: float = 0.0


Started = Callable[[list[str], int], "subprocess.Popen[bytes]"]


def cold(words: list[str], out: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rlvr_cli", *words]
    return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)


def forked(words: list[str], out: int) -> subprocess.Popen[bytes]:
    from warm import warm

    return warm.start("command", words, out, out)  # type: ignore[return-value]  # as much of Popen as is used


def lines(words: list[str], start: Started) -> Iterator[tuple[float, str] | int]:
    """What a command says, with the seconds since its start; at last its exit code. `close` ends it."""
    reading, writing = os.pipe()
    began = time.monotonic()
    process = start(words, writing)
    os.close(writing)
    late = threading.Timer(LONGEST_S, end, [process])
    late.start()
    try:
        with open(reading, encoding="utf-8", errors="replace") as said:
            for line in said:
                yield time.monotonic() - began, line.rstrip()
        yield process.wait(60)
    finally:
        late.cancel()
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """The command and whatever it has started, ranks in sessions of their own too."""
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in family:
            with suppress(psutil.Error):
                child.kill()
    process.wait(60)


def watched(case: Case, words: list[str], start: Started) -> Result:
    """The case until the right sentence is said, or to its end."""
    found = Result(name=case.name, pain=case.pain)
    right, since, done = re.compile(case.said), 0.0, 0
    for each in (going := lines(words, start)):
        if isinstance(each, int):
            found.code = each
            break
        when, line = each
        found.took = when
        if step := STEP.match(line):
            done = found.finished = int(step[1])
            since = when if done <= case.begins else since
        elif TOLD.search(line) and right.search(line):
            found.noticed, found.sentence = True, line
            found.steps, found.seconds = max(0, done - case.begins), when - since
            break
        elif ALARM.search(line) and not MILD.search(line):
            found.others.append(line)
    going.close()  # type: ignore[attr-defined]
    return found


def healthy(name: str, words: list[str], start: Started) -> Result:
    """A run to its end, with all that it complains of."""
    found = Result(name=name)
    last = []
    for each in lines(words, start):
        if isinstance(each, int):
            found.code = each
            continue
        found.took, line = each
        if step := STEP.match(line):
            found.finished = int(step[1])
        elif ALARM.search(line) and not MILD.search(line):
            found.others.append(line)
        last = [*last[-6:], line]
    found.sentence = next((line for line in last if "why  reward " in line), "")
    return found


def start_model(folder: Path, start: Started) -> Path:
    """A model that solves a part of the problems; made once."""
    out, recipe = folder / "start", folder / "start.yaml"
    if not (out / "final").is_dir():
        recipe.write_text(START)
        for each in lines(["sft", str(recipe), f"out={out}"], start):
            if isinstance(each, int) and each:
                sys.exit(f"the start model was not made: exit code {each}; see {out}/logs")
    return out


def place_of(folder: Path, name: str, model: Path) -> tuple[Place, list[str]]:
    """An empty folder for a run, and the command without what breaks it."""
    own = folder / name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    (own / "recipe.yaml").write_text(RECIPE)
    words = ["train", str(own / "recipe.yaml"), f"model.path={model}", f"out={own / 'run'}"]
    return Place(folder=own, model=model), words


def run(name: str, case: Case | None, options: Namespace, model: Path, start: Started) -> Result:
    place, words = place_of(options.out, name, model)
    if case is None:
        watched_for = unseen_canary(place) if name == "canary" else []
        return healthy(name, [*words, *LEARNS, *HEALTHY[name], *watched_for], start)
    overrides = case.make(place)
    with case.around(place):
        return watched(case, [*words, *overrides], start)


def stored(folder: Path, name: str) -> Result | None:
    path = folder / f"{name}.json"
    return Result(**json.loads(path.read_text())) if path.is_file() else None


def shown(line: str, most: int = 180) -> str:
    """The sentence of a line, without clock and kind, for a cell."""
    text = re.sub(r"^[\d:]* *(\w+)  |^rlvr: ", "", line).replace("|", "\\|").replace("`", "'")
    text = re.sub(r"(/[\w.-]+){3,}", "...", text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def tables(cases: list[Case], folder: Path) -> str:
    """Of what there is."""
    rows = ["| fault | noticed | after | by |", "|---|---|---|---|"]
    results = [found for case in cases if (found := stored(folder, case.name))]
    for found in results:
        after = f"{found.steps} steps, {found.seconds:.0f} s" if found.noticed else "-"
        said = (
            shown(found.sentence) if found.noticed else f"instead: {shown((found.others or ['nothing'])[0])}"
        )
        rows.append(
            f"| `{found.name}`: {found.pain} | {'yes' if found.noticed else 'no'} | {after} | {said} |"
        )
    noticed = sum(found.noticed for found in results)
    rows += ["", f"**{noticed} of {len(results)} noticed.**", ""]
    rows += ["| healthy run | steps | exit code | false alarms | last line |", "|---|---|---|---|---|"]
    whole = [found for name in HEALTHY if (found := stored(folder, name))]
    for found in whole:
        alarms = "; ".join(map(shown, found.others)) or "none"
        rows.append(
            f"| {found.name} | {found.finished} | {found.code} | {alarms} | {shown(found.sentence)} |"
        )
    rows += ["", f"**{sum(bool(f.others) for f in whole)} of {len(whole)} with a false alarm.**"]
    return "\n".join(rows) + "\n"


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="of cases and healthy runs; `healthy`: these all"
    )
    parser.add_argument("--fork", action="store_true", help="begin where the libraries are in memory already")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"), help="of runs and results")
    parser.add_argument("--again", action="store_true", help="also what is there already")
    parser.add_argument(
        "--limit-s", type=float, default=float("inf"), help="begin nothing after so many seconds"
    )
    parser.add_argument("--table", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    cases = list(every())
    todo: dict[str, Case | None] = {each.name: each for each in cases} | dict.fromkeys(HEALTHY)
    wanted = {*(options.only or todo)} | ({*HEALTHY} if "healthy" in (options.only or ()) else set())
    if unknown := wanted - {*todo, "healthy"}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(todo)}")
    start = forked if options.fork else cold
    if options.fork:
        from warm import warm

        warm.address()  # takes its time before that of runs begins
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    model = start_model(options.out, start)
    for name, case in todo.items():
        late = time.monotonic() - began > options.limit_s
        if name not in wanted or late or (stored(options.out, name) and not options.again):
            continue
        found = run(name, case, options, model, start)
        (options.out / f"{name}.json").write_text(json.dumps(asdict(found), indent=1))
        verdict = ("noticed" if found.noticed else "MISSED") if case else f"{len(found.others)} alarms"
        print(
            f"{name}: {verdict}, {found.finished} steps, {found.took:.0f} s: {shown(found.sentence)}",
            flush=True,
        )
        for line in found.others[:4]:
            print(f"    also: {shown(line)}", flush=True)
    text = tables(cases, options.out)
    if options.table:
        options.table.write_text(text)
    results = [found for name in todo if (found := stored(options.out, name))]
    missed = [found.name for found in results if found.pain and not found.noticed]
    alarmed = [found.name for found in results if not found.pain and (found.others or found.code)]
    print(f"missed: {', '.join(missed) or 'none'}; false alarms: {', '.join(alarmed) or 'none'}")
    return 1 if missed or alarmed else 0


if __name__ == "__main__":
    sys.exit(main())
