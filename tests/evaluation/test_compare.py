"""Comparing two results: hand-computed p-values, refusals, and that noise is called noise."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.paired import sign_flips
from rlvr_cli.evaluation.compare import compare, differences, report


def result(scores, **protocol):
    return {
        "bench": "sums",
        "summary": {},
        "protocol": {"k": 2, "temperature": 1.0, "seed": 0, "note": ""} | protocol,
        "source": {"path": "synthetic:addition"},
        "verifier": {"name": "math"},
        "problems": [
            {"id": f"p{n}", "answer": "7", "correct": [x == 1 for x in each], "scores": each}
            for n, each in enumerate(scores)
        ],
    }


def test_by_hand():
    a = result([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    b = result([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = compare(a, b)
    assert (found.before, found.after) == (0.375, 0.625) and found.difference == 0.25
    assert found.gained == ["p0", "p1"] and found.lost == ["p2"]
    # +1, +.5, -.5: the sums over the eight sign patterns are 2, 1, 1, 0, 0, -1, -1, -2; six are >= 1 in size
    assert found.p_value == 6 / 8
    assert found.low < 0.25 < found.high
    lines = report(found, ("a.json", "b.json"))
    assert "B - A  +25.0 points" in lines[3] and "may be chance" in lines[3]
    assert lines[4].endswith("gained 2: p0, p1") and lines[5].endswith("lost 1: p2")


def test_steadiness_is_compared_from_four_samples_on():
    assert compare(result([[1.0, 0.0]] * 2), result([[1.0, 1.0]] * 2)).steady is None
    a, b = result([[1.0, 1.0, 0.0, 0.0]] * 4), result([[1.0, 1.0, 1.0, 0.0]] * 3 + [[1.0] * 4])
    found = compare(a, b)
    assert found.steady is not None and (found.steady.before, found.steady.after) == (0.0, (3 * 0.5 + 1) / 4)
    assert report(found, ("a", "b"))[-1].startswith("  mgpass@4  A 0.0%, B 62.5%, B - A +62.5 points")


def test_one_problem_has_no_interval(tmp_path, capsys):
    a, b = result([[0.0, 0.0, 1.0, 0.0]]), result([[1.0, 1.0, 1.0, 0.0]])
    found = compare(a, b)
    assert (found.low, found.high, found.steady.low) == (None, None, None)
    lines = report(found, ("a", "b"))
    assert "+50.0 points, no interval of a single problem (over" in lines[3]
    assert lines[-1].endswith("points, no interval of a single problem") and "nan" not in "\n".join(lines)
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for file, each in zip(files, (a, b), strict=True):
        Path(file).write_text(json.dumps(each))
    assert main(["eval", "compare", *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["low"] is None


def test_a_loss_is_the_gain_the_other_way_round():
    worse, better = [[0.0, 0.0], [0.0, 1.0]] * 5, [[1.0, 1.0], [1.0, 1.0]] * 5
    loss, gain = compare(result(better), result(worse)), compare(result(worse), result(better))
    assert loss.difference == -0.75 and loss.lost and not loss.gained
    # ten problems, half of them -1 and half -1/2: -1 + binomial(10, 1/2) / 20, from 1 to 9 of them
    assert (loss.low, loss.high) == (pytest.approx(-0.95), pytest.approx(-0.55))
    assert (gain.low, gain.high) == (pytest.approx(0.55), pytest.approx(0.95))
    assert "95% interval -95.0 to -55.0" in report(loss, ("a.json", "b.json"))[3]


def test_sign_flips_exact_and_sampled_agree():
    generator = np.random.default_rng(1)
    change = list(generator.normal(0.1, 0.3, size=14))
    exact = np.mean([abs(np.dot(s, change)) >= abs(sum(change)) - 1e-9 for s in product((-1, 1), repeat=14)])
    assert sign_flips(change) == pytest.approx(exact)
    assert sign_flips([*change, 1e-12]) == pytest.approx(exact, abs=0.012)  # one more: sampled
    assert sign_flips([0.0] * 5) == 1.0


def test_p_values_of_equal_models_are_uniform_and_a_gain_is_found():
    generator = np.random.default_rng(2)
    chances = generator.beta(1, 1, size=40)
    small = 0
    for _ in range(200):
        x, y = (generator.binomial(4, chances) / 4 for _ in range(2))
        small += sign_flips(list(x - y), seed=3) < 0.05
    assert small <= 20  # 10 expected
    better = generator.binomial(4, np.minimum(1, chances + 0.3)) / 4
    assert sign_flips(list(better - generator.binomial(4, chances) / 4)) < 0.01


def test_other_protocols_are_refused_unless_forced():
    a, b = result([[1.0, 0.0]] * 3), result([[1.0, 0.0]] * 3, temperature=0.6)
    with pytest.raises(UserError, match=r"differ in protocol.temperature \(1.0, 0.6\); --force"):
        compare(a, b)
    assert compare(a, b, force=True).p_value == 1.0
    assert differences(a, result([[1.0, 0.0]] * 3, seed=7, note="again")) == []
    fewer = result([[1.0, 0.0]] * 2)
    assert differences(a, fewer) == ["problems (3, 2; 2 in both)"]
    assert compare(a, fewer, force=True).problems == 2
    b = result([[1.0, 0.0]] * 3)
    b["problems"][1]["answer"] = "8"
    assert differences(a, b) == ["gold answers (of 1 problems)"]
    none = result([])
    with pytest.raises(UserError, match="no problem in common"):
        compare(a, none, force=True)


def write(folder, name, scores, **protocol):
    path = folder / name
    path.write_text(json.dumps(result(scores, **protocol)))
    return str(path)


def test_groups_of_results(tmp_path, capsys):
    generator = np.random.default_rng(3)
    chances = generator.uniform(0.1, 0.7, size=40)

    def seed(gain):
        return [list(map(float, generator.binomial(1, min(1, chance + gain), size=2))) for chance in chances]

    a, b = (
        [write(tmp_path, f"{name}{n}.json", seed(gain)) for n in range(3)]
        for name, gain in (("a", 0), ("b", 0.3))
    )
    assert main(["eval", "compare", *a, "--", *b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["a"]["runs"] == found["b"]["runs"] == 3 and found["problems"] == 40 and found["left_out"] == 0
    )
    assert found["a"]["mean"] == pytest.approx(np.mean(found["each"][0]))
    assert found["found"]["seeds"] and found["found"]["p_value"] < 0.01 and found["found"]["low"] > 0
    assert main(["eval", "compare", *a, "--", *b]) == 0
    assert (
        "(over runs and problems, paired by problem), p = 0.004: more than chance" in capsys.readouterr().out
    )
    assert main(["eval", "compare", a[0], "--", *b]) == 0
    assert "over problems alone" in capsys.readouterr().out
    assert main(["eval", "compare", a[0], "--", b[0]]) == main(["eval", "compare", a[0], b[0]]) == 0
    both = capsys.readouterr().out.splitlines()
    assert both[: len(both) // 2] == both[len(both) // 2 :]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a.json", "takes two result files, and 1 are given"),
        ("a.json b.json c.json", "-- stands between two groups"),
        ("-- a.json b.json", "on both sides of --"),
        ("a.json -- b.json -- c.json", "one -- stands between"),
        ("a.json b.json -- a.json", "a.json is given twice"),
        ("a.json b.json -- other.json", "differ in protocol.temperature"),
    ],
)
def test_groups_that_are_none(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "b.json", "c.json"):
        write(tmp_path, name, [[1.0, 0.0]] * 3)
    write(tmp_path, "other.json", [[1.0, 0.0]] * 3, temperature=0.5)
    assert main(["eval", "compare", *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
