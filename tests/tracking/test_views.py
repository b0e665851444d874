"""What the terminal shows, and curves.png."""

import contextlib
import io
import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from rich.console import Console

from rlvr_cli.schema import ConsoleMode, WandbMode
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.tracking import Sample, Tracker, console, curves
from rlvr_cli.tracking.console import Pace, PlainView
from rlvr_cli.tracking.journal import Journal, read_rows
from rlvr_cli.tracking.live import LiveView
from rlvr_cli.tracking.plots import intervals
from rlvr_cli.tracking.text import excerpt, number, sparkline
from rlvr_cli.tracking.view import open_view

METRICS = {
    "reward/mean": 0.41,
    "reward/correct_fraction": 0.38,
    "actor/entropy": 0.52,
    "actor/grad_norm": 0.31,
    "response_length/mean": 21.3,
    "response_length/truncated_fraction": 0.05,
    "actor/ref_kl": 0.001,
    "actor/lr": 1e-4,
    "perf/tokens_per_second": 1830.0,
    "timing_s/rollout": 0.6,
    "timing_s/update": 0.3,
    "timing_s/step": 1.04,
}
SAMPLE = Sample(prompt="What is 47 + 85?", response="[b]= 132\x1b[2J", score=1.0, reason="correct")


def plain(terminal: io.StringIO, kind: str = "rl") -> PlainView:
    return open_view(
        ConsoleMode.auto, terminal, kind=kind, total_steps=80, start_step=0, title="tiny_addition"
    )


def test_plain_lines_are_compact_and_aligned() -> None:
    terminal = io.StringIO()
    view = plain(terminal)
    view.header({"model": "builtin:tiny"})
    view.step(9, METRICS, SAMPLE)
    view.step(12, METRICS | {"response_length/mean": 1021.3, "reward/mean": -0.41}, None)
    header, first, second = terminal.getvalue().splitlines()
    assert header == "model: builtin:tiny"
    assert first == (
        "step  9/80  reward  0.41  correct 0.38  entropy  0.52  grad   0.31  len    21.3"
        "    1,830 tok/s    1.04 s"
    )
    assert len(first) == len(second) and "reward -0.41" in second


def test_progress_is_said_at_every_tenth_but_not_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> list[str]:
        terminal = io.StringIO()
        view = plain(terminal, "eval")
        for done in range(1, 41):
            if done == 8:  # so far one problem took a tenth of a second
                view._counted[1]._started -= 0.8
            view.progress("sums", done, 40)
        return terminal.getvalue().splitlines()

    [last] = said()
    assert last.endswith("sums  40/40")
    monkeypatch.setattr(console, "SAY_S", 0.0)
    lines = said()
    assert len(lines) == 10 and lines[0].endswith("sums  4/40, 0:00:00 left") and lines[-1].endswith("40/40")
    assert lines[1].endswith("sums  8/40, 0:00:03 left")
    live = LiveView(io.StringIO(), kind="eval", total_steps=0, start_step=0, title="bench")
    live.progress("sums", 3, 40)
    live.close()
    live.console = Console(file=io.StringIO(), record=True, width=80, height=24)
    live.console.print(live.render())
    assert "now sums 3/40" in live.console.export_text()


def test_plain_lines_of_sft() -> None:
    terminal = io.StringIO()
    view = plain(terminal, "sft")
    view.step(1, {"train/loss": 1.5, "train/token_accuracy": 0.5, "eval/loss": 1.25}, None)
    assert terminal.getvalue() == "step  1/80  loss  1.5000  accuracy 0.500  eval loss  1.2500\n"


def test_evaluation_line_has_the_interval_and_events_are_one_line(tmp_path: Path) -> None:
    terminal = io.StringIO()
    settings = Settings(wandb=WandbMode.disabled)
    with Tracker(
        settings, tmp_path, terminal=terminal, total_steps=9, run_name="t", recipe={}, kind="rl"
    ) as run:
        run.evaluation(4, "sums", {"avg@4": 0.53, "pass@4": 0.71, "ci95_low": 0.49, "ci95_high": 0.57})
        run.event("warning", "two\nlines [b]\x07", count=2)
    evaluation, event = terminal.getvalue().splitlines()
    assert evaluation.endswith("eval  step 4 sums avg@4 0.530 [0.490, 0.570] pass@4 0.710")
    assert event.endswith("warning  two lines [b]\N{REPLACEMENT CHARACTER}")
    assert read_rows(tmp_path / "events.jsonl")[0]["count"] == 2


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 45), (80, 10), (40, 8)])
def test_live_view_fits_its_window(width: int, height: int) -> None:
    view = LiveView(io.StringIO(), kind="rl", total_steps=80, start_step=0, title="tiny_addition")
    view.console = Console(file=io.StringIO(), record=True, width=width, height=height)
    for step in range(1, 41):
        view.step(step, METRICS | {"reward/mean": step / 80, "actor/grad_norm": math.nan}, SAMPLE)
    view.evaluation({"eval/sums/avg@4": 0.5}, "step 40 sums")
    view.phase("rollout")
    view.restore(40, [{"step": 40, "time": 1.0, "eval/digits/avg@2": 0.25, "bench": "digits"}])
    view.close()
    view.console.export_text()  # forget what was drawn so far
    view.console.print(view.render())
    text = view.console.export_text()
    assert len(text.splitlines()) <= height
    assert max(map(len, text.splitlines())) <= width
    words = ["tiny_addition", "40/80", "reward", "correct", "rollout"]
    if height >= 24:
        words += [
            "eval sums",
            "eval digits",
            "0.250",
            "grad norm",
            "nan",
            "truncated",
            "KL to ref",
            "1.0e-04",
            "1,830",
            "other",
        ]
        words += ["sample of step 40", "score 1.00", "correct", "What is 47 + 85?", "[b]= 132", "▁", "█"]
    for word in words if width >= 80 else []:
        assert word in text
    assert "\x1b" not in text


