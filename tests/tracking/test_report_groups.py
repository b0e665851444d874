"""`rlvr report` of many runs: groups over seeds, short names, looks, tables that fit, small multiples."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import SUPPORT
from report_runs import PROBLEMS, make

from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.short_names import short_keys, text_of, without_common_start
from rlvr_cli.tracking.plots import step_ticks
from rlvr_cli.tracking.report.bands import band
from rlvr_cli.tracking.report.fitted import fitted, middle_cut
from rlvr_cli.tracking.report.gather import read_runs
from rlvr_cli.tracking.report.groups import doubts, group
from rlvr_cli.tracking.report.looks import LOOKS
from rlvr_cli.tracking.report.measures import measures
from rlvr_cli.tracking.report.summary import print_summary


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two rates, three seeds: the second rate is better by a quarter on every problem, seeds by chance."""
    generator = np.random.default_rng(0)
    base = generator.integers(0, 3, size=PROBLEMS) / 4
    names = []
    for lr, gain in ((1e-6, 0.0), (3e-6, 0.25)):
        for seed in range(3):
            noise = generator.choice([-0.25, 0, 0.25], p=[0.1, 0.8, 0.1], size=PROBLEMS)
            names.append(f"lr{text_of(lr)}_seed{seed}")
            make(tmp_path / "s", names[-1], lr, seed, np.clip(base + gain + noise, 0, 1).tolist())
    rows = [{"name": name, "in_grid": True} for name in [*names, "lr1e-5_seed0"]]
    (tmp_path / "s" / "sweep.json").write_text(json.dumps({"runs": rows}))
    return tmp_path / "s"


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def test_groups_have_one_table_and_one_best(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = sweep / "t.json"
    assert (
        report(sweep, "--group-by", "trainer.lr", "--table", table, "--png", sweep / "c.png", "--rollouts", 0)
        == 0
    )
    out = capsys.readouterr().out
    found = json.loads(table.read_text())
    [low, high] = [row for row in found["groups"] if row["metric"] == "eval/sums/avg@4"]
    assert (low["group"], high["group"], high["trainer.lr"], high["runs"]) == ("lr=1e-6", "lr=3e-6", 3e-6, 3)
    shares = [run["sums/avg@4"] for run in found["runs"]]
    assert low["mean"] == pytest.approx(np.mean(shares[:3])) and low["each"] == pytest.approx(shares[:3])
    assert low["low"] < low["mean"] < low["high"] < 1 and (low["best"], high["best"]) == (False, True)
    [pair] = [row for row in found["comparisons"] if row["metric"] == "eval/sums/avg@4"]
    assert pair["difference"] == pytest.approx(high["mean"] - low["mean"]) and pair["p_adjusted"] < 0.01
    assert "* lr=3e-6 is best: ahead of every other by more than chance" in out
    assert (
        f"lr=1e-6  {-100 * pair['difference']:+.1f}" in out and "1 of 7 runs have recorded nothing yet" in out
    )
    assert (sweep / "report.html").is_file() and (sweep / "c.png").read_bytes().startswith(b"\x89PNG")
    rewards = [row for row in found["groups"] if row["metric"] == "reward/mean"]
    assert rewards[0]["problems"] is None and not any(
        row["best"] for row in rewards
    )  # both rates have the same
    assert "all have the same mean" in out


def test_a_csv_has_a_row_for_each_run(sweep: Path) -> None:
    assert report(sweep, "--table", sweep / "t.csv", "--rollouts", 0) == 0
    rows = list(csv.DictReader(io.StringIO((sweep / "t.csv").read_text())))
    assert [row["run"] for row in rows][:2] == ["lr1e-6_seed0", "lr1e-6_seed1"]
    assert (
        rows[5]["trainer.lr"] == "3e-06"
        and rows[5]["seed"] == "2"
        and float(rows[5]["reward/mean"]) == pytest.approx(0.62)
    )


def test_what_makes_runs_no_repeats_is_told(tmp_path: Path) -> None:
    right = [0.5] * PROBLEMS
    paths = [
        make(tmp_path, "a", 1e-6, 0, right),
        make(tmp_path, "b", 1e-6, 0, right),
        make(tmp_path, "c", 2e-6, 0, right, steps=9),
    ]
    runs = read_runs(paths)
    groups = group(runs, ["trainer.lr"])
    assert [each.runs for each in groups] == [[0, 1], [2]]
    assert doubts(runs, groups) == [
        "the same seed more than once, so no repeats of their own: lr=1e-6",
        "the runs end at different steps, 6 to 9",
        "one run alone says nothing about chance between seeds: lr=2e-6",
    ]
    by_seed = group(runs, ["seed"])
    assert (
        doubts(runs, by_seed)[0] == "within groups there differ besides the seed: trainer.lr, trainer.steps"
    )
    assert group(runs, ["algorithm"])[0].name == "name=grpo"
    with pytest.raises(
        UserError, match=r"--group-by: no run has a key 'trainer.lrr'; did you mean 'trainer.lr'\?"
    ):
        group(runs, ["trainer.lrr"])
    found = measures(runs, groups)
    assert (found[0].best is None and found[0].near == [1]) or found[0].near == [0]  # one run: nobody knows
    assert found[0].notes == ["sums: the results are of different steps: 6, 9"]


def test_results_made_in_other_ways_and_missing_ones_are_told(tmp_path: Path) -> None:
    right = [0.5] * PROBLEMS
    paths = [
        make(tmp_path, name, lr, seed, right)
        for name, lr, seed in (("a", 1.0, 0), ("b", 1.0, 1), ("c", 2.0, 0))
    ]
    (paths[0] / "eval" / "sums.json").unlink()
    runs = read_runs(paths)
    groups = group(runs, ["trainer.lr"])
    first = measures(runs, groups)[0]
    assert first.notes == ["sums: 1 of 3 runs have no result, and are left out"] and len(first.each[0]) == 1
    other = json.loads((paths[2] / "eval" / "sums.json").read_text())
    (paths[2] / "eval" / "sums.json").write_text(json.dumps(other | {"protocol": {"k": 8}}))
    first = measures(runs, groups)[0]
    assert first.notes == ["sums: the results differ in protocol.k (4, 8), and are not compared"]
    assert first.means == [None, None] and first.best is None
    fewer = other | {"problems": other["problems"][:30]}
    (paths[2] / "eval" / "sums.json").write_text(json.dumps(fewer))
    assert "over the 30 of 40 problems" in measures(runs, groups)[0].notes[1]


def test_a_band_is_where_all_runs_are(tmp_path: Path) -> None:
    paths = [make(tmp_path, f"r{seed}", 1e-6, seed, [0.5], steps=4 + seed) for seed in (0, 1, 4)]
    found = band(read_runs(paths), "reward/mean", smoothed=False)
    assert found is not None and found.steps.tolist() == [1, 2, 3, 4] and found.runs == 3
    assert found.low.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found.high.tolist() == pytest.approx([0.14, 0.24, 0.34, 0.44])
    assert found.mean.tolist() == pytest.approx([0.1 + 0.05 / 3 + 0.1 * n for n in range(4)])


def test_short_names() -> None:
    assert without_common_start(["s_lr1e-4_seed0", "s_lr1e-4_seed1"]) == ["seed0", "seed1"]
    assert without_common_start(["s_lr1e-4_seed0", "s_lr1e-5_seed0"]) == ["lr1e-4_seed0", "lr1e-5_seed0"]
    assert without_common_start(["a/x", "b/x"]) == ["a/x", "b/x"] and without_common_start(["a_b"]) == ["a_b"]
    assert without_common_start(["a_", "a_b"]) == ["a_", "b"]
    assert short_keys(["trainer.lr", "critic.lr", "seed"]) == {
        "trainer.lr": "trainer.lr",
        "critic.lr": "critic.lr",
        "seed": "seed",
    }
    assert [text_of(v) for v in (1e-6, 2.5e10, 0.001, 0.5, 0.25, None, [1, "a"])] == [
        "1e-6",
        "2.5e10",
        "1e-3",
        "0.5",
        "0.25",
        "null",
        "[1,a]",
    ]


def test_tables_fit_and_cut_no_number(tmp_path: Path) -> None:
    names = [f"a_rather_long_name_of_a_run_{lr}_seed{seed}" for lr in ("x", "y") for seed in range(6)]
    runs = read_runs([make(tmp_path, name, 1e-6, n, [0.5]) for n, name in enumerate(names)])
    for width in (60, 80, 120):
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("TERM", "xterm")
            print_summary(terminal, runs, [])
        lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
        assert max(map(len, lines)) <= width
        rows = [line for line in lines if line.startswith("x_seed3 ")]
        assert len(rows) == 2 and "50.0%" in rows[0] and rows[1].split()[-1] == "3"  # ends, what differs
        assert ("0.131 → 0.631" in rows[0]) or "reward" in terminal.getvalue()
    assert middle_cut("abcdefghij", 5) == "ab…ij" and middle_cut("abc", 3) == "abc"
    _, left = fitted([("a", ["1"]), ("b", ["2" * 50]), ("c", ["3"])], 20, kept=1)
    assert left == ["b"]


def test_long_names_leave_room_for_what_a_run_came_to(tmp_path: Path) -> None:
    """Their middles go first; where they would then look the same, columns do."""

    def head(names: list[str], width: int) -> str:
        terminal = io.StringIO()
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            patch.setenv("TERM", "xterm")
            print_summary(terminal, read_runs([make(tmp_path, name, 1e-6, 0, [0.5]) for name in names]), [])
        lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
        assert max(map(len, lines)) <= width
        rows = [re.split(r"  +", line)[0] for line in lines[2 : 2 + len(names)]]
        assert len(set(rows)) == len(names)
        return lines[0]

    ends = [f"{letter}{'_the_same_long_middle' * 3}_{letter}" for letter in "ab"]
    assert head(ends, 80).split() == ["run", "state", "steps", "sums"]
    middles = [f"a{'_and_on' * 4}_{letter}{'_and_on' * 5}" for letter in "ab"]
    assert head([*middles, "c"], 80).split() == ["run", "state"]


def luminous(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour as somebody with this matrix of linear RGB sees it."""
    rgb = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Machado, Oliveira and Fernandes (2009), severity 1.0: deuteranopia and protanopia.
DEUTAN = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTAN = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


@pytest.mark.parametrize("seen", [np.eye(3), DEUTAN, PROTAN], ids=["all", "deuteranopia", "protanopia"])
def test_twelve_lines_are_told_apart(seen: np.ndarray) -> None:
    assert len(set(LOOKS)) == len({colour for colour, _ in LOOKS}) == 12
    for style in ("solid", "dashed"):
        colours = [luminous(colour, seen) for colour, each in LOOKS if each == style]
        nearest = min(np.linalg.norm(a - b) for n, a in enumerate(colours) for b in colours[:n])
        assert nearest > 12, style  # 2.3 is what a trained eye just sees


def unpack(page: Path) -> dict[str, Any]:
    block = re.search(r'id="data">([^<]*)<', page.read_text())[1]  # type: ignore[index]
    return dict(json.loads(gzip.decompress(base64.b64decode(block))))


def shown(page: Path) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run([node, str(SUPPORT / "report_dom.js"), str(page)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    result = dict(json.loads(done.stdout))
    assert result["failed"] == ""
    return result


@pytest.mark.slow
def test_the_page_of_groups(sweep: Path) -> None:
    assert report(sweep, "--group-by", "trainer.lr") == 0
    result = shown(sweep / "report.html")
    assert result["shown"]["title"] == "6 runs in 2 groups" and result["shown"]["legend"] == "lr=1e-6lr=3e-6"
    assert "lr=3e-6 *" in result["shown"]["groups"] and "is best" in result["shown"]["groups"]
    assert result["marks"] == []  # a run's diagnosis is not drawn through its group
    assert sum(path.endswith("Z") for path in result["paths"]) == 2  # a band each
    assert "<title>6 runs in 2 groups</title>" in (sweep / "report.html").read_text()


@pytest.mark.slow
def test_the_page_of_many_runs(tmp_path: Path) -> None:
    paths = [make(tmp_path, f"run_{n}", 1e-6, n, [0.5]) for n in range(13)]
    page = tmp_path / "p.html"
    assert report(*paths[:12], "-o", page) == 0
    twelve = shown(page)
    assert (
        twelve["shown"]["legend"] == "".join(str(n) for n in range(12))
        and twelve["shown"]["title"] == "12 runs"
    )
    assert len(twelve["marks"]) == 12 and twelve["marks"][0].startswith("0, step 3, diagnosis: of seed 0")
    assert (
        twelve["shown"]["curves"].count("reward/mean") == 1
        and "0.1" not in twelve["shown"]["curves"].split("events")[1]
    )
    assert report(*paths, "-o", page, "--png", tmp_path / "p.png") == 0
    many = shown(page)
    assert many["shown"]["legend"] == "" and many["shown"]["curves"].count("0.7") >= 1
    assert len(unpack(page)["runs"]) == 13 and (tmp_path / "p.png").stat().st_size > 10_000


def test_steps_are_whole_also_where_there_is_one() -> None:
    for low, high in ((11.4, 12.6), (0.9, 3.1), (-5.0, 400.0)):
        inside = [tick for tick in step_ticks().tick_values(low, high) if low <= tick <= high]
        assert inside and all(tick == int(tick) for tick in inside)


def test_a_group_of_one_run_is_not_the_best_however_far_it_is_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed may say something else, and nothing here knows how much seeds differ."""
    right = [(number % 3) / 4 for number in range(PROBLEMS)]
    low = make(tmp_path / "s", "low", 1e-6, 0, right)
    high = make(tmp_path / "s", "high", 3e-6, 0, [share + 0.25 for share in right])
    words = ("--group-by", "trainer.lr", "--table", tmp_path / "t.json", "--rollouts", 0)
    assert report(low, high, *words, "-o", tmp_path / "r.html") == 0
    found = json.loads((tmp_path / "t.json").read_text())
    [pair] = [row for row in found["comparisons"] if row["metric"] == "eval/sums/avg@4"]
    assert pair["p_adjusted"] < 0.001
    assert not any(row["best"] for row in found["groups"])
    assert "none is best: lr=3e-6 leads" in capsys.readouterr().out


def test_effects_over_a_control(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The control is named by the value of its key; a name that is none of a group is refused."""
    assert report(sweep, "--group-by", "trainer.lr", "--control", "1e-6", "--rollouts", 0) == 0
    said = capsys.readouterr().out
    [effect] = re.findall(r"effect over the control lr=1e-6:\n\s+lr=3e-6\s+\+(\d+\.\d)\s", said)[:1]
    assert 15 < float(effect) < 35  # a quarter, less what 0 and 1 cut off, and chance
    assert report(sweep, "--group-by", "trainer.lr", "--control", "2e-6") == 2
    assert "--control: no group is called '2e-6'" in capsys.readouterr().err
    assert report(sweep, "--control", "1e-6") == 2
    assert "--group-by makes them" in capsys.readouterr().err
