"""`rlvr eval compare`: two result files, or two groups of them, problem by problem."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rlvr_cli.commands.arguments import Parser, parser_of
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import read_result

COMPARISON = """\
Paired by problem: the difference of the mean scores with a 95% interval over problems, the p-value of a
sign-flip test, and the problems gained and lost. Results made in different ways are refused.

Of several runs (seeds) on each side, with -- between them, the intervals are over runs and problems:
  rlvr eval compare a/seed0.json a/seed1.json -- b/seed0.json b/seed1.json
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(
        f"{verb} compare",
        COMPARISON,
        "A.json [A2.json ... --] B.json [B2.json ...] [--force] [--contains TEXT]",
    )
    add(parser)
    a, b, options = _groups(parser, arguments)
    from rlvr_cli.evaluation.compare import compare, report

    if len(a) == len(b) == 1:
        found = compare(read_result(a[0]), read_result(b[0]), force=options.force)
        whole = asdict(found) | {"difference": found.difference}
        lines = report(found, (str(a[0]), str(b[0])))
        if options.contains is not None:
            from rlvr_cli.evaluation import transitions

            ways = transitions.transitions(read_result(a[0]), read_result(b[0]), options.contains)
            whole |= {"transitions": asdict(ways)}
            lines += transitions.report(ways)
    elif options.contains is not None:
        raise UserError("--contains compares two result files; give one on each side")
    else:
        from rlvr_cli.evaluation import compare_groups

        groups = compare_groups.compare_groups(
            [read_result(path) for path in a], [read_result(path) for path in b], force=options.force
        )
        whole, lines = asdict(groups), compare_groups.report(groups)
    print(json.dumps(whole, indent=1, ensure_ascii=False) if options.json else "\n".join(lines))
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", nargs="*", metavar="A.json", help="result files of the one model, then of the other"
    )
    parser.add_argument("--force", action="store_true", help="also compare what was made in different ways")
    parser.add_argument(
        "--contains",
        metavar="TEXT",
        help="of two files also how many responses have TEXT (python), and what changes between with and "
        "without it bring",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, of two files with all problems gained and lost"
    )


def _groups(parser: Parser, arguments: list[str]) -> tuple[list[Path], list[Path], argparse.Namespace]:
    """The files on both sides of `--` (of two, each is a side) and the options."""
    if arguments.count("--") > 1:
        raise UserError("compare takes two groups: one -- stands between them")
    at = arguments.index("--") if "--" in arguments else None
    options = parser.parse_intermixed_args([word for word in arguments if word != "--"])
    files = [Path(each).expanduser() for each in options.results]
    if at is None:
        if len(files) != 2:
            raise UserError(
                f"compare takes two result files, and {len(files)} are given; -- stands between two groups"
            )
        return files[:1], files[1:], options
    first = sum(not word.startswith("-") for word in arguments[:at])
    a, b = files[:first], files[first:]
    if not a or not b:
        raise UserError("compare: result files stand on both sides of --")
    for number, path in enumerate(files):
        if path.resolve() in [before.resolve() for before in files[:number]]:
            raise UserError(f"{path} is given twice; a run counts once")
    return a, b, options