INTERRUPTED = """
import os, sys
from pathlib import Path
from rlvr_cli.schema import Tracker as Settings, WandbMode
from rlvr_cli.tracking import Sample, Tracker

terminal = os.fdopen(os.dup(1), "w")
os.dup2(os.open("log", os.O_CREAT | os.O_WRONLY), 1)
with Tracker(
    Settings(wandb=WandbMode.disabled), Path("."),
    terminal=terminal, total_steps=9, run_name="t", recipe={}, kind="rl",
) as run:
    run.step(1, {"reward/mean": 0.5}, Sample(prompt="p", response="r", score=1.0, reason="correct"))
    print("library chatter", flush=True)
    raise KeyboardInterrupt
"""


@pytest.mark.slow
def test_ctrl_c_restores_the_terminal_and_stdout_stays_out_of_the_view(tmp_path: Path) -> None:
    master, slave = pty.openpty()  # reports 0x0 as its size, as some real terminals do
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", INTERRUPTED]
    streams = {"stdin": slave, "stdout": slave, "stderr": subprocess.PIPE}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, **streams)
    os.close(slave)
    output = b""
    with contextlib.suppress(OSError):  # how Linux reports that the child closed its side
        while chunk := os.read(master, 65536):
            output += chunk
    os.close(master)
    assert "KeyboardInterrupt" in child.communicate()[1].decode()
    text = output.decode()
    assert "sample of step 1" in text and "chatter" not in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # cursor hidden, then shown
    assert (tmp_path / "log").read_text() == "library chatter\n"


def test_number_sparkline_and_excerpt() -> None:
    shown = [number(x) for x in (0.0, 1e-4, 0.0123, 0.5, 2.345, 45.67, 1830.0, -1.0, math.nan)]
    assert shown == ["0", "1.0e-04", "0.012", "0.500", "2.35", "45.7", "1,830", "-1.00", "nan"]
    assert sparkline([0.0, 1.0, 2.0, math.nan, 7.0], 10) == "▁▂▃█"
    assert sparkline([0.0, 2.0, 10.0, 12.0], 2) == "▁█"
    assert sparkline([0.1, 0.1, 0.1], 10) == "▁▁▁" and sparkline([1.0], 10) == ""
    console = Console(file=io.StringIO())
    lines = [line.plain.strip() for line in excerpt("start " + "x" * 5000 + "\nanswer 5", 20, 3, console)]
    assert lines[0] == "start" and lines[1] == "…" and lines[2] == "answer 5"
    assert [line.plain for line in excerpt("a\nb", 20, 1, console)] == ["b"]


def test_pace_counts_from_the_resumed_step() -> None:
    now = [0.0]
    pace = Pace(total=20, start=10, now=lambda: now[0])
    assert math.isnan(pace.left)
    for step in (11, 12):
        now[0] += 3.0
        pace.step(step)
    assert (pace.elapsed, pace.left) == (6.0, 24.0)


def draw(out: Path, rows: list[dict[str, object]]) -> tuple[int, int]:
    """Size of the curves.png of a run with these rows."""
    from matplotlib.image import imread

    out.mkdir(exist_ok=True)
    journal = Journal(out / "metrics.jsonl")
    for row in rows:
        journal.append(row)
    journal.close()
    path = curves(out)
    assert path == out / "curves.png"
    pixels = imread(path)
    assert pixels[..., :3].std() > 0.05  # something is drawn
    return pixels.shape[1], pixels.shape[0]


@pytest.mark.slow
def test_curves_of_rl_and_sft(tmp_path: Path) -> None:
    steps = [{"step": step, **METRICS, "actor/grad_norm": math.nan} for step in range(1, 31)]
    interval = {"eval/sums/avg@4": 0.5, "eval/sums/ci95_low": 0.4, "eval/sums/ci95_high": 0.6}
    evals = [{"step": step, "event": "eval", **interval} for step in (0, 15, 30)]
    assert draw(tmp_path / "rl", [*steps, *evals]) == (1540, 770)
    critic = {"critic/loss": 0.1, "critic/explained_variance": -3.0, "critic/value_mean": 0.2}
    with_critic = [row | critic for row in steps]  # one more row of panels
    assert draw(tmp_path / "ppo", [*with_critic, *evals]) == (1540, 1155)
    sft = [{"step": step, "train/loss": 2.0 / step, "eval/loss": 1.0} for step in range(1, 9)]
    assert draw(tmp_path / "sft", sft) == (1100, 660)


def test_the_bars_of_a_benchmark_end_at_its_interval() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    row = {"step": 5, "eval/sums/avg@4": 0.5, "eval/sums/ci95_low": 0.3, "eval/sums/ci95_high": 0.6}
    intervals(axes, [row], "sums", "eval/sums/avg@4", "sums", "black")
    [[(_, _, [bars])]] = [axes.containers]
    assert bars.get_segments()[0].tolist() == [[5.0, pytest.approx(0.3)], [5.0, pytest.approx(0.6)]]


@pytest.mark.slow
def test_curves_of_one_step_and_of_none(tmp_path: Path) -> None:
    assert curves(tmp_path) is None
    draw(tmp_path / "one", [{"step": 1, "reward/mean": 0.5}])
