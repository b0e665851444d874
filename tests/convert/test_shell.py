"""Shell scripts are read as a shell would, and never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli.convert.arithmetic import evaluate
from rlvr_cli.convert.expansion import shown
from rlvr_cli.convert.shell_reader import commands
from rlvr_cli.core.errors import UserError


def last(text: str, **given: str) -> list[str]:
    """The words of a script's last command."""
    return [shown(word) for word in commands(text, Path("run.sh"), given)[-1].words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run a 'b c' \"d e\" f\\ g", ["run", "a", "b c", "d e", "f g"]),
        ("run a \\\n  b # c \\\n\n", ["run", "a", "b"]),
        ("N=3; run $N ${N} \"$N\" '$N' x${N}y", ["run", "3", "3", "3", "$N", "x3y"]),
        ('run ${A:-1} ${B-2} "${C:-x y}" ${D:=4} $D', ["run", "1", "2", "x y", "4", "4"]),
        ('A="a b"; run $A "$A"', ["run", "a", "b", "a b"]),
        ('run ${URL:-"http://x:1"} ${A:-${B:-c}}', ["run", "http://x:1", "c"]),
        ("L=$((1024 * 20)); run $((L + 2*L)) $((7/2)) $(( -7 % 3 ))", ["run", "61440", "3", "-1"]),
        ("A=(x 'y z'\n # note\n w); A+=(v); run ${A[@]} | tee log", ["tee", "log"]),
        ("A=(x 'y z' w); run \"${A[@]}\" ${A[0]}", ["run", "x", "y z", "w", "x"]),
        ('run a=$B "$@" $@ end', ["run", "a=${B}", "end"]),
        ("run \"['$HOME']\"", ["run", f"['{Path.home()}']"]),
        (
            'M=Qwen/Qwen2.5-3B; run $(basename $M) ${M##*/} "${M,,}"',
            ["run", "Qwen2.5-3B", "Qwen2.5-3B", "qwen/qwen2.5-3b"],
        ),
        ("run $(date +%s) `hostname`", ["run", "$(date +%s)", "$(hostname)"]),
        ("X=1 Y=2 run a > log 2>&1", ["run", "a"]),
        ("export A=1 B; run $A", ["run", "1"]),
        ("cat <<EOF\nrun $A\nEOF\nrun b", ["run", "b"]),
        ('if [ "$A" = b ]; then X=1; else X=2; fi\nrun $X', ["run", "${X}"]),
        ('A=b\nif [ "$A" = b ]; then X=1; else X=2; fi\nrun $X', ["run", "1"]),
        ('A=c\nif [ "$A" == b ]; then X=1\nelif [ -n "$A" ]; then X=3; else X=2; fi; run $X', ["run", "3"]),
        ('A=c; [ -z "$A" ] && A=d; [ $A = c ] || A=e; run $A', ["run", "c"]),
        ("for n in 1 2; do X=$n; done; run $n $X", ["run", "${n}", "${X}"]),
        ("+ run 'a=[\"b\"]' c", ["+", "run", 'a=["b"]', "c"]),
        ("exec run --a 1", ["run", "--a", "1"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert last(text) == words


def test_what_is_given_wins() -> None:
    assert last("N=${N:-16}; M=2; run $N $M", N="4", M="8") == ["run", "4", "8"]


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = f"touch {mark}; A=$(touch {mark}); B=`touch {mark}`; echo $((1)) > {mark}; run $A"
    assert last(text) == ["run", f"$(touch {mark})"]
    assert not mark.exists()


@pytest.mark.parametrize("text", ["run 'a", 'run "a', "run $(a", "run ${a", "A=(b c"])
def test_what_is_not_closed_is_told(text: str) -> None:
    with pytest.raises(UserError, match="is missing at the end"):
        commands(text, Path("run.sh"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2**10", 1024),
        ("(1+2)*3", 9),
        ("a+1", 8),
        ("b", None),
        ("1/0", None),
        ("9**9**9", None),
        ("f()", None),
    ],
)
def test_arithmetic(text: str, value: int | None) -> None:
    assert evaluate(text, {"a": 7}.get) == value
