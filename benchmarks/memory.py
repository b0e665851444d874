"""Memory of token log-probabilities, forward and backward: `python benchmarks/memory.py`.

Ours (`engine/logprobs.token_scores`, which also returns entropies) against log_softmax over all logits, from
hidden states and an output layer in fp32. Each point is a process of its own; its peak is the kernel's VmHWM
minus what it held before: weights, their gradient and the hidden states. Points that cannot fit are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

GIB = 2**30
NAIVE_COPIES = 4
"""[tokens, vocabulary] tensors that log_softmax and its backward pass may hold at once."""
Loss = Callable[["Tensor", "Tensor", "nn.Linear"], "Tensor"]


def ours(hidden_nD: Tensor, targets_n: Tensor, output_layer: nn.Linear) -> Tensor:
    from rlvr_cli.engine.logprobs import token_scores

    vocabulary = output_layer.out_features
    scores = token_scores(hidden_nD, targets_n, output_layer, vocabulary=vocabulary, temperature=1.0)
    return -scores[0].mean()


def naive(hidden_nD: Tensor, targets_n: Tensor, output_layer: nn.Linear) -> Tensor:
    logprobs_nV = output_layer(hidden_nD).log_softmax(-1)
    return -logprobs_nV.gather(-1, targets_n[:, None]).mean()


SIDES: dict[str, Loss] = {"ours": ours, "naive": naive}


def resident(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since the program started) of this process, in bytes."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name + ":")]
    return int(line.split()[1]) * 1024


def point(side: str, vocabulary: int, tokens: int, hidden: int) -> dict[str, float]:
    """Measure one point in this process."""
    import torch

    torch.manual_seed(0)
    output_layer = torch.nn.Linear(hidden, vocabulary, bias=False)
    output_layer.weight.grad = torch.ones_like(output_layer.weight)
    hidden_nD = torch.randn(tokens, hidden, requires_grad=True)
    targets_n = torch.randint(vocabulary, (tokens,))
    SIDES[side](hidden_nD[:8], targets_n[:8], output_layer).backward()  # libraries make their buffers
    hidden_nD.grad = None
    before, started = resident("VmRSS"), perf_counter()
    loss = SIDES[side](hidden_nD, targets_n, output_layer)
    loss.backward()
    seconds = perf_counter() - started
    return {"peak": resident("VmHWM") - before, "seconds": seconds, "loss": float(loss.detach())}


def measure(side: str, vocabulary: int, tokens: int, hidden: int) -> dict[str, float] | None:
    """Measure one point in a fresh process; None if it would not fit."""
    import psutil

    if side == "naive" and NAIVE_COPIES * tokens * vocabulary * 4 > 0.9 * psutil.virtual_memory().available:
        return None
    command = [sys.executable, __file__, "--point", side, str(vocabulary), str(tokens), str(hidden)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="GiB and seconds", title_justify="left")
    headings = ("vocabulary", "tokens", "hidden", "logits", "ours", "naive", "ours s", "naive s")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{row['vocabulary']:,}", f"{row['tokens']:,}"]
        cells += [f"{row[key] / GIB:.2f}" for key in ("hidden", "logits")]
        cells += [f"{row[side]['peak'] / GIB:.2f}" if row[side] else "too large" for side in SIDES]
        cells += [f"{row[side]['seconds']:.1f}" if row[side] else "" for side in SIDES]
        table.add_row(*cells)
    console = Console()
    console.print(table)
    console.print("Peak memory beyond weights, their gradient and the hidden states. A further token costs:")
    for vocabulary in dict.fromkeys(row["vocabulary"] for row in rows):
        found = [row for row in rows if row["vocabulary"] == vocabulary]
        for side in SIDES:
            fits = [(row["tokens"], row[side]["peak"]) for row in found if row[side]]
            if len(fits) > 1:
                slope = (fits[-1][1] - fits[0][1]) / (fits[-1][0] - fits[0][0]) / 1024
                one = found[0]["logits"] / found[0]["tokens"] / 1024
                cost = f"{slope:,.1f} KiB (its logits: {one:,.0f} KiB)"
                console.print(f"  vocabulary {vocabulary:,}, {side}: {cost}")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[152_064], help="that of Qwen2.5-7B")
    parser.add_argument("--hidden", type=int, default=896, help="hidden size, that of Qwen2.5-0.5B")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--point", nargs=4, help=SUPPRESS)
    options = parser.parse_args()
    if options.point:
        side, *numbers = options.point
        print(json.dumps(point(side, *map(int, numbers))))
        return
    rows = []
    for vocabulary in options.vocabulary:
        for tokens in options.tokens:
            row: dict[str, Any] = {"vocabulary": vocabulary, "tokens": tokens}
            row |= {"hidden": tokens * options.hidden * 4, "logits": tokens * vocabulary * 4}
            rows.append(row | {side: measure(side, vocabulary, tokens, options.hidden) for side in SIDES})
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
