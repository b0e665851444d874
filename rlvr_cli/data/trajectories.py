"""Several traces of a problem at equal exposure: problems count alike, however many traces they have.

RaML (2505.19815) compares 1 to 32 trajectories of each question with the same number of samples in all. Here
an item is a problem: each epoch visits it once and takes the next of its k traces, so that E epochs have seen
each trace E / k times.
"""

from __future__ import annotations

from random import Random

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.sft import Example, Traces
from rlvr_cli.data.sources import Report

REPEATED = "repeated traces"
MORE = "traces beyond those asked for"


def traces(
    found: list[tuple[str, Example]], most: int, seed: int, report: Report
) -> tuple[list[Traces], str]:
    """Problems with up to `most` different traces each, in an order that the seed decides, and a note.

    `found`: (prompt, example) as `sft.by_prompt` gives them. UserError where several are wanted and no
    problem has two.
    """
    of_prompt: dict[str, dict[bytes, Example]] = {}
    for prompt, example in found:
        mine = of_prompt.setdefault(prompt, {})
        if mine.setdefault(example.tokens.tobytes(), example) is not example:
            report.leave_out(REPEATED)
    if most > 1 and all(len(mine) == 1 for mine in of_prompt.values()):
        raise UserError(
            f"{report.name}: trajectories is {most}, and none of the {len(of_prompt)} problems has two "
            "different traces: rows of a problem need the same prompt; give such rows, or leave it out"
        )
    items = []
    for prompt, mine in of_prompt.items():
        order = list(mine.values())
        Random(f"{seed}/{prompt}").shuffle(order)
        items.append(Traces(examples=order[:most]))
        for _ in order[most:]:
            report.leave_out(MORE)
    kept = [example for each in items for example in each.examples]
    report.kept, report.tokens = len(kept), sum(len(example.tokens) for example in kept)
    fewer = sum(len(each.examples) < most for each in items)
    return items, f"{len(items)} problems, each once an epoch" + (
        f"; {fewer} of them have fewer than {most} traces"
        if fewer
        else f" with the next of its {most} traces"
    )
