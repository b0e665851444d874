"""`rlvr eval compare`: two result files, problem by problem."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.core.result_files import read_result
from rlvr_cli.evaluation.compare import compare, report

COMPARISON = """\
Paired by problem: the difference of the mean scores with a 95% interval over problems, the p-value of a
sign-flip test, and the problems gained and lost. Results made in different ways are refused.
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(f"{verb} compare", COMPARISON, "A.json B.json [--force]")
    add(parser)
    options = parser.parse_args(arguments)
    found = compare(read_result(Path(options.a)), read_result(Path(options.b)), force=options.force)
    if options.json:
        print(json.dumps(asdict(found) | {"difference": found.difference}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(report(found, (options.a, options.b))))
    return 0


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A.json", help="result file of the one model")
    parser.add_argument("b", metavar="B.json", help="result file of the other")
    parser.add_argument("--force", action="store_true", help="also compare what was made in different ways")
    parser.add_argument("--json", action="store_true", help="print JSON, with all problems gained and lost")
