"""`rlvr doctor`: what works on this machine, and what fixes the rest."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.doctor.check_result import CheckResult, Status
from rlvr_cli.doctor.run_checks import examine

HELP = """\
Tries what training needs on this machine and names the command or setting that fixes what does not
work: versions, processors, disk, an all-reduce of several processes, sandboxes, W&B, the Hugging Face
hub, and a start of vLLM on a tiny model.

Exit code 0: everything that training here needs works. 1: something does not.
Sandboxes (for verifiers that run programs), W&B and the hub may be missing without changing it.
"""


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(verb, HELP, "[--skip-vllm] [--json]")
    add(parser)
    return doctor(parser.parse_args(arguments))


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-vllm", action="store_true", help="do not start vLLM (half a minute or more)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def doctor(options: argparse.Namespace) -> int:
    """Print a line for each finding as it comes; 1 if one blocks training, else 0."""
    found = []
    for finding in examine(options.skip_vllm):
        found.append(finding)
        if not options.json:
            print(show(finding), flush=True)
    blocking = [finding.name for finding in found if finding.blocks]
    if options.json:
        content = [asdict(finding) | {"blocks": finding.blocks} for finding in found]
        print(json.dumps({"ready": not blocking, "findings": content}, indent=1, ensure_ascii=False))
    elif blocking:
        print(f"\nnot ready to train: {', '.join(blocking)}")
    else:
        print("\nready to train")
    return 1 if blocking else 0


def show(finding: CheckResult) -> str:
    """`name  status  detail`, with the fix and the end of the log below."""
    mark = finding.status + ("" if finding.needed or finding.status is Status.ok else " (optional)")
    lines = [f"{finding.name:<13} {mark:<19} {finding.detail}"]
    lines += [f"{'':<14}log: {line}" for line in finding.log]
    if finding.fix:
        lines.append(f"{'':<14}fix: {finding.fix}")
    return "\n".join(lines)
